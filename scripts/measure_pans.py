"""Do frames between hold together when the camera pans? PSNR-Y of the middle frame by size and pan, from two frames.

python scripts/measure_pans.py FOLDER fast --widths 96 160 240 --pans 15 25 40 --photographs 4

FOLDER holds photographs. A window of W x 9/16 W input pixels moves over one by a part of its width, four times as
large for the truth, so that everything in the middle frame is seen by at least one input, and only a part by both. In
brackets: PSNR-Y of the first input frame's own picture, which no motion spoils.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import find_pictures
from safa.evaluation.protocols import to_tensor
from safa.metrics import psnr_y
from safa.network.config import SCALE
from safa.upscaler.upscaler import Upscaler, load


def panned(path: Path, width: int, share: float) -> tuple[Image, Image, Image]:
    """Three views of a photograph, the last one ``share`` of the width beside the first."""
    large, pan = SCALE * width, SCALE * (round(share * width) // 2 * 2)
    photograph = PillowImage.open(path).convert("RGB")
    if photograph.width < large + pan:
        height = round(photograph.height * (large + pan) / photograph.width)
        photograph = photograph.resize((large + pan, height), PillowImage.Resampling.LANCZOS)
    height = min(large * 9 // 16, photograph.height) // 16 * 16
    pixels = np.asarray(photograph)[:height]
    first, middle, last = (np.ascontiguousarray(pixels[:, at : at + large]) for at in (0, pan // 2, pan))
    return first, middle, last


def measured(upscaler: Upscaler, views: tuple[Image, Image, Image]) -> tuple[float, float]:
    """PSNR-Y of the middle frame, and of the first."""
    first, middle, last = views
    made = upscaler.between(reduce_quarter(first), reduce_quarter(last), times=[0.5, 0])
    return tuple(  # type: ignore[return-value]
        float(psnr_y(to_tensor(picture), to_tensor(truth)))
        for picture, truth in zip(made, (middle, first), strict=True)
    )


def main() -> None:
    """One line for each width, one figure for each pan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", nargs="?", default="fast")
    parser.add_argument("--widths", type=int, nargs="+", default=[96, 160, 240])
    parser.add_argument("--pans", type=int, nargs="+", default=[5, 15, 25, 40], help="in per cent of the width")
    parser.add_argument("--photographs", type=int, default=4, help="evenly spread over the folder")
    arguments = parser.parse_args()
    upscaler = load(arguments.weights)
    paths = find_pictures(arguments.folder)
    chosen = [paths[(2 * k + 1) * len(paths) // (2 * arguments.photographs)] for k in range(arguments.photographs)]
    for width in arguments.widths:
        cells = []
        for pan in arguments.pans:
            figures = [measured(upscaler, panned(path, width, pan / 100)) for path in chosen]
            middle, first = np.mean(figures, axis=0)
            cells.append(f"{pan} %: {middle:.2f} ({first:.2f})")
        print(f"{width}: " + ", ".join(cells), flush=True)


if __name__ == "__main__":
    main()
