"""Traces of earlier processing, measured on luma: block edges of a codec, noise, lines of two fields."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Luma = NDArray[np.float32]
BLOCK = 8

# Of each row or column of the second difference; noise of deviation 1 comes out with deviation 6.
IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
MEDIAN_OF_NORMAL = 0.6745  # median of the absolute value, in standard deviations

MOVED = 10.0  # 8-bit steps from one frame to the next that are motion and not noise


class BlockSteps:
    """Luma steps between neighbouring pixels, gathered by their phase in a grid of 8 pixels, over any number of frames
    that share the grid.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((2, BLOCK))
        self._counts = np.zeros((2, BLOCK))

    def add(self, luma: Luma) -> None:
        """Take a frame, H,W."""
        for axis in (0, 1):
            steps = np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis, dtype=np.float64)
            for phase in range(BLOCK):
                self._sums[axis, phase] += steps[phase::BLOCK].sum()
                self._counts[axis, phase] += steps[phase::BLOCK].size

    def blockiness(self) -> float:
        """Mean step across block edges over mean step inside blocks, at the phase where it is largest on each axis; the
        mean of both axes. 1 where there are no blocks, or nothing but one colour.
        """
        ratios = []
        for sums, counts in zip(self._sums, self._counts, strict=True):
            if not counts.all() or sums.sum() == 0:
                continue  # smaller than a block, or flat
            edges = sums / counts
            inside = (sums.sum() - sums) / (counts.sum() - counts)
            ratios.append(float((edges / np.maximum(inside, 0.01)).max()))
        return sum(ratios) / len(ratios) if ratios else 1.0


def noise(luma: Luma) -> float:
    """Standard deviation of the noise in a frame, H,W, in its steps: from the median of Immerkaer's second difference,
    which edges and motion hardly change. Pixels near black and white, where noise is cut off, do not count.
    """
    response = cv2.filter2D(luma, cv2.CV_32F, IMMERKAER)[1:-1, 1:-1]
    middle = luma[1:-1, 1:-1]
    seen = np.abs(response[(middle > 4) & (middle < 251)])
    return float(np.median(seen)) / (6 * MEDIAN_OF_NORMAL) if seen.size else 0.0


def combed(before: Luma, luma: Luma) -> tuple[int, int]:
    """Of the pixels of a frame, H,W, that moved since the one before: (how many more stand out between the lines above
    and below, as those of a second field do, than between the columns beside them, as fine patterns do; how many
    moved).
    """
    if min(luma.shape) < 3:
        return 0, 0
    moving = np.abs(luma - before)[1:-1, 1:-1] > MOVED
    lines = int((_between(luma[:, 1:-1]) & moving).sum())
    columns = int((_between(luma[1:-1].T).T & moving).sum())
    return lines - columns, int(moving.sum())


def _between(luma: Luma) -> NDArray[np.bool_]:
    """Where a line differs from those above and below, and they do not so much from each other."""
    above, here, below = luma[:-2], luma[1:-1], luma[2:]
    least = np.minimum(np.abs(here - above), np.abs(here - below))
    between: NDArray[np.bool_] = (
        ((here - above) * (here - below) > 0) & (least > MOVED) & (np.abs(above - below) < least)
    )
    return between
