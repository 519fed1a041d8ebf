"""Order the blocks of the teacher BasicVSR by how little it needs them, for ``safa.training.initialise.LEAST_NEEDED``.

python scripts/measure_teacher.py basicvsr-reds.safetensors train.pack

From all 30 blocks on, the block of both passes is left out without which the pictures of held-out footage change least;
then the next one without it, and so on. Prints each block with the PSNR of what is left against the whole teacher.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from safa.data.dataset import SampleSettings, TrainingData, open_material, validation_settings
from safa.data.material import Split
from safa.training.basicvsr import BLOCKS, BasicVSR, load_basicvsr

SEED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("data", type=Path, help="a training pack, or a folder with clips and photographs")
    parser.add_argument("--windows", type=int, default=2, help="of clips, and as many of photographs in motion")
    parser.add_argument("--frames", type=int, default=5, help="frames of a window")
    arguments = parser.parse_args()
    teacher = load_basicvsr(arguments.teacher).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    frames = held_out_windows(arguments.data, arguments.windows, arguments.frames)
    whole = pictures(teacher, frames, range(BLOCKS))
    kept = list(range(BLOCKS))
    while kept:
        errors = {
            block: float((pictures(teacher, frames, [k for k in kept if k != block]) - whole).square().mean())
            for block in kept
        }
        block = min(errors, key=errors.__getitem__)
        kept.remove(block)
        print(f"without {block:2}: {-10 * math.log10(errors[block]):.2f} dB, {len(kept)} left", flush=True)


def held_out_windows(data: Path, count: int, frames: int) -> Tensor:
    """Return ``2 * count`` windows ``N,frames,3,48,48`` of held-out footage, half of them of photographs."""
    held_out = open_material(data, 0.1).held_out
    settings = validation_settings(SampleSettings(frames=frames, patch=192), held_out)
    parts = Split(reels=held_out.reels), Split(stills=held_out.stills)
    samples = [TrainingData(part, settings, SEED, count)[k] for part in parts if part for k in range(count)]
    return torch.stack([sample.frames for sample in samples])


@torch.no_grad()
def pictures(teacher: BasicVSR, frames: Tensor, kept: Sequence[int]) -> Tensor:
    """Return the teacher's pictures of ``frames`` with the blocks ``kept`` alone."""
    trunks = teacher.backward_trunk, teacher.forward_trunk
    blocks = [trunk.blocks for trunk in trunks]
    for trunk, all_blocks in zip(trunks, blocks, strict=True):
        trunk.blocks = nn.ModuleList(all_blocks[k] for k in kept)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported()):
            return teacher(frames).clamp(0, 1)
    finally:
        for trunk, all_blocks in zip(trunks, blocks, strict=True):
            trunk.blocks = all_blocks


if __name__ == "__main__":
    main()
