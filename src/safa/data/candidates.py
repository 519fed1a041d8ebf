"""Search for the windows of a clip worth packing: sharp and moving, without cuts and repeated frames."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.clips import LEAST_CHANGE, LEAST_FRAMES, MOST_CHANGE, scaled_frames
from safa.data.scene import Image
from safa.data.sequences import FrameSequence
from safa.errors import SafaError

# Mean absolute Laplacian (of 255 grey levels) below which a place counts as blurred or empty.
LEAST_SHARPNESS = 1.2
# A step between two frames this many times the window's median step, and this large at least, is a cut.
CUT_RATIO, CUT_LEAST = 3.5, 10.0
# A step below this part of the median is a repeated frame, as frame-rate conversion leaves it.
REPEATED = 0.15
# Pixels along a side of a frame, at least.
SMALLEST = 32
# Motion beyond this change per window counts no further: otherwise flicker would be preferred to motion.
ENOUGH_CHANGE = 12.0


@dataclass(frozen=True)
class Candidate:
    """A window that may go into the pack."""

    start: int
    top: int
    left: int
    frames: list[Image]
    sharpness: float
    change: float

    @property
    def score(self) -> float:
        """Detail counts in full, motion with diminishing returns."""
        return self.sharpness * min(self.change, ENOUGH_CHANGE) ** 0.5


def find_candidates(sequence: FrameSequence, count: int, side: int) -> Iterator[Candidate]:
    """All windows of a clip worth packing, in the clip's order.

    Args:
        count: frames of a window; a clip that is shorter as a whole makes one shorter window.
        side: of a window in pixels.
    """
    frames = scaled_frames(sequence)
    first = next(frames, None)
    if first is None:
        return
    if min(first.shape[:2]) < SMALLEST:
        raise SafaError(
            f"The frames of {sequence.name} are {first.shape[1]}x{first.shape[0]} pixels after they were scaled down: "
            f"too small to train on, {SMALLEST} is the least. Remove it from the training data."
        )
    frames = itertools.chain([first], frames)
    for chunk in itertools.count():
        run = list(itertools.islice(frames, count))
        # Published septuplets are shorter than a window; the end of a longer clip does not make a short one.
        if len(run) < LEAST_FRAMES or (chunk > 0 and len(run) < count):
            return
        if _runs_smoothly(run):
            yield from _places(run, chunk * count, side)


def _runs_smoothly(run: list[Image]) -> bool:
    """Neither a cut nor a repeated frame among consecutive frames."""
    small = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None, fx=0.25, fy=0.25) for frame in run]
    steps = [float(cv2.absdiff(a, b).mean()) for a, b in itertools.pairwise(small)]
    median = float(np.median(steps))
    is_cut = max(steps) > max(CUT_RATIO * median, CUT_LEAST)
    return not is_cut and min(steps) > REPEATED * median


def _places(run: list[Image], start: int, side: int) -> Iterator[Candidate]:
    """The best places of a run of frames that do not overlap."""
    height, width = run[0].shape[:2]
    rows, columns = min(side, height // 8 * 8), min(side, width // 8 * 8)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (run[0], run[len(run) // 2], run[-1])]
    detail = cv2.integral(np.abs(cv2.Laplacian(grey[1], cv2.CV_32F)))
    change = cv2.integral(cv2.absdiff(grey[0], grey[2]).astype(np.float32))
    found = []
    for top in sorted({*range(0, height - rows + 1, max(8, rows // 2)), height - rows}):
        for left in sorted({*range(0, width - columns + 1, max(8, columns // 2)), width - columns}):
            sharpness, moved = (_mean(table, top, left, rows, columns) for table in (detail, change))
            if sharpness > LEAST_SHARPNESS and LEAST_CHANGE < moved < MOST_CHANGE:
                found.append(Candidate(start, top, left, [], sharpness, moved))
    taken: list[Candidate] = []
    for place in sorted(found, key=lambda candidate: -candidate.score):
        if all(abs(place.top - one.top) >= rows or abs(place.left - one.left) >= columns for one in taken):
            taken.append(place)
            near = slice(place.top, place.top + rows), slice(place.left, place.left + columns)
            frames = [np.ascontiguousarray(frame[near]) for frame in run]
            yield Candidate(start, place.top, place.left, frames, place.sharpness, place.change)


def _mean(table: NDArray[Any], top: int, left: int, rows: int, columns: int) -> float:
    """Mean over a rectangle from its integral image."""
    bottom, right = top + rows, left + columns
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return float(total / (rows * columns))
