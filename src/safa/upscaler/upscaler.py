"""Arrays in, arrays out: a network on a device, with padding, tiles and caching.

A window of frames is encoded once, however many pictures are made from it, unless it only fits into memory in tiles.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np

from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.engine import pick_engine
from safa.engine.base import Rendering
from safa.engine.comparison import choose_device
from safa.engine.device import CPU, pick_device, processor_threads
from safa.engine.images import Array, to_8_bits
from safa.errors import OutOfMemory, SafaError
from safa.network.config import SCALE, SafaConfig, Scale
from safa.network.dis_flow import LONGEST_SIDE, Flow
from safa.upscaler.memory_budget import Budget, TileBudget
from safa.upscaler.resize import Reduction, ScaleFactor, result_size
from safa.upscaler.state_cache import EncodedFrame, EncodedWindow, FramePair, StateCache
from safa.upscaler.tiling import (
    PairTime,
    Tile,
    margin_for,
    memory_errors,
    plan_tiles,
    render_tiles,
    smallest_cost,
)
from safa.video.windows import PAIR, Numbered, Span, Window, WindowGrid

Moment = TypeVar("Moment")
Item = TypeVar("Item")

WINDOW = Span(16, 3)
"""Windows of networks with propagation. Both numbers were measured (``docs/log.md``)."""

MAX_FLOAT_VALUE = 8
"""Largest value of a floating-point frame: values a little above 1 are clipped, larger ones mean another range."""

RESULTS_SHARE = 1 / 4
"""Share of the network's memory for the results of a window that is computed in tiles."""


def span_of(config: SafaConfig) -> Span:
    """Return the size of the windows in which a network processes a stream."""
    return WINDOW if config.propagation else PAIR


class Upscaler:
    """A network ready for use on one device.

    Args:
        checkpoint: from ``load_checkpoint``.
        device: "cpu", "cuda", "cuda:1", "xpu", "mps" or "auto" (the best available).
        precision: of the convolutions: "float32", "bfloat16", "float16" (not with the native engine) or "auto" (half
            precision where it is faster). Flow, warps and image fusion are always float32.
        engine: "native" (this package's own, for CPUs), "torch", "onnx" (ONNX Runtime) or "auto" (native where
            possible).
        threads: of the native engine; all cores if None.
        memory: bytes that the whole process may use; a share of the free memory if None. Larger frames are computed in
            tiles.

    Raises:
        SafaError: the device, precision or engine is not available.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
        memory: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = pick_device(device)
        self.device_reason = ""
        """Reason for the device where it was chosen by measurement, as text."""
        if device == "auto" and self.device == CPU and engine == "auto" and precision == "auto":
            choice = choose_device(checkpoint, threads)
            if choice is not None:
                self.device, self.device_reason = choice.device, choice.reason
        self.engine = pick_engine(engine, checkpoint, self.device, precision, threads)
        self._cache = StateCache(self.engine, threads or processor_threads())
        self.config = self.engine.config
        self.span = span_of(self.config)
        self.budget = Budget(memory, self.device)

    def between(
        self,
        frame0: Array,
        frame1: Array,
        times: Sequence[float],
        *,
        scale: ScaleFactor | None = None,
        size: str | None = None,
    ) -> list[Array]:
        """Return enlarged frames at the given times between two frames.

        Args:
            frame0, frame1: arrays ``H,W,3`` or ``H,W,4`` of one size and type (see ``Array``), at least 1 x 1.
            times: each in [0, 1]; 0 is ``frame0``, 1 is ``frame1``.
            scale: enlargement of width and height, from 1 to 4; 4 if neither this nor ``size`` is given.
            size: instead of ``scale``: "1080p", "1440p", "4k", "1920x1080", "1920x-1" or "-1x1080".

        Returns:
            One array per time, with the inputs' type and number of channels.

        Raises:
            SafaError: times outside [0, 1], arrays that are not frames or differ, or a size out of range.
            OutOfMemory: the frames do not fit into memory, even in the smallest tiles.
        """
        _check_times(times)
        first, second = self.encode(frame0), self.encode(frame1)
        result = result_size(frame0.shape[0], frame0.shape[1], scale, size)
        with self.budget.reserve_results(frame0, len(times), result):
            return list(self.pictures(self.pair(first, second), [(0, t) for t in times], size=result))

    def stream(
        self, frames: Iterable[Array], rate: int = 2, *, scale: ScaleFactor | None = None, size: str | None = None
    ) -> Iterator[Array]:
        """Enlarge a stream of frames and multiply its frame rate, lazily and in constant memory.

        Args:
            frames: arrays of one size and type. They are copied, so the same array may be filled again and again.
            rate: output frames per source frame, at least 1; n frames give ``(n - 1) * rate + 1``.
            scale, size: as for ``between``.

        Raises:
            SafaError: a frame that is not one or differs from the first, or a rate or size out of range.
            OutOfMemory: the frames do not fit into memory, even in the smallest tiles.
        """
        rate = _check_rate(rate)
        rest = iter(frames)
        head = list(itertools.islice(rest, 1))
        if not head:
            return
        _check_shape(head[0])
        result = result_size(head[0].shape[0], head[0].shape[1], scale, size)
        grid: WindowGrid[None] = WindowGrid(self.span)

        def windows() -> Iterator[Window[None]]:
            for number, frame in enumerate(itertools.chain((head.pop(),), rest)):
                times = [(None, step / rate) for step in range(rate)] if number else []
                _check_shape(frame)
                yield from grid.push(Numbered(number, Fraction(number), frame.copy()), times)
            yield from grid.finish([None])

        yield from (picture for picture, _ in self.render(windows(), result))

    def render(
        self, windows: Iterable[Window[Moment]], size: tuple[int, int] | None = None, ahead: bool = False
    ) -> Iterator[tuple[Array, Moment]]:
        """Yield every output frame of the windows, which must be in order.

        A picture depends on its window, pair and time alone, never on neighbouring windows, so resumed jobs and jobs
        that are divided between machines give the same frames. What windows share is computed once.

        Args:
            size: (height, width) of the pictures; four times the frames' if None.
            ahead: fetch each window while the pictures of the one before are made, and estimate its flow meanwhile
                unless there is a memory ceiling.
        """
        encoded_windows = self._encoded(windows)
        pairs = _with_next(encoded_windows) if ahead else ((one, None) for one in encoded_windows)
        try:
            for (window, encoded), following in pairs:
                if following is not None:
                    # Its own flow first, which in most cases was started earlier and must not wait for the next.
                    self._checked_flows(encoded, _times_of(window))
                    self._start_flows(*following)
                yield from self._pictures_of(window, encoded, size)
        finally:
            self._cache.cancel_flows()

    def _encoded(self, windows: Iterable[Window[Moment]]) -> Iterator[tuple[Window[Moment], EncodedWindow]]:
        encoded: dict[int, EncodedFrame] = {}
        frames: tuple[Numbered, ...] = ()
        for window in windows:
            if window.frames is not frames:  # the last output frame comes with the source frames of the window before
                frames = window.frames
                encoded = {frame.number: encoded.get(frame.number) or self.encode(frame.image) for frame in frames}
                encoded_window = self.window(list(encoded.values()), [frame.time for frame in frames])
            yield window, encoded_window

    def _pictures_of(
        self, window: Window[Moment], encoded: EncodedWindow, size: tuple[int, int] | None
    ) -> Iterator[tuple[Array, Moment]]:
        times = _times_of(window)
        # Output frames that show the same picture (the held last frame) share it.
        different = [time for time, before in zip(times, [None, *times], strict=False) if time != before]
        pictures = self.pictures(encoded, different, size=size)
        picture: Array | None = None
        before = None
        for moment, time in window.pictures:
            if picture is None or time != before:
                picture, before = next(pictures), time
            yield picture, moment

    def encode(self, frame: Array) -> EncodedFrame:
        """Prepare a frame for windows.

        Args:
            frame: ``H,W,3`` or ``H,W,4``; it must not be changed afterwards.

        Raises:
            SafaError: it is not a frame.
        """
        _check_shape(frame)
        frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
        self._check_sides(*frame.shape[:2])
        if frame.dtype.kind == "f":
            least, most = float(frame.min()), float(frame.max())
            if not (math.isfinite(least) and math.isfinite(most)):
                raise SafaError("A frame has values that are infinite or NaN; they must be in [0, 1].")
            if most > MAX_FLOAT_VALUE:
                raise SafaError(f"A frame has values up to {most:g}; floating-point values must be in [0, 1].")
        return EncodedFrame(frame, to_8_bits(frame))

    def window(self, frames: Sequence[EncodedFrame], times: Sequence[Fraction] | None = None) -> EncodedWindow:
        """Join consecutive frames of one scene, from which pictures can be made.

        A network with propagation uses all of them for each picture, any other network the two nearest.

        Args:
            frames: of one size and type.
            times: of the frames, in rising seconds; evenly spaced if None.

        Raises:
            SafaError: no frames, frames that differ in size, channels or type, or times that do not fit them.
        """
        if not frames:
            raise SafaError("A window has no frames; it must have at least one.")
        for frame in frames:
            if frames[0].kind != frame.kind:
                one, other = (_describe(*kind) for kind in (frames[0].kind, frame.kind))
                raise SafaError(f"The two frames differ: {one} and {other}; they must have one size and type.")
        moments = tuple(map(Fraction, range(len(frames)) if times is None else times))
        if len(moments) != len(frames) or any(later <= one for one, later in itertools.pairwise(moments)):
            raise SafaError(f"The times of a window must rise, one for each of its {len(frames)} frames.")
        return EncodedWindow(tuple(frames), moments)

    def pair(self, first: EncodedFrame, second: EncodedFrame) -> EncodedWindow:
        """Join two frames to a window; of one frame, if both are the same."""
        return self.window([first] if first is second else [first, second])

    def at(self, window: EncodedWindow, t: float, block_scale: Scale = None, pair: int = 0) -> Array:
        """Return the picture at ``t`` in [0, 1] between two frames of a window, four times as large.

        Args:
            block_scale: resolution at which the network works, see ``SafaConfig``, for one block or all of them; chosen
                by the network if None.
            pair: index of the first of the two frames.
        """
        return self.at_times(window, [t], block_scale, pair)[0]

    def at_times(
        self, window: EncodedWindow, times: Sequence[float], block_scale: Scale = None, pair: int = 0
    ) -> list[Array]:
        """Return the pictures at several times between two frames; see ``at``."""
        return list(self.pictures(window, [(pair, t) for t in times], block_scale))

    def pictures(
        self,
        window: EncodedWindow,
        times: Sequence[PairTime],
        block_scale: Scale = None,
        size: tuple[int, int] | None = None,
    ) -> Iterator[Array]:
        """Yield the pictures at the given times, with the type of the window's frames.

        In tiles, as many pictures as fit into memory are made together, so that each tile is encoded once for them.

        Args:
            times: for each picture the index of the first frame of its pair, and ``t`` in [0, 1].
            block_scale: as for ``at``.
            size: (height, width) of the pictures, each from 1 to 4 times the frames'; 4 times if None.

        Raises:
            SafaError: a pair that the window does not have, or a time outside [0, 1].
            OutOfMemory: the frames do not fit into memory, even in the smallest tiles.
        """
        height, width, *_ = window.kind
        _check_pair_times(window, times)
        reduction = Reduction(height, width, size or (SCALE * height, SCALE * width))
        remaining = list(times)
        while remaining:
            tiles = self.tiles(height, width, self._checked_flows(window, remaining), self._frames(window))
            batch = remaining[: self._batch_size(window, tiles, reduction)]
            made: list[Array] = []
            try:
                with memory_errors():
                    made = render_tiles(self._cache, window, batch, block_scale, tiles, reduction)
            except OutOfMemory:
                self.budget.shrink(max(tile.cost for tile in tiles))
            if not made:  # after the handler, which keeps the tensors of the failed call alive
                self._cache.forget(window)
                self.engine.release()
            remaining = remaining[len(made) :]
            while made:
                yield made.pop(0)

    def details(self, window: EncodedWindow, t: float, block_scale: Scale = None, pair: int = 0) -> Rendering:
        """Return everything that the network computes for one picture, for the whole frame whatever memory that takes.

        The image is cropped to the output size; flow and mask keep the padding.

        Args:
            t, block_scale, pair: as for ``at``.
        """
        _check_pair_times(window, [(pair, t)])
        height, width, *_ = window.kind
        states = self._cache.of_window(window, self._whole(height, width))
        result = self.engine.synthesize(states.pair(pair), float(t), block_scale)
        image, flow, mask = map(self.engine.array, (result.image, result.flow, result.mask))
        return Rendering(image[: height * SCALE, : width * SCALE], flow, mask, result.choice)

    def tiles(
        self, height: int, width: int, flows: Sequence[Flow] | None = None, frames: int | None = None
    ) -> tuple[Tile, ...]:
        """Return the tiles in which frames of this size are computed; a single one if memory suffices.

        Args:
            height, width: of the source frames.
            flows: motion of the frames, ``H,W,2`` in pixels, for the width of the margins; None if it is unknown.
            frames: number of frames in a window; as in a stream if None.

        Raises:
            SafaError: the frames are too large for the classical flow.
            OutOfMemory: even the smallest tiles do not fit into memory.
        """
        self._check_sides(height, width)
        multiple = self.config.multiple
        whole, cost = self._whole(height, width), self.engine.bytes_per_pixel(frames or self.span.frames)
        most = self.budget.pixels(cost, height * width)
        if whole.cost <= most:
            return (whole,)
        if self.config.propagation:
            most = int(most * (1 - RESULTS_SHARE))
        size, least = whole.core[2:], margin_for((), multiple)
        # Where memory is short, a margin too narrow for fast motion is better than no result.
        hops = 2 if self.config.propagation else 1
        for margin in range(margin_for(flows, multiple, hops), least - 1, -multiple):
            tiles = plan_tiles(*size, multiple, margin, most)
            if tiles:
                return tiles
        raise self.budget.shortage(height, width, smallest_cost(*size, multiple, least) * cost)

    def fixed_tiles(
        self, height: int, width: int, budget: TileBudget, on_shrink: Callable[[TileBudget], None]
    ) -> AbstractContextManager[None]:
        """Return a context in which frames are computed in the tiles of an earlier run of the same job.

        Args:
            height, width: of the source frames.
            budget: of the earlier run; ``budget.tile_budget`` returns the current one.
            on_shrink: called with a smaller budget when memory runs out.

        Raises:
            JournalMismatch: there is too little memory for these tiles now.
        """
        cost = self.engine.bytes_per_pixel(self.span.frames)
        pixels = min(self._whole(height, width).cost, budget.most or sys.maxsize)
        return self.budget.fixed(budget, min(pixels * cost, budget.memory), height * width, on_shrink)

    def _check_sides(self, height: int, width: int) -> None:
        if self.config.needs_flow and max(height, width) > LONGEST_SIDE:
            raise SafaError(
                f"Frames are {width}x{height}; this network takes at most {LONGEST_SIDE} pixels a side. Crop them."
            )

    def _whole(self, height: int, width: int) -> Tile:
        bottom, right = (-(-side // self.config.multiple) * self.config.multiple for side in (height, width))
        return Tile((0, 0, bottom, right), (0, 0, bottom, right))

    def _frames(self, window: EncodedWindow) -> int:
        """Return the number of frames for which memory is planned: the same for all windows of a stream."""
        return 2 if len(window.frames) <= 2 else max(self.span.frames, len(window.frames))

    def _batch_size(self, window: EncodedWindow, tiles: Sequence[Tile], reduction: Reduction) -> int:
        """Return how many pictures are made together."""
        if len(tiles) == 1:
            return 1
        height, width, *_ = window.kind
        room = self.budget.pixels(1, height * width) * RESULTS_SHARE
        larger = reduction.rows.size * reduction.columns.size / (height * width)
        return max(1, int(room / (larger * window.frames[0].image.nbytes)))

    def _pairs(self, window: EncodedWindow, times: Sequence[PairTime]) -> list[FramePair]:
        """Return the pairs whose classical flow the network needs for these pictures."""
        if not self.config.needs_flow:
            return []
        pairs = range(max(1, len(window.frames) - 1)) if self.config.propagation else [pair for pair, _ in times]
        return [window.pair(pair) for pair in dict.fromkeys(pairs)]

    def _start_flows(self, window: Window[Moment], encoded: EncodedWindow) -> None:
        """Start to estimate the flow of a window in other threads, unless memory is short."""
        height, width, *_ = encoded.kind
        # In tiles, flow and network take turns with the memory.
        if self.budget.ceiling is None and len(self.tiles(height, width, frames=self._frames(encoded))) == 1:
            self._cache.start_flows(self._pairs(encoded, _times_of(window)))

    def _checked_flows(self, window: EncodedWindow, times: Sequence[PairTime]) -> list[Flow]:
        """Return ``_flows``.

        Raises:
            OutOfMemory: the estimator does not fit into memory.
        """
        height, width, *_ = window.kind
        try:
            with memory_errors():
                return self._flows(window, times)
        except OutOfMemory as error:
            if error.__cause__ is None:  # raised for a ceiling, with a message of its own
                raise
            raise OutOfMemory(
                f"Memory runs out while motion in frames of {width}x{height} is estimated; close other programs."
            ) from None

    def _flows(self, window: EncodedWindow, times: Sequence[PairTime]) -> list[Flow]:
        """Return all classical flow that the network needs for these pictures."""
        pairs = self._pairs(window, times)
        if not pairs:
            return []
        tiled = not self._cache.has_flows(pairs) and len(self.tiles(*window.kind[:2], frames=self._frames(window))) > 1
        if tiled:
            self.engine.release()  # flow and network take turns with the memory
        flows = [flow for pair in pairs for flow in self._cache.flows(*pair)]
        if tiled:
            self._cache.release_flow()
            if self.config.propagation:
                for index in dict.fromkeys(index for index, _ in times):
                    self._cache.motion(window, index)
        return flows


def _times_of(window: Window[Moment]) -> list[PairTime]:
    return [time for _, time in window.pictures]


def _with_next(items: Iterator[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Yield every item with the one after it; if that raises an error, it is raised after the item."""
    current = next(items, None)
    while current is not None:
        following, error = None, None
        try:
            following = next(items, None)
        except Exception as raised:
            error = raised
        yield current, following
        if error is not None:
            raise error
        current = following


def _describe(height: int, width: int, channels: int, dtype: np.dtype[Any]) -> str:
    return f"{width}x{height} {'RGB' if channels == 3 else 'RGBA'} {dtype}"


def _check_rate(rate: int) -> int:
    try:
        number = operator.index(rate)
    except TypeError:
        number = 0
    if number < 1:
        raise SafaError(f"The rate is {rate!r}; it must be a whole number of at least 1.")
    return number


def _check_times(times: Sequence[float]) -> None:
    for t in times:
        if not 0 <= t <= 1:
            raise SafaError(f"The time {t} is outside [0, 1]; 0 is the first frame and 1 the second.")


def _check_pair_times(window: EncodedWindow, times: Sequence[PairTime]) -> None:
    for pair in {pair for pair, _ in times}:
        if not 0 <= pair < len(window.frames):
            raise SafaError(f"There is no pair {pair} in a window of {len(window.frames)} frames.")
    _check_times([t for _, t in times])


def _check_shape(frame: Array) -> None:
    if not isinstance(frame, np.ndarray):
        raise SafaError(f"A frame is a {type(frame).__name__}; it must be a NumPy array height,width,3 or 4.")
    if frame.ndim != 3 or frame.shape[2] not in (3, 4) or not frame.shape[0] or not frame.shape[1]:
        raise SafaError(f"A frame has shape {frame.shape}; it must be height,width,3 (RGB) or height,width,4 (RGBA).")


def load(
    weights: str | Path = DEFAULT,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> Upscaler:
    """Load weights onto a device.

    Args:
        weights: a shipped name, with "@" and the detail from 0 to 1 if wanted ("fast@0.3"), or a file.
        device, precision, engine, threads, memory: as for ``Upscaler``.

    Raises:
        SafaError: no such weights, a damaged file, or a device, precision or engine that is not available.
    """
    return Upscaler(load_checkpoint(weights), device, precision, engine, threads, memory)


def engine_of(upscaler: Upscaler) -> str:
    """Return a description of everything that influences a picture's last bits: engine, precision and processor."""
    engine = upscaler.engine
    return f"{engine.name} {engine.precision}, {engine.arithmetic}, {_opencv()}"


def _opencv() -> str:
    """Return OpenCV's version and the instructions that it and its IPP use here, on which classical flow depends."""
    used = [name.lstrip("*") for name in cv2.getCPUFeaturesLine().split() if not name.endswith("?")]
    found = re.search(r"\((\w+)\) ([\d.]+)", cv2.ipp.getIppVersion()) if cv2.ipp.useIPP() else None
    ipp = f" IPP {found[2]} {found[1]}" if found else ""
    return f"OpenCV {cv2.__version__} {used[-1] if used else 'plain'}{ipp}"
