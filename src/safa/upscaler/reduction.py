"""From the network's picture, four times as large, to the size that is asked for: one antialiased filter for all.

Whole factors are averages over areas; any others are bicubic with the kernel as much wider as the picture gets smaller.
Every pixel's weights come from its place in the frame, and products are summed one by one in one order: tiles, strips
and machines all give the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from safa.engine.images import Array, store
from safa.network.config import SCALE

STRIP = 32
"""Lines of the result that are made at a time: more would leave the processor's cache."""

SUPPORT = 2
"""Of the bicubic kernel, in pixels of the result."""

PixelRange = tuple[int, int]


@dataclass(frozen=True)
class Axis:
    """The filter along one side: result pixel ``k`` is ``sum(weights[k, i] * pixel[taps[k, i]])``.

    Both are ``size,taps``; taps beyond the frame are its edge's with no weight.
    """

    source: int
    size: int
    taps: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to do."""
        return self.source == self.size

    def owned(self, span: PixelRange) -> PixelRange:
        """The result's pixels with their centres within these of the source: of neighbouring spans, each to one."""
        # The first k with (k + 1/2) * source / size >= edge.
        first, last = (-((self.source - 2 * min(edge, self.source) * self.size) // (2 * self.source)) for edge in span)
        return first, last

    def needed(self, span: PixelRange) -> PixelRange:
        """The source's pixels from which these of the result are made."""
        taps = self.taps[span[0] : span[1]]
        return int(taps.min()), int(taps.max()) + 1

    def along(self, lines: NDArray[np.float32], span: PixelRange, start: int) -> NDArray[np.float32]:
        """Filter the first side of ``n,...``, whose first line is the source's ``start``, to the result's ``span``."""
        if self.unchanged:
            return lines[span[0] - start : span[1] - start]
        taps = self.taps[span[0] : span[1]] - start
        weights = self.weights[span[0] : span[1]].reshape(-1, taps.shape[1], *[1] * (lines.ndim - 1))
        # One by one: what fuses the product and the sum rounds once, and not every processor does.
        total = lines.take(taps[:, 0], axis=0) * weights[:, 0]
        for i in range(1, taps.shape[1]):
            part = lines.take(taps[:, i], axis=0)
            part *= weights[:, i]
            total += part
        return total


@lru_cache(maxsize=32)
def axis(source: int, size: int) -> Axis:
    """The filter from ``source`` pixels to ``size``, which are no more."""
    if source % size == 0:
        factor = source // size
        taps = np.arange(source).reshape(size, factor)
        return Axis(source, size, taps, np.full((size, factor), 1 / factor, np.float32))
    step = source / size
    centre = (np.arange(size) + 0.5) * step - 0.5
    first = np.ceil(centre - SUPPORT * step)
    taps = first[:, None] + np.arange(int(2 * SUPPORT * step) + 1)
    distance = np.abs((taps - centre[:, None]) / step)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < SUPPORT, far, 0))
    weights = np.where((taps >= 0) & (taps < source), weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return Axis(source, size, taps.astype(np.int64).clip(0, source - 1), weights.astype(np.float32))


class Reduction:
    """Takes pictures of frames of ``height`` by ``width`` to the ``size`` (height, width) of the result."""

    def __init__(self, height: int, width: int, size: tuple[int, int]) -> None:
        self.rows, self.columns = axis(SCALE * height, size[0]), axis(SCALE * width, size[1])
        self.unchanged = self.rows.unchanged and self.columns.unchanged

    def place(self, core: tuple[slice, slice]) -> tuple[slice, slice]:
        """Which part of the result is made from a tile with this core in the network's picture."""
        rows = self.rows.owned((core[0].start, core[0].stop))
        columns = self.columns.owned((core[1].start, core[1].stop))
        return slice(*rows), slice(*columns)

    def store(
        self,
        image: NDArray[np.float32],
        offset: tuple[int, int],
        into: Array,
        place: tuple[slice, slice],
    ) -> None:
        """Write a part of the result.

        Args:
            image: ``h,w,C`` in [0, 1], the network's picture of a tile with its margin, which must hold all that the
                part is made from; ``offset`` is where in the frame its first line and column lie.
            into: ``h,w,C``, the part of the result.
            place: where in the result it lies.
        """
        height, width = into.shape[:2]
        if not height or not width:
            return
        columns = place[1].start, place[1].stop
        left, right = self.columns.needed(columns)
        for top in range(0, height, STRIP):
            rows = place[0].start + top, place[0].start + min(top + STRIP, height)
            above, below = self.rows.needed(rows)
            strip = image[above - offset[0] : below - offset[0], left - offset[1] : right - offset[1]]
            strip = self.rows.along(strip, rows, above)
            # Columns as lines: whole lines are fetched much faster than single pixels.
            strip = self.columns.along(np.ascontiguousarray(strip.swapaxes(0, 1)), columns, left)
            # The kernel overshoots at edges.
            store(strip.swapaxes(0, 1).clip(0, 1), into[top : top + STRIP])
