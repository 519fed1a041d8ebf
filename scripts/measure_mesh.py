"""Measure meshes of dots in enlarged footage, clean and mildly compressed, for each step of --detail.

python scripts/measure_mesh.py CLIPS -o sheet.png --detail 0 0.3 0.5 0.8 --weights fast --crf 16 20 24

CLIPS holds videos; five frames of each are reduced to a quarter, compressed by H.264 with each rate factor, and
enlarged. Of the most textured square of 256 pixels of the last frame: energy at a period of four output pixels, across
and down, relative to that of all directions at this frequency (1: no mesh). Clips below 320 pixels are left out. The
sheet shows the squares with the highest figures, twice enlarged.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from safa.data.codec import through_codec
from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import Video
from safa.upscaler.upscaler import load
from safa.video.files import VIDEO_SUFFIXES

FRAMES, SIDE, BLOCK, PERIOD = 5, 256, 64, 4
LARGEST = (640, 960)
"""Height and width of what is cut out of a frame."""
SMALLEST, SHOWN = 320, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--weights", default="fast")
    parser.add_argument("--detail", type=float, nargs="+", default=[0, 0.3, 0.5, 0.8])
    parser.add_argument("--crf", type=int, nargs="+", default=[16, 20, 24])
    parser.add_argument("--most", type=int, default=100, help="clips to take")
    arguments = parser.parse_args()
    names = [arguments.weights if not detail else f"{arguments.weights}@{detail:g}" for detail in arguments.detail]
    upscalers = {name: load(name) for name in names}
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    squares = []
    paths = sorted(path for path in arguments.clips.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    for path, crf in itertools.product(paths[: arguments.most], arguments.crf):
        frames = [centre(frame) for frame in itertools.islice(Video(path.name, path).frames(), FRAMES)]
        if min(frames[0].shape[:2]) < SMALLEST:
            continue
        lows = through_codec([reduce_quarter(frame) for frame in frames], "h264", {"crf": str(crf), "preset": "medium"})
        row, place = [], None
        for name, upscaler in upscalers.items():
            *_, last = upscaler.stream(lows, 1)
            place = place or busiest(last)
            row.append(last[place])
            figures[name].append(mesh(row[-1]))
        worst = max(figures[names[-1]][-1])
        squares.append((worst, f"{path.name} {crf}", row))
        shown = "  ".join(f"{figures[name][-1][0]:.2f}/{figures[name][-1][1]:.2f}" for name in names)
        print(f"{path.name} crf {crf}: {shown}", flush=True)
    for name in names:
        values = np.array(figures[name])
        print(f"{name}: mean {values.mean(axis=0).round(2)}, largest {values.max(axis=0).round(2)}")
    if arguments.output:
        rows = [np.hstack(row) for _, _, row in sorted(squares, key=lambda one: -one[0])[:SHOWN]]
        sheet = np.vstack([row[64:192] for row in rows])
        size = (sheet.shape[1] * 2, sheet.shape[0] * 2)
        PillowImage.fromarray(sheet).resize(size, PillowImage.Resampling.NEAREST).save(arguments.output)


def centre(frame: Image) -> Image:
    """The middle of a frame, both sides multiples of 32."""
    sides = [min(most, side) // 32 * 32 for most, side in zip(LARGEST, frame.shape[:2], strict=True)]
    top, left = ((side - own) // 2 for side, own in zip(frame.shape[:2], sides, strict=True))
    return np.ascontiguousarray(frame[top : top + sides[0], left : left + sides[1]])


def busiest(picture: Image) -> tuple[slice, slice]:
    """The square with the most detail."""
    detail = cv2.blur(np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F)), (SIDE, SIDE))
    half = SIDE // 2
    inner = detail[half:-half, half:-half]
    y, x = np.unravel_index(int(inner.argmax()), inner.shape)
    return slice(int(y), int(y) + SIDE), slice(int(x), int(x) + SIDE)


def mesh(picture: Image) -> tuple[float, float]:
    """Energy at a period of four pixels across and down, relative to all directions at that frequency."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    window = np.outer(np.hanning(BLOCK), np.hanning(BLOCK))
    power: NDArray[np.float64] = np.zeros((BLOCK, BLOCK))
    for top, left in itertools.product(range(0, SIDE - BLOCK + 1, BLOCK // 2), repeat=2):
        block = grey[top : top + BLOCK, left : left + BLOCK]
        power += np.abs(np.fft.fft2((block - block.mean()) * window)) ** 2
    cycles = np.fft.fftfreq(BLOCK) * BLOCK
    radius = np.hypot(cycles[:, None], cycles)
    ring = power[np.abs(radius - BLOCK / PERIOD) < 1.0].mean()
    at = BLOCK // PERIOD
    near = (0, 1, -1)
    return float(power[np.ix_(near, (at - 1, at, at + 1))].mean() / ring), float(
        power[np.ix_((at - 1, at, at + 1), near)].mean() / ring
    )


if __name__ == "__main__":
    main()
