"""Frames and windows on their way through an upscaler, with what neighbouring ones share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safa.engine import Engine
from safa.engine.images import Array, crop, max_value
from safa.network.dis_flow import Flow, classical_flow
from safa.upscaler.tiling import Tile

_numbers = itertools.count()


@dataclass
class EncodedFrame:
    """A frame prepared for any window it will be part of; made by ``Upscaler.encode``."""

    image: Array
    low: NDArray[np.uint8]
    """``H,W,3``: what the classical flow sees."""
    state: Any = None
    """The engine's own, of the whole frame by itself, once it was needed."""
    number: int = field(default_factory=lambda: next(_numbers))
    flows: dict[int, Flow] = field(default_factory=dict)
    """Classical flow to the frames with these numbers, as far as it was needed."""

    @property
    def kind(self) -> tuple[int, int, np.dtype[Any]]:
        """Height, width and type."""
        return (*self.image.shape[:2], self.image.dtype)

    def flow_to(self, other: EncodedFrame) -> Flow:
        """Classical flow to another frame, computed once."""
        if other.number not in self.flows:
            self.flows[other.number] = classical_flow(self.low, other.low)
        return self.flows[other.number]


@dataclass
class EncodedWindow:
    """Consecutive frames of one scene; made by ``Upscaler.window``, ``Upscaler.pair`` makes one of two."""

    frames: list[EncodedFrame]
    states: TileStates | None = None
    """The engine's own, of the whole frames, once they were needed."""

    @property
    def kind(self) -> tuple[int, int, np.dtype[Any]]:
        """Height, width and type of its frames."""
        return self.frames[0].kind

    def after(self, place: int) -> int:
        """The place after ``place``; that of the last frame is its own."""
        return min(place + 1, len(self.frames) - 1)

    def ends(self, place: int) -> tuple[EncodedFrame, EncodedFrame]:
        """The frame at ``place`` and the one after it; the last one twice."""
        return self.frames[place], self.frames[self.after(place)]

    def flows(self, places: Sequence[int]) -> list[Flow]:
        """Classical flow, both ways, between the frames at ``places`` and those after them."""
        ends = [self.ends(place) for place in dict.fromkeys(places)]
        return [flow for a, b in ends for flow in (a.flow_to(b), b.flow_to(a))]

    def forget(self) -> None:
        """Drop all states."""
        self.states = None
        for frame in self.frames:
            frame.state = None


class TileStates:
    """The engine's states of one tile of a window, made as they are asked for.

    Args:
        whole: the tile is the whole frame: its frames' own states are kept with them, for the next window.
    """

    def __init__(self, engine: Engine, window: EncodedWindow, tile: Tile, whole: bool) -> None:
        self._engine, self._window, self._tile, self._whole = engine, window, tile, whole
        self._carried: list[Any] = []
        self._states: dict[int, Any] = {}
        self._pair: tuple[int, Any] | None = None

    def frame(self, place: int) -> Any:
        """State of the frame at ``place``."""
        if place not in self._states:
            if self._engine.config.propagation:
                self._states = {near: self._states[near] for near in (place - 1, place + 1) if near in self._states}
                self._states[place] = self._engine.finish_frame(self._carry()[place])
            else:
                self._states[place] = self._alone(self._window.frames[place])
        return self._states[place]

    def pair(self, place: int) -> Any:
        """State of the frame at ``place`` joined with the one after it."""
        if self._pair is None or self._pair[0] != place:
            self._pair = None
            first, second = self.frame(place), self.frame(self._window.after(place))
            flows = self._flows(place) if self._engine.config.needs_flow else None
            self._pair = place, self._engine.encode_pair(first, second, flows)
        return self._pair[1]

    def _carry(self) -> list[Any]:
        if not self._carried:
            frames = [self._colour(frame) for frame in self._window.frames]
            flows = [self._flows(place) for place in range(len(frames) - 1)]
            self._carried = self._engine.encode_window(frames, flows)
        return self._carried

    def _alone(self, frame: EncodedFrame) -> Any:
        if not self._whole:
            return self._engine.encode_frame(self._colour(frame))
        if frame.state is None:
            frame.state = self._engine.encode_frame(self._colour(frame))
        return frame.state

    def _colour(self, frame: EncodedFrame) -> NDArray[np.float32]:
        colour = crop(frame.image[:, :, :3], self._tile.padded)
        return colour / np.float32(max_value(frame.image.dtype))

    def _flows(self, place: int) -> tuple[Flow, Flow]:
        first, second = self._window.ends(place)
        return crop(first.flow_to(second), self._tile.padded), crop(second.flow_to(first), self._tile.padded)
