"""The pictures of a window, tile by tile, with one choice of scales for all tiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from safa.engine.base import ScaleChoice
from safa.engine.images import Array, crop, enlarge, max_value, store
from safa.network.config import SCALE, Scale
from safa.upscaler.reduction import Reduction
from safa.upscaler.state_cache import EncodedWindow, StateCache, WindowStates
from safa.upscaler.tiling import Tile, resolve_scales

Ask = tuple[int, float]
"""A picture of a window: between the frame at this place and the one after it, at this time in [0, 1]."""


def render_tiles(
    cache: StateCache,
    window: EncodedWindow,
    asks: Sequence[Ask],
    scale: Scale,
    tiles: Sequence[Tile],
    reduction: Reduction,
) -> list[Array]:
    """The pictures that are asked for, as arrays of the window's type.

    Args:
        scale: at which the network works, see ``SafaConfig``; of one block or all of them.
        tiles: the grid over the frame; of one tile, states are kept in the cache.
        reduction: to the size of the pictures.
    """
    engine = cache.engine
    channels = window.frames[0].image.shape[2]
    size = reduction.rows.size, reduction.columns.size
    results = [np.empty((*size, channels), window.kind[-1]) for _ in asks]
    states_of = cache.of_window if len(tiles) == 1 else cache.of_tile

    def reduce(image: NDArray[np.float32], tile: Tile, result: Array) -> None:
        place = reduction.place(tile.output)
        offset = SCALE * tile.padded[0], SCALE * tile.padded[1]
        reduction.store(image, offset, result[place], place)

    def run(states: WindowStates, tile: Tile, number: int, scale: Scale) -> ScaleChoice | None:
        (place, t), result = asks[number], results[number]
        choice = None
        if engine.config.propagation and t in (0, 1):
            image = engine.picture(states.frame(window.after(place) if t else place))
        else:
            made = engine.synthesize(states.pair(place), float(t), scale, tile.inner)
            image, choice = made.image, made.choice
        alpha = _alpha(window, tile, place, t) if channels == 4 else None
        if reduction.unchanged:
            engine.store(image, tile.crop, result[tile.output][:, :, :3])
            if alpha is not None:
                store(alpha[tile.crop], result[tile.output][:, :, 3:])
            return choice
        reduce(engine.array(image), tile, result[:, :, :3])
        if alpha is not None:
            reduce(alpha, tile, result[:, :, 3:])
        return choice

    def retry(number: int, tile: Tile, scale: Scale) -> ScaleChoice:
        choice = run(states_of(window, tile), tile, number, scale)
        assert choice is not None
        return choice

    first: list[list[ScaleChoice | None]] = [[] for _ in asks]
    for tile in tiles:
        states = states_of(window, tile)
        for number in range(len(asks)):
            first[number].append(run(states, tile, number, scale))
        del states
    for number, choices in enumerate(first):
        free = [choice for choice in choices if choice is not None]
        if len(tiles) > 1 and free:
            resolve_scales(tiles, free, partial(retry, number))
    return results


def _alpha(window: EncodedWindow, tile: Tile, place: int, t: float) -> NDArray[np.float32]:
    white = np.float32(max_value(window.kind[-1]))
    first, second = (
        enlarge(crop(frame.image[:, :, 3:], tile.padded) / white).clip(0, 1) for frame in window.ends(place)
    )
    return np.asarray(np.float32(1 - t) * first + np.float32(t) * second, np.float32)
