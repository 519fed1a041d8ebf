"""Vid4's figures in minutes: what `safa evaluate --on vid4` measures, through the engine that videos are made with.

python scripts/measure_stream.py VID4 fast best                      # given the stream
python scripts/measure_stream.py VID4 fast --pairs                   # given two frames at a time
python scripts/measure_stream.py VID4 fast --scales 2 2 1 --first 6  # with these scales, the first 6 inputs of each

VID4 holds sequences as folders of pictures; even frames are the inputs, reduced to a quarter, odd ones lie between
them. PSNR and SSIM on Y, the mean over all windows, as in the public protocol (docs/evaluation.md); pictures have 8
bits here, which costs 0.002 dB at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import folders
from safa.engine.base import Rendering
from safa.evaluation.protocols import to_tensor
from safa.metrics import psnr_y, ssim
from safa.network.config import SCALE, Region, Scale
from safa.network.operations import luma
from safa.upscaler.upscaler import Upscaler, load


def made(upscaler: Upscaler, inputs: Sequence[Image], pairs: bool) -> Iterator[Image]:
    """Every input frame but the last, and the one between it and the next."""
    if not pairs:
        yield from upscaler.stream(inputs, 2)
        return
    for number in range(len(inputs) - 1):
        yield from upscaler.between(inputs[number], inputs[number + 1], times=[0, 0.5])


def force(upscaler: Upscaler, scales: Sequence[int]) -> None:
    """Let every frame be made with these scales of the blocks."""
    synthesize = upscaler.engine.synthesize

    def forced(pair: Any, t: float, scale: Scale = None, region: Region | None = None) -> Rendering:
        return synthesize(pair, t, scales, region)

    upscaler.engine.synthesize = forced  # type: ignore[method-assign]


def main() -> None:
    """One line for each network: inputs, between, average, then each sequence's PSNR."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--pairs", action="store_true", help="give the network two frames only")
    parser.add_argument("--first", type=int, help="inputs of each sequence to take")
    parser.add_argument(
        "--scales", type=int, nargs="+", help="the scale of each block, instead of the selector's choice"
    )
    arguments = parser.parse_args()
    for name in arguments.weights:
        upscaler = load(name)
        if arguments.scales:
            force(upscaler, arguments.scales)
        values: list[tuple[tuple[float, float], tuple[float, float]]] = []
        reported = []
        for sequence in folders(arguments.folder, None):
            truths = [_cropped(frame) for frame in sequence.frames()]
            inputs = [reduce_quarter(frame) for frame in truths[::2]][: arguments.first]
            rows = []
            count = 2 * ((min(len(truths), 2 * len(inputs)) - 1) // 2)
            for picture, truth in zip(made(upscaler, inputs, arguments.pairs), truths[:count], strict=False):
                images = to_tensor(picture), to_tensor(truth)
                rows.append((float(psnr_y(*images)), float(ssim(*(luma(image.double()) for image in images)))))
            values += list(zip(rows[::2], rows[1::2], strict=True))
            inputs_psnr, between_psnr = (float(np.mean([row[0] for row in part])) for part in (rows[::2], rows[1::2]))
            reported.append(f"{sequence.name} {inputs_psnr:.2f} / {between_psnr:.2f}")
        mean = np.mean(values, axis=0)  # time, metric
        three = [*mean, mean.mean(axis=0)]
        print(f"{name}, {len(values)} windows: " + " | ".join(f"{psnr:.3f} / {ssim:.4f}" for psnr, ssim in three))
        print("  " + ", ".join(reported), flush=True)


def _cropped(frame: Image) -> Image:
    height, width = (side // SCALE * SCALE for side in frame.shape[:2])
    return np.ascontiguousarray(frame[:height, :width])


if __name__ == "__main__":
    main()
