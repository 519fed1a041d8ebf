"""Fit the selector of scales of a trained network that looks along the stream, which is otherwise left as it is.

python scripts/fit_selector.py runs/between/last.safetensors --clips CLIPS -o fast.safetensors

Windows of the clips, at their own size, half and a quarter of it, are shown to the network. For every block, PSNR of
the frame between is measured with each scale in that block, and the selector learns to choose the best one, less what
a scale costs. Whole frames, not patches of training: beside a border coarse scales see more of what lies beyond it.
Printed: dB beside the mean of the scales on clips that were not fitted to.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.data.dataset import flows_of_window
from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import Video
from safa.evaluation.protocols import to_tensor
from safa.metrics import psnr
from safa.network.flow_block import ScaleSelector, branch_weights, chosen_scale
from safa.network.safa import Safa
from safa.network.synthesis import PairState
from safa.video.files import VIDEO_SUFFIXES

SIZES = (1.0, 0.5, 0.25)
"""Sizes of the truth in parts of the clip's own size."""
LARGEST = (384, 640)
"""Height and width of what is cut out of a larger frame."""
FRAMES = 4
"""Input frames of a window; the frame between is in the middle of the two in its middle."""
PLACES = (12, 16)
"""Pixels that are kept of what a selector sees, over height and width."""
# Of every five clips one is kept for the figures alone.
KEPT = 5
# Steps of the fit, blocks in each.
STEPS, BATCH = 1000, 128


@dataclass
class Looks:
    """Inputs of the selector for some blocks, and PSNR of the frame with each scale there."""

    seen: Tensor
    """``M,C,h,w`` in half precision: evenly spread pixels of the blocks' inputs."""
    psnr: Tensor
    """``M,K`` in dB."""
    block: Tensor
    size: Tensor
    """Number in ``SIZES``."""
    clip: Tensor


def windows(clip: Path, count: int, rng: np.random.Generator) -> Iterator[tuple[int, list[Image], Image]]:
    """Windows of a clip: number of the size, input frames and the frame between, the sizes in turn."""
    frames = list(itertools.islice(Video(clip.name, clip).frames(), 60 + 6 * FRAMES))
    for turn in range(count):
        size, step = turn % len(SIZES), 2 * int(rng.integers(1, 4))
        span = step * (FRAMES - 1) + 1
        if len(frames) < span:
            continue
        first = int(rng.integers(len(frames) - span + 1))
        pair = first + step * (FRAMES // 2 - 1)
        chosen = [frames[number] for number in (*range(first, first + span, step), pair + step // 2)]
        sides = [round(side * SIZES[size]) for side in chosen[0].shape[:2]]
        if min(sides) < 96:
            continue
        cut = [min(most, side // 32 * 32) for most, side in zip(LARGEST, sides, strict=True)]
        top, left = (int(rng.integers(side - part + 1)) for side, part in zip(sides, cut, strict=True))
        parts = [
            np.ascontiguousarray(
                cv2.resize(frame, (sides[1], sides[0]), interpolation=cv2.INTER_AREA)[
                    top : top + cut[0], left : left + cut[1]
                ]
            )
            for frame in chosen
        ]
        yield size, parts[:-1], parts[-1]


def pair_of(network: Safa, frames: list[Image]) -> PairState:
    """The two frames in the middle of a window, as the network sees them."""
    lows = [reduce_quarter(frame) for frame in frames]
    middle = FRAMES // 2 - 1
    prior, motion = flows_of_window(lows, middle)
    flows = [(forward[None], backward[None]) for forward, backward in prior]
    states = network.encode_window([to_tensor(low) for low in lows], flows)
    return network.encode_pair(states[middle], states[middle + 1], tuple(flow[None] for flow in motion))


@torch.no_grad()
@torch.autocast("cpu", torch.bfloat16, enabled=torch.ops.mkldnn._is_mkldnn_bf16_supported())  # type: ignore[untyped-decorator]
def look(network: Safa, frames: list[Image], target: Image, usual: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Return for every block its input and PSNR ``1,K`` with each scale; the other blocks take their ``usual`` ones
    or, in three windows of ten, any.
    """
    pair, truth, t = pair_of(network, frames), to_tensor(target), torch.tensor([0.5])
    count = len(network.config.scales)
    others = torch.randint(count, (len(usual),)).tolist() if float(torch.rand(())) < 0.3 else usual
    features = pair.frame0.features, pair.frame1.features
    hidden, flow = pair.hidden, network.initial_flow(pair.hidden, t, pair.prior)
    looks = []
    for number, (block, own) in enumerate(zip(network.blocks, others, strict=True)):
        x = network.block_input(hidden, *features, flow, t)
        choices = [[*others[:number], scale, *others[number + 1 :]] for scale in range(count)]
        values = [psnr(network.synthesize(pair, t, choice).image, truth) for choice in choices]
        places = F.interpolate(x[:, :, ::2, ::2], PLACES, mode="nearest-exact")
        looks.append((places.half(), torch.stack(values, dim=1).float().clamp(max=80)))
        hidden = block.at_scale(x, own)  # type: ignore[operator]
        flow = flow + network.flow_head(hidden).float()
    return looks


def collect(network: Safa, clips: Sequence[Path], count: int, usual: list[int]) -> Looks:
    """Look at ``count`` windows of every clip."""
    rng = np.random.default_rng(1)
    parts: list[tuple[Tensor, Tensor, int, int, int]] = []
    for number, clip in enumerate(clips):
        for size, frames, target in windows(clip, count, rng):
            for block, (seen, values) in enumerate(look(network, frames, target, usual)):
                parts.append((seen, values, block, size, number))
        print(f"{number + 1} of {len(clips)} clips", flush=True)
    places, values, *numbers = zip(*parts, strict=True)
    return Looks(torch.cat(places), torch.cat(values), *(torch.tensor(column) for column in numbers))


def fit(selector: ScaleSelector, looks: Looks, cost: Tensor, used: Tensor) -> None:
    """Let ``selector`` choose, in the blocks ``used``, what has the highest PSNR less its cost ``K`` in dB."""
    mean = looks.seen.float().mean(dim=(0, 2, 3))
    deviation = looks.seen.float().std(dim=(0, 2, 3)).clamp(min=1e-4)
    gains = looks.psnr - looks.psnr.mean(dim=1, keepdim=True) - cost
    optimizer = torch.optim.AdamW(selector.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        some = used[torch.randint(len(used), (BATCH,))]
        seen = (looks.seen[some].float() - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)
        chance = branch_weights(torch.sigmoid(selector.judge(seen)))
        # Gains are hundredths of a decibel; a few windows with much larger ones must not decide everything.
        loss = -(chance * (10 * gains[some]).clamp(-1, 1)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():  # the mean and deviation of the inputs into the first convolution
        convolution = selector.squeeze.conv
        assert convolution.bias is not None
        convolution.weight /= deviation.view(1, -1, 1, 1)
        convolution.bias -= (convolution.weight[:, :, 0, 0] * mean).sum(dim=1)


@torch.no_grad()
def report(selector: ScaleSelector, looks: Looks, scales: tuple[float, ...], kept: Tensor) -> None:
    """One line for each block and size, on the blocks ``kept``."""
    choice = torch.cat([chosen_scale(selector.judge(part.float())) for part in looks.seen[kept].split(BATCH)])
    gains = looks.psnr[kept] - looks.psnr[kept].mean(dim=1, keepdim=True)
    chosen = gains.gather(1, choice[:, None])[:, 0]
    block, size = looks.block[kept], looks.size[kept]
    groups = [("all", torch.ones_like(block, dtype=torch.bool))]
    groups += [(f"block {number + 1}", block == number) for number in range(int(block.max()) + 1)]
    groups += [(f"{SIZES[number]:g} of the size", size == number) for number in range(len(SIZES))]
    print("| | selector | " + " | ".join(f"always {scale:g}" for scale in scales) + " | best each time | choices |")
    print("| --- |" + " --- |" * (len(scales) + 3))
    for name, members in groups:
        values = [chosen[members].mean(), *gains[members].mean(dim=0), gains[members].amax(dim=1).mean()]
        shares = torch.bincount(choice[members], minlength=len(scales)) / members.sum()
        reported = " ".join(f"{100 * float(share):.0f} %" for share in shares)
        print(f"| {name} | " + " | ".join(f"{float(value):+.3f}" for value in values) + f" | {reported} |")


def main() -> None:
    """Collect, fit, report and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--clips", type=Path, required=True, help="folder with videos")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--windows", type=int, default=12, help="of each clip")
    parser.add_argument("--usual", type=int, nargs="+", default=[2, 2, 1], help="scales of the blocks not looked at")
    parser.add_argument("--cost", type=float, default=0.01, help="dB that a block at full scale must bring")
    parser.add_argument("--looks", type=Path, help="keep what was collected here, and take it from here if it exists")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    given = load_checkpoint(arguments.weights)
    network = Safa(dataclasses.replace(given.network.config, fixed_scale=None)).eval()
    network.load_state_dict(given.network.state_dict(), strict=False)
    assert network.selector is not None
    network.selector = ScaleSelector(
        network.selector.squeeze.conv.in_channels, network.config.channels, len(network.config.scales)
    )
    if arguments.looks and arguments.looks.exists():
        looks = Looks(**load_file(arguments.looks))
    else:
        clips = sorted(path for path in arguments.clips.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
        looks = collect(network, clips, arguments.windows, arguments.usual)
        if arguments.looks:
            save_file(vars(looks), arguments.looks)
    kept = looks.clip % KEPT == KEPT // 2
    scales = network.config.scales
    fit(network.selector, looks, arguments.cost * torch.tensor([scale**2 for scale in scales]), (~kept).nonzero()[:, 0])
    report(network.selector, looks, scales, kept)
    save_checkpoint(network, arguments.output, given.provenance)


if __name__ == "__main__":
    main()
