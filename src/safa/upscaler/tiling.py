"""A frame as a grid of tiles with a margin around each, and one choice of scales for all of them.

Neighbouring tiles compute their margins twice, so that where they meet both know what lies beyond. How wide a margin
has to be was measured (``docs/log.md``): what a network sees further away than ``CONTEXT`` no longer reaches the eighth
bit, but warping fetches pixels from as far away as things move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.engine.base import Part, ScaleChoice
from safa.errors import OutOfMemory
from safa.network.config import SCALE, Region, Scale

CONTEXT = 8
LEAST_REACH, USUAL_REACH, MOST_REACH = 16, 32, 64
# No tile shows less than this a side: what is smaller is nearly all margin.
SMALLEST = 32
# How allocators say it that raise nothing more telling than RuntimeError or OpenCV's error.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "insufficient memory")


@dataclass(frozen=True)
class Tile:
    """``core`` is its part of the frame, ``padded`` that with its margin; in pixels of the padded input frame."""

    core: Region
    padded: Region

    @property
    def area(self) -> int:
        """Pixels of the core."""
        return _area(self.core)

    @property
    def cost(self) -> int:
        """Pixels computed."""
        return _area(self.padded)

    @property
    def output(self) -> Part:
        """Where the result goes in an array ``4H,4W,...``."""
        top, left, bottom, right = (SCALE * edge for edge in self.core)
        return slice(top, bottom), slice(left, right)

    @property
    def crop(self) -> Part:
        """The core in an image ``4h,4w,...`` of the padded tile."""
        top, left, bottom, right = (SCALE * edge for edge in self.inner)
        return slice(top, bottom), slice(left, right)

    @property
    def inner(self) -> Region:
        """The core, in pixels of the padded tile."""
        top, left = self.padded[:2]
        return (self.core[0] - top, self.core[1] - left, self.core[2] - top, self.core[3] - left)


@dataclass(frozen=True)
class Tiling:
    """For people: in how many tiles frames are computed, about, and how large the largest is with its margin."""

    count: int
    width: int
    height: int

    @staticmethod
    def of(tiles: Sequence[Tile]) -> Tiling:
        """What there is to say about ``tiles``."""
        top, left, bottom, right = max(tiles, key=lambda tile: tile.cost).padded
        return Tiling(len(tiles), right - left, bottom - top)


def margin_for(flows: Sequence[NDArray[np.float32]] | None, multiple: int, hops: int = 1) -> int:
    """Margin in pixels for motion of ``flows`` (``H,W,2`` in pixels; None: not known beforehand).

    ``hops``: how many warps a pixel's way through the network leads through at most.
    """
    if flows is None:
        reach: float = USUAL_REACH
    else:
        # A few pixels of wild flow, which every estimate has, must not make all tiles wide.
        reach = max((float(np.quantile(np.abs(flow), 0.999)) for flow in flows), default=0)
    reach = min(max(reach, LEAST_REACH), MOST_REACH) * hops
    return math.ceil((CONTEXT + reach) / multiple) * multiple


def plan_tiles(height: int, width: int, multiple: int, margin: int, most: int) -> tuple[Tile, ...]:
    """The grid over a padded frame that computes the fewest pixels with no tile above ``most`` of them.

    Args:
        height, width: multiples of ``multiple``, as are the edges of all tiles.
        margin: a multiple of ``multiple``.

    Returns:
        Nothing where the smallest tiles are too large.
    """
    if height * width <= most:
        return (Tile((0, 0, height, width), (0, 0, height, width)),)
    best: tuple[int, list[int], list[int]] | None = None
    for rows in _divisions(height, multiple):
        high = _widest(rows, height, margin)
        for columns in _divisions(width, multiple):
            if high * _widest(columns, width, margin) <= most:
                computed = _computed(rows, height, margin) * _computed(columns, width, margin)
                if best is None or computed < best[0]:
                    best = computed, rows, columns
                break  # more columns only cost more
    if best is None:
        return ()
    return tuple(
        Tile(
            (top, left, bottom, right),
            (max(0, top - margin), max(0, left - margin), min(height, bottom + margin), min(width, right + margin)),
        )
        for top, bottom in zip(best[1], [*best[1][1:], height], strict=True)
        for left, right in zip(best[2], [*best[2][1:], width], strict=True)
    )


def smallest_cost(height: int, width: int, multiple: int, margin: int) -> int:
    """Pixels of the largest tile when tiles are as small as they may be."""
    sides = (_widest(list(_divisions(side, multiple))[-1], side, margin) for side in (height, width))
    return math.prod(sides)


def resolve_scales(
    tiles: Sequence[Tile], first: Sequence[ScaleChoice], again: Callable[[Tile, Scale], ScaleChoice]
) -> None:
    """Bring all tiles to one choice of scales for the frame, after each has chosen freely.

    The first block in which tiles differ is decided by the mean of the selector's logits over the frame, which is what
    the selector of the whole frame thresholds; the tiles that had chosen otherwise are computed again with that
    settled, and so on. The order of the tiles does not matter.

    Args:
        first: what each tile chose.
        again: computes a tile with some of its scales settled; its last result for a tile holds.
    """
    seen = list(first)
    blocks = len(seen[0].scales)
    settled: tuple[int, ...] = ()
    while len(settled) < blocks:
        block = len(settled)
        chosen = {decision.scales[block] for decision in seen}
        decided = chosen.pop() if len(chosen) == 1 else _mean_choice(tiles, [d.logits[block] for d in seen])
        settled = (*settled, decided)
        for number, tile in enumerate(tiles):
            if seen[number].scales[block] != decided:
                seen[number] = again(tile, (*settled, *[None] * (blocks - block - 1)))


@contextmanager
def memory_errors() -> Iterator[None]:
    """Every way in which memory runs out, as ``OutOfMemory``."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("There is not enough memory.") from error
    except (RuntimeError, cv2.error) as error:
        if any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY):
            raise OutOfMemory(f"There is not enough memory: {str(error).strip().splitlines()[0]}") from error
        raise


def _mean_choice(tiles: Sequence[Tile], logits: Sequence[Sequence[float]]) -> int:
    """The scale that the selector of the whole frame takes (``network/selector.py``)."""
    chosen = 0
    for k in range(len(logits[0])):
        mean = math.fsum(tile.area * values[k] for tile, values in zip(tiles, logits, strict=True))
        if not mean > 0:
            chosen = k + 1
    return chosen


def _divisions(size: int, multiple: int) -> Iterator[list[int]]:
    """First pixels of the parts of one side, for every number of parts, fewest first; all but the last are equal."""
    last = 0
    for step in range(size // multiple, 0, -1):
        parts = list(range(0, size, step * multiple))
        # Of all steps that give as many parts the smallest makes them the most equal.
        even = math.ceil(size / multiple / len(parts)) * multiple
        if len(parts) > 1 and even < SMALLEST:
            return
        if len(parts) != last:
            yield list(range(0, size, even))
            last = len(parts)


def _spans(parts: list[int], size: int, margin: int) -> list[int]:
    ends = [*parts[1:], size]
    return [min(size, end + margin) - max(0, start - margin) for start, end in zip(parts, ends, strict=True)]


def _widest(parts: list[int], size: int, margin: int) -> int:
    return max(_spans(parts, size, margin))


def _computed(parts: list[int], size: int, margin: int) -> int:
    return sum(_spans(parts, size, margin))


def _area(region: Region) -> int:
    return (region[2] - region[0]) * (region[3] - region[1])
