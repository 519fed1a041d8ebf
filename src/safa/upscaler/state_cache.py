"""What has been computed of frames and windows and can be used again, in one place: an upscaler's ``StateCache``.

Frames and windows themselves are values that never change. What is kept of one is dropped when nobody holds it any
more, so the caller's frames and windows decide how much memory is taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from safa.engine import Engine
from safa.engine.images import Array, crop, max_value
from safa.network import dis_flow
from safa.network.dis_flow import Flow, classical_flow, flow_both_ways, motion_between, reconciled
from safa.upscaler.tiling import Tile


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame prepared for any window it will be part of; made by ``Upscaler.encode``."""

    image: Array
    low: NDArray[np.uint8]
    """``H,W,3``: what the classical flow sees."""

    @property
    def kind(self) -> tuple[int, int, int, np.dtype[Any]]:
        """Height, width, channels and type."""
        height, width, channels = self.image.shape
        return height, width, channels, self.image.dtype


PairMotion = tuple[Flow, Flow, Flow]
"""Flow between two frames, back, and its acceleration."""


@dataclass(frozen=True, eq=False)
class EncodedWindow:
    """Consecutive frames of one scene; made by ``Upscaler.window``, ``Upscaler.pair`` makes one of two."""

    frames: tuple[EncodedFrame, ...]
    times: tuple[Fraction, ...]
    """Of the frames, in seconds."""
    motions: dict[int, PairMotion] = field(default_factory=dict)
    """What ``StateCache.motion`` has computed, by place."""

    @property
    def kind(self) -> tuple[int, int, int, np.dtype[Any]]:
        """Height, width, channels and type of its frames."""
        return self.frames[0].kind

    def after(self, place: int) -> int:
        """The place after ``place``; that of the last frame is its own."""
        return min(place + 1, len(self.frames) - 1)

    def ends(self, place: int) -> FramePair:
        """The frame at ``place`` and the one after it; the last one twice."""
        return self.frames[place], self.frames[self.after(place)]


Value = TypeVar("Value")

BESIDE = 1 << 18
"""Pixels of frames up to which flow is computed both ways at once, which takes twice 200 bytes a pixel."""

CORES_FOR_FLOW, MOST_FOR_FLOW = 8, 4
"""A thread estimates flow beside the network for every so many that the network has, and at most so many do."""

FramePair = tuple[EncodedFrame, EncodedFrame]

ByPair = WeakKeyDictionary[EncodedFrame, WeakKeyDictionary[EncodedFrame, Value]]


class StateCache:
    """The states of an engine, which has so many ``threads``, and the classical flow, each computed when it is first
    asked for.
    """

    def __init__(self, engine: Engine, threads: int = 1) -> None:
        self.engine = engine
        self._threads = max(1, min(threads // CORES_FOR_FLOW, MOST_FOR_FLOW))
        self._frames: WeakKeyDictionary[EncodedFrame, Any] = WeakKeyDictionary()
        self._windows: WeakKeyDictionary[EncodedWindow, WindowStates] = WeakKeyDictionary()
        self._flows: ByPair[tuple[Flow, Flow]] = WeakKeyDictionary()
        self._begun: ByPair[Future[tuple[Flow, Flow]]] = WeakKeyDictionary()
        self._renew_threads()

    @property
    def _beside(self) -> ThreadPoolExecutor:
        """Threads beside the caller's."""
        self._leave_parent()
        return self._executor

    def _leave_parent(self) -> None:
        """In a forked child: the parent's threads, and what they have begun, do not exist here."""
        if self._process != os.getpid():
            self._begun.clear()
            self._renew_threads()

    def _renew_threads(self) -> None:
        self._executor, self._process = ThreadPoolExecutor(self._threads, "flow"), os.getpid()

    def of_window(self, window: EncodedWindow, tile: Tile) -> WindowStates:
        """The states of whole frames; ``tile`` covers them."""
        if window not in self._windows:
            # Of a copy: a value that holds its key would never be dropped.
            self._windows[window] = WindowStates(self, replace(window), tile, whole=True)
        return self._windows[window]

    def of_tile(self, window: EncodedWindow, tile: Tile) -> WindowStates:
        """The states of one tile of several; they are not kept here, as all of them would not fit into memory."""
        return WindowStates(self, window, tile, whole=False)

    def of_frame(self, frame: EncodedFrame, tile: Tile) -> Any:
        """The engine's state of a whole frame by itself: neighbouring windows share it."""
        if frame not in self._frames:
            self._frames[frame] = self.engine.encode_frame(colour_in(frame, tile))
        return self._frames[frame]

    def has_flows(self, pairs: Iterable[FramePair]) -> bool:
        """Whether ``flows`` has nothing to compute for any of these."""
        return all(second in self._flows.get(first, ()) for first, second in pairs)

    def begin_flows(self, pairs: Iterable[FramePair]) -> None:
        """Compute ``flows`` of these beside what the caller does next. ``drop_begun`` gives up what is not fetched."""
        beside = self._beside
        for first, second in pairs:
            begun = self._begun.setdefault(first, WeakKeyDictionary())
            if first is not second and second not in begun and not self.has_flows([(first, second)]):
                begun[second] = beside.submit(flow_both_ways, first.low, second.low)

    def drop_begun(self) -> None:
        """Give up what ``begin_flows`` has begun."""
        for begun in self._begun.values():
            for waiting in begun.values():
                waiting.cancel()
        self._begun.clear()

    def _begun_flows(self, first: EncodedFrame, second: EncodedFrame) -> tuple[Flow, Flow] | None:
        """The flows that were begun, as soon as they are there; None if that failed, as it may for want of memory."""
        self._leave_parent()
        waiting = self._begun.get(first, WeakKeyDictionary()).pop(second, None)
        if waiting is None or waiting.exception() is not None:
            return None
        return waiting.result()

    def flows(self, first: EncodedFrame, second: EncodedFrame) -> tuple[Flow, Flow]:
        """Classical flow from one frame to another, and back."""
        known = self._flows.setdefault(first, WeakKeyDictionary())
        if second not in known:
            begun = self._begun_flows(first, second)
            if begun is not None:
                known[second] = begun
            elif first is second:
                there = classical_flow(first.low, first.low)
                known[second] = there, there
            elif first.low[..., 0].size <= BESIDE:
                waiting = self._beside.submit(classical_flow, second.low, first.low)
                known[second] = reconciled(classical_flow(first.low, second.low), waiting.result())
            else:
                known[second] = flow_both_ways(first.low, second.low)
        return known[second]

    def motion(self, window: EncodedWindow, place: int) -> PairMotion:
        """``dis_flow.motion_between`` of the frame at ``place`` and the one after it."""
        if place not in window.motions:
            window.motions[place] = self._motion(window, place)
        return window.motions[place]

    def _motion(self, window: EncodedWindow, place: int) -> PairMotion:
        last, times = len(window.frames) - 1, window.times
        if place == last:  # a frame by itself
            return motion_between(None, self.flows(*window.ends(place)), None)
        known = range(max(0, place - 1), min(last, place + 2))
        flows = {near: self.flows(*window.ends(near)) for near in known}
        lasting = {near: float((times[near + 1] - times[near]) / (times[place + 1] - times[place])) for near in known}
        gaps = lasting.get(place - 1, 1), lasting.get(place + 1, 1)
        return motion_between(flows.get(place - 1), flows[place], flows.get(place + 1), gaps)

    def release_flow(self) -> None:
        """Give back the memory that computing flow keeps between calls; the flow itself stays."""
        dis_flow.release()
        self._beside.shutdown()  # each thread keeps its own
        self._renew_threads()

    def forget(self, window: EncodedWindow) -> None:
        """Drop the engine's states of a window and its frames; flow stays."""
        self._windows.pop(window, None)
        for frame in window.frames:
            self._frames.pop(frame, None)


class WindowStates:
    """The engine's states of a window, or of one tile of it, made as they are asked for.

    Args:
        whole: the tile is the whole frame: states of its frames by themselves come from the cache.
    """

    def __init__(self, cache: StateCache, window: EncodedWindow, tile: Tile, whole: bool) -> None:
        self._cache, self._engine = cache, cache.engine
        self._window, self._tile, self._whole = window, tile, whole
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
            self._pair = place, self._engine.encode_pair(first, second, self._prior(place))
        return self._pair[1]

    def _carry(self) -> list[Any]:
        if not self._carried:
            frames = [colour_in(frame, self._tile) for frame in self._window.frames]
            flows = [self._flows(place) for place in range(len(frames) - 1)]
            self._carried = self._engine.encode_window(frames, flows)
        return self._carried

    def _alone(self, frame: EncodedFrame) -> Any:
        if self._whole:
            return self._cache.of_frame(frame, self._tile)
        return self._engine.encode_frame(colour_in(frame, self._tile))

    def _prior(self, place: int) -> tuple[Flow, ...] | None:
        config = self._engine.config
        if not config.needs_flow:
            return None
        if not config.propagation:
            return self._flows(place)
        return tuple(crop(flow, self._tile.padded) for flow in self._cache.motion(self._window, place))

    def _flows(self, place: int) -> tuple[Flow, Flow]:
        there, back = self._cache.flows(*self._window.ends(place))
        return crop(there, self._tile.padded), crop(back, self._tile.padded)


def colour_in(frame: EncodedFrame, tile: Tile) -> NDArray[np.float32]:
    """The tile with its margin, ``h,w,3`` in [0, 1]."""
    return crop(frame.image[:, :, :3], tile.padded) / np.float32(max_value(frame.image.dtype))
