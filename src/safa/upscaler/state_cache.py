"""Encoded frames and windows, and the cache of everything that has been computed from them.

Frames and windows are immutable values. The cache refers to them weakly: what it holds for a frame is freed with the
frame, so the caller's frames and windows determine how much memory is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from safa.engine import Engine
from safa.engine.images import Array, crop, max_value
from safa.network import dis_flow
from safa.network.dis_flow import Flow, classical_flow, flow_both_ways, motion_between, reconciled

if TYPE_CHECKING:
    from safa.upscaler.tiling import Tile


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame prepared for any window; made by ``Upscaler.encode``.

    Args:
        image: ``H,W,3`` or ``H,W,4``.
        low: ``H,W,3`` uint8, from which the classical flow is computed.
    """

    image: Array
    low: NDArray[np.uint8]

    @property
    def kind(self) -> tuple[int, int, int, np.dtype[Any]]:
        """Height, width, channels and type."""
        height, width, channels = self.image.shape
        return height, width, channels, self.image.dtype


PairMotion = tuple[Flow, Flow, Flow]
"""Flow from the first frame of a pair to the second, flow back, and its acceleration."""


@dataclass(frozen=True, eq=False)
class EncodedWindow:
    """Consecutive frames of one scene; made by ``Upscaler.window`` and ``Upscaler.pair``.

    Args:
        frames: of one size and type.
        times: of the frames, in seconds.
        motions: results of ``StateCache.motion`` by pair.
    """

    frames: tuple[EncodedFrame, ...]
    times: tuple[Fraction, ...]
    motions: dict[int, PairMotion] = field(default_factory=dict)

    @property
    def kind(self) -> tuple[int, int, int, np.dtype[Any]]:
        """Height, width, channels and type of the frames."""
        return self.frames[0].kind

    def next_index(self, index: int) -> int:
        """Return the index of the frame after ``index``; the last frame is followed by itself."""
        return min(index + 1, len(self.frames) - 1)

    def pair(self, index: int) -> FramePair:
        """Return the frame at ``index`` and the one after it; twice the last frame at the end."""
        return self.frames[index], self.frames[self.next_index(index)]


Value = TypeVar("Value")

PARALLEL_FLOW_PIXELS = 1 << 18
"""Up to this frame size, compute both flow directions in parallel, which takes twice 200 bytes a pixel."""

CORES_PER_FLOW_THREAD, MAX_FLOW_THREADS = 8, 4
"""Threads that estimate flow while the network runs: one for every 8 of the network's, at most 4."""

FramePair = tuple[EncodedFrame, EncodedFrame]

ByPair = WeakKeyDictionary[EncodedFrame, WeakKeyDictionary[EncodedFrame, Value]]


class StateCache:
    """Engine states and classical flow of frames and windows, computed on first use.

    Args:
        threads: number of threads that the engine uses.
    """

    def __init__(self, engine: Engine, threads: int = 1) -> None:
        self.engine = engine
        self._threads = max(1, min(threads // CORES_PER_FLOW_THREAD, MAX_FLOW_THREADS))
        self._frames: WeakKeyDictionary[EncodedFrame, Any] = WeakKeyDictionary()
        self._windows: WeakKeyDictionary[EncodedWindow, WindowStates] = WeakKeyDictionary()
        self._flows: ByPair[tuple[Flow, Flow]] = WeakKeyDictionary()
        self._started: ByPair[Future[tuple[Flow, Flow]]] = WeakKeyDictionary()
        self._create_threads()

    @property
    def _flow_threads(self) -> ThreadPoolExecutor:
        self._reset_after_fork()
        return self._executor

    def _reset_after_fork(self) -> None:
        """Replace the threads in a forked child, where the parent's threads and their work do not exist."""
        if self._process != os.getpid():
            self._started.clear()
            self._create_threads()

    def _create_threads(self) -> None:
        self._executor, self._process = ThreadPoolExecutor(self._threads, "flow"), os.getpid()

    def of_window(self, window: EncodedWindow, tile: Tile) -> WindowStates:
        """Return the states of whole frames; ``tile`` covers the frame."""
        if window not in self._windows:
            # A copy of the window: a value that refers to its key would never be freed.
            self._windows[window] = WindowStates(self, replace(window), tile, whole=True)
        return self._windows[window]

    def of_tile(self, window: EncodedWindow, tile: Tile) -> WindowStates:
        """Return the states of one of several tiles; they are not cached, because all would not fit into memory."""
        return WindowStates(self, window, tile, whole=False)

    def of_frame(self, frame: EncodedFrame, tile: Tile) -> Any:
        """Return the engine's state of a whole single frame, which neighbouring windows share."""
        if frame not in self._frames:
            self._frames[frame] = self.engine.encode_frame(tile_colour(frame, tile))
        return self._frames[frame]

    def has_flows(self, pairs: Iterable[FramePair]) -> bool:
        """Return whether the flow of all these pairs is cached."""
        return all(second in self._flows.get(first, ()) for first, second in pairs)

    def start_flows(self, pairs: Iterable[FramePair]) -> None:
        """Start to compute the flow of these pairs in other threads; ``cancel_flows`` cancels what is not fetched."""
        threads = self._flow_threads
        for first, second in pairs:
            started = self._started.setdefault(first, WeakKeyDictionary())
            if first is not second and second not in started and not self.has_flows([(first, second)]):
                started[second] = threads.submit(flow_both_ways, first.low, second.low)

    def cancel_flows(self) -> None:
        """Cancel everything that ``start_flows`` has started."""
        for started in self._started.values():
            for waiting in started.values():
                waiting.cancel()
        self._started.clear()

    def _started_flows(self, first: EncodedFrame, second: EncodedFrame) -> tuple[Flow, Flow] | None:
        """Wait for flow that was started; None if there is none, or if it failed, for example for lack of memory."""
        self._reset_after_fork()
        waiting = self._started.get(first, WeakKeyDictionary()).pop(second, None)
        if waiting is None or waiting.exception() is not None:
            return None
        return waiting.result()

    def flows(self, first: EncodedFrame, second: EncodedFrame) -> tuple[Flow, Flow]:
        """Return the classical flow from one frame to another, and back."""
        known = self._flows.setdefault(first, WeakKeyDictionary())
        if second not in known:
            started = self._started_flows(first, second)
            if started is not None:
                known[second] = started
            elif first is second:
                there = classical_flow(first.low, first.low)
                known[second] = there, there
            elif first.low[..., 0].size <= PARALLEL_FLOW_PIXELS:
                waiting = self._flow_threads.submit(classical_flow, second.low, first.low)
                known[second] = reconciled(classical_flow(first.low, second.low), waiting.result())
            else:
                known[second] = flow_both_ways(first.low, second.low)
        return known[second]

    def motion(self, window: EncodedWindow, pair: int) -> PairMotion:
        """Return ``dis_flow.motion_between`` for the frame at index ``pair`` and the one after it."""
        if pair not in window.motions:
            window.motions[pair] = self._motion(window, pair)
        return window.motions[pair]

    def _motion(self, window: EncodedWindow, pair: int) -> PairMotion:
        last, times = len(window.frames) - 1, window.times
        if pair == last:  # a single frame
            return motion_between(None, self.flows(*window.pair(pair)), None)
        near = range(max(0, pair - 1), min(last, pair + 2))
        flows = {index: self.flows(*window.pair(index)) for index in near}
        gap = times[pair + 1] - times[pair]
        lengths = {index: float((times[index + 1] - times[index]) / gap) for index in near}
        gaps = lengths.get(pair - 1, 1), lengths.get(pair + 1, 1)
        return motion_between(flows.get(pair - 1), flows[pair], flows.get(pair + 1), gaps)

    def release_flow(self) -> None:
        """Free the memory that the flow estimator keeps between calls; computed flow stays."""
        dis_flow.release()
        self._flow_threads.shutdown()  # each thread has an estimator of its own
        self._create_threads()

    def forget(self, window: EncodedWindow) -> None:
        """Drop the engine's states of a window and its frames; computed flow stays."""
        self._windows.pop(window, None)
        for frame in window.frames:
            self._frames.pop(frame, None)


class WindowStates:
    """The engine's states of a window, or of one tile of it, computed on first use.

    Args:
        whole: the tile covers the whole frame, so the states of single frames come from the cache.
    """

    def __init__(self, cache: StateCache, window: EncodedWindow, tile: Tile, whole: bool) -> None:
        self._cache, self._engine = cache, cache.engine
        self._window, self._tile, self._whole = window, tile, whole
        self._propagated: list[Any] = []
        self._states: dict[int, Any] = {}
        self._pair: tuple[int, Any] | None = None

    def frame(self, index: int) -> Any:
        """Return the state of the frame at ``index``."""
        if index not in self._states:
            if self._engine.config.propagation:
                self._states = {near: self._states[near] for near in (index - 1, index + 1) if near in self._states}
                self._states[index] = self._engine.finish_frame(self._propagate()[index])
            else:
                self._states[index] = self._single_frame(self._window.frames[index])
        return self._states[index]

    def pair(self, index: int) -> Any:
        """Return the state of the pair that begins with the frame at ``index``."""
        if self._pair is None or self._pair[0] != index:
            self._pair = None
            first, second = self.frame(index), self.frame(self._window.next_index(index))
            self._pair = index, self._engine.encode_pair(first, second, self._flow_prior(index))
        return self._pair[1]

    def _propagate(self) -> list[Any]:
        if not self._propagated:
            frames = [tile_colour(frame, self._tile) for frame in self._window.frames]
            flows = [self._flows(pair) for pair in range(len(frames) - 1)]
            self._propagated = self._engine.encode_window(frames, flows)
        return self._propagated

    def _single_frame(self, frame: EncodedFrame) -> Any:
        if self._whole:
            return self._cache.of_frame(frame, self._tile)
        return self._engine.encode_frame(tile_colour(frame, self._tile))

    def _flow_prior(self, pair: int) -> tuple[Flow, ...] | None:
        config = self._engine.config
        if not config.needs_flow:
            return None
        if not config.propagation:
            return self._flows(pair)
        return tuple(crop(flow, self._tile.padded) for flow in self._cache.motion(self._window, pair))

    def _flows(self, pair: int) -> tuple[Flow, Flow]:
        there, back = self._cache.flows(*self._window.pair(pair))
        return crop(there, self._tile.padded), crop(back, self._tile.padded)


def tile_colour(frame: EncodedFrame, tile: Tile) -> NDArray[np.float32]:
    """Return the colours of a tile with its margin, ``h,w,3`` in [0, 1]."""
    return crop(frame.image[:, :, :3], tile.padded) / np.float32(max_value(frame.image.dtype))
