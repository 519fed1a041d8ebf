"""Tiles: a frame divided where memory is short, rendered tile by tile with one choice of scales for all of them.

Neighbouring tiles both compute the margin between them, so each has the surroundings it needs. The width of the margin
was measured (``docs/log.md``): beyond ``CONTEXT`` pixels a network's receptive field no longer changes the eighth bit,
but warping fetches pixels from as far away as things move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.engine.base import Part, ScaleChoice
from safa.engine.images import Array, crop, enlarge, max_value, store
from safa.errors import OutOfMemory
from safa.network.config import SCALE, Region, Scale
from safa.upscaler.resize import Reduction
from safa.upscaler.state_cache import EncodedWindow, StateCache, WindowStates

CONTEXT = 8
# Pixels of motion that a margin allows for: at least, where the motion is unknown, and at most.
MIN_MOTION, DEFAULT_MOTION, MAX_MOTION = 16, 32, 64
# Shortest side of a tile's core: smaller tiles would be almost all margin.
MIN_CORE = 32
# Phrases in the messages of allocators that raise only RuntimeError or cv2.error.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "insufficient memory")


@dataclass(frozen=True)
class Tile:
    """A rectangle of a frame that is computed alone.

    Args:
        core: the part of the result that it supplies, (top, left, bottom, right) in pixels of the padded source frame.
        padded: the core with its margin.
    """

    core: Region
    padded: Region

    @property
    def area(self) -> int:
        """Pixels of the core."""
        return _area(self.core)

    @property
    def cost(self) -> int:
        """Pixels that are computed: the core and its margin."""
        return _area(self.padded)

    @property
    def output(self) -> Part:
        """Rows and columns of the core in an output array ``4H,4W,...``."""
        top, left, bottom, right = (SCALE * edge for edge in self.core)
        return slice(top, bottom), slice(left, right)

    @property
    def crop(self) -> Part:
        """Rows and columns of the core in the network's picture ``4h,4w,...`` of the padded tile."""
        top, left, bottom, right = (SCALE * edge for edge in self.inner)
        return slice(top, bottom), slice(left, right)

    @property
    def inner(self) -> Region:
        """The core, (top, left, bottom, right) in pixels of the padded tile."""
        top, left = self.padded[:2]
        return (self.core[0] - top, self.core[1] - left, self.core[2] - top, self.core[3] - left)


@dataclass(frozen=True)
class Tiling:
    """Summary of a grid of tiles, for messages: number of tiles, and size of the largest with its margin in pixels."""

    count: int
    width: int
    height: int

    @staticmethod
    def of(tiles: Sequence[Tile]) -> Tiling:
        """Summarise ``tiles``."""
        top, left, bottom, right = max(tiles, key=lambda tile: tile.cost).padded
        return Tiling(len(tiles), right - left, bottom - top)


def margin_for(flows: Sequence[NDArray[np.float32]] | None, multiple: int, hops: int = 1) -> int:
    """Return the margin of tiles in pixels, a multiple of ``multiple``.

    Args:
        flows: motion of the frames, ``H,W,2`` in pixels; None if it is unknown.
        hops: largest number of successive warps in the network.
    """
    if flows is None:
        motion: float = DEFAULT_MOTION
    else:
        # A quantile, because every estimate has a few outliers, which must not widen all tiles.
        motion = max((float(np.quantile(np.abs(flow), 0.999)) for flow in flows), default=0)
    motion = min(max(motion, MIN_MOTION), MAX_MOTION) * hops
    return math.ceil((CONTEXT + motion) / multiple) * multiple


def plan_tiles(height: int, width: int, multiple: int, margin: int, limit: int) -> tuple[Tile, ...]:
    """Return the grid over a padded frame that computes the fewest pixels with at most ``limit`` in a tile.

    Args:
        height, width: of the padded frame; like the edges of all tiles, multiples of ``multiple``.
        margin: pixels around each core, a multiple of ``multiple``.

    Returns:
        The tiles in reading order; empty if even the smallest tiles exceed the limit.
    """
    if height * width <= limit:
        return (Tile((0, 0, height, width), (0, 0, height, width)),)
    best: tuple[int, list[int], list[int]] | None = None
    for rows in _divisions(height, multiple):
        high = _widest(rows, height, margin)
        for columns in _divisions(width, multiple):
            if high * _widest(columns, width, margin) <= limit:
                computed = _computed(rows, height, margin) * _computed(columns, width, margin)
                if best is None or computed < best[0]:
                    best = computed, rows, columns
                break  # more columns would compute more pixels
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
    """Return the pixels of the largest tile in the finest possible grid."""
    sides = (_widest(list(_divisions(side, multiple))[-1], side, margin) for side in (height, width))
    return math.prod(sides)


def resolve_scales(
    tiles: Sequence[Tile], choices: Sequence[ScaleChoice], recompute: Callable[[Tile, Scale], ScaleChoice]
) -> None:
    """Make all tiles use the same scales after each has chosen its own.

    The first block in which tiles differ is decided by the mean of the selector's logits over the frame, which is what
    the selector thresholds for a whole frame. Tiles that chose otherwise are computed again with that scale fixed; then
    the next block is compared. The order of the tiles has no influence.

    Args:
        choices: the scales that each tile chose.
        recompute: computes a tile with the given scales fixed; the last result for a tile is the valid one.
    """
    current = list(choices)
    blocks = len(current[0].scales)
    fixed: tuple[int, ...] = ()
    while len(fixed) < blocks:
        block = len(fixed)
        chosen = {choice.scales[block] for choice in current}
        decided = chosen.pop() if len(chosen) == 1 else _mean_choice(tiles, [one.logits[block] for one in current])
        fixed = (*fixed, decided)
        for number, tile in enumerate(tiles):
            if current[number].scales[block] != decided:
                current[number] = recompute(tile, (*fixed, *[None] * (blocks - block - 1)))


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise ``OutOfMemory`` for every error by which an allocator reports that memory has run out."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory("There is not enough memory.") from error
    except (RuntimeError, cv2.error) as error:
        if any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY):
            raise OutOfMemory(f"There is not enough memory: {str(error).strip().splitlines()[0]}") from error
        raise


def _mean_choice(tiles: Sequence[Tile], logits: Sequence[Sequence[float]]) -> int:
    """Return the scale that the selector would choose for the whole frame (``network/selector.py``)."""
    chosen = 0
    for k in range(len(logits[0])):
        mean = math.fsum(tile.area * values[k] for tile, values in zip(tiles, logits, strict=True))
        if not mean > 0:
            chosen = k + 1
    return chosen


def _divisions(size: int, multiple: int) -> Iterator[list[int]]:
    """Return the first pixels of the parts of a side, for every number of parts in rising order.

    All parts but the last are equal.
    """
    last = 0
    for step in range(size // multiple, 0, -1):
        parts = list(range(0, size, step * multiple))
        # The smallest step that gives this number of parts makes them most equal.
        even = math.ceil(size / multiple / len(parts)) * multiple
        if len(parts) > 1 and even < MIN_CORE:
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


PairTime = tuple[int, float]
"""A picture of a window: index of the pair, counted by its first frame, and ``t`` in [0, 1] between its two frames."""


def render_tiles(
    cache: StateCache,
    window: EncodedWindow,
    times: Sequence[PairTime],
    block_scale: Scale,
    tiles: Sequence[Tile],
    reduction: Reduction,
) -> list[Array]:
    """Return the pictures at these times, as arrays of the window's type.

    Args:
        block_scale: resolution at which the network works, see ``SafaConfig``, for one block or all of them.
        tiles: the grid over the frame; states are kept in the cache if it is a single tile.
        reduction: from the network's picture to the result.
    """
    engine = cache.engine
    channels = window.frames[0].image.shape[2]
    size = reduction.rows.size, reduction.columns.size
    results = [np.empty((*size, channels), window.kind[-1]) for _ in times]
    states_of = cache.of_window if len(tiles) == 1 else cache.of_tile

    def reduce(image: NDArray[np.float32], tile: Tile, result: Array) -> None:
        region = reduction.output_region(tile.output)
        offset = SCALE * tile.padded[0], SCALE * tile.padded[1]
        reduction.store(image, offset, result[region], region)

    def run(states: WindowStates, tile: Tile, number: int, scale: Scale) -> ScaleChoice | None:
        (pair, t), result = times[number], results[number]
        choice = None
        if engine.config.propagation and t in (0, 1):
            image = engine.picture(states.frame(window.next_index(pair) if t else pair))
        else:
            made = engine.synthesize(states.pair(pair), float(t), scale, tile.inner)
            image, choice = made.image, made.choice
        alpha = _alpha(window, tile, pair, t) if channels == 4 else None
        if reduction.unchanged:
            engine.store(image, tile.crop, result[tile.output][:, :, :3])
            if alpha is not None:
                store(alpha[tile.crop], result[tile.output][:, :, 3:])
            return choice
        reduce(engine.array(image), tile, result[:, :, :3])
        if alpha is not None:
            reduce(alpha, tile, result[:, :, 3:])
        return choice

    def recompute(number: int, tile: Tile, scale: Scale) -> ScaleChoice:
        choice = run(states_of(window, tile), tile, number, scale)
        assert choice is not None
        return choice

    choices: list[list[ScaleChoice | None]] = [[] for _ in times]
    for tile in tiles:
        states = states_of(window, tile)
        for number in range(len(times)):
            choices[number].append(run(states, tile, number, block_scale))
        del states
    for number, of_tiles in enumerate(choices):
        selected = [choice for choice in of_tiles if choice is not None]
        if len(tiles) > 1 and selected:
            resolve_scales(tiles, selected, partial(recompute, number))
    return results


def _alpha(window: EncodedWindow, tile: Tile, pair: int, t: float) -> NDArray[np.float32]:
    """Return the enlarged and blended transparency of a tile, ``4h,4w,1`` in [0, 1]."""
    white = np.float32(max_value(window.kind[-1]))
    first, second = (
        enlarge(crop(frame.image[:, :, 3:], tile.padded) / white).clip(0, 1) for frame in window.pair(pair)
    )
    return np.asarray(np.float32(1 - t) * first + np.float32(t) * second, np.float32)
