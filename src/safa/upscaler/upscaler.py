"""Arrays in, arrays out: the network with everything around it that a user should not have to think about.

Device and number type are chosen here and nowhere else; so are padding and tiles. A window of frames is encoded once
however many times are asked for, unless it only fits into memory in tiles.
"""

from __future__ import annotations

import itertools
import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.engine import pick_engine
from safa.engine.base import Rendering
from safa.engine.device import pick_device, processor_threads
from safa.engine.images import Array, to_8_bits
from safa.errors import OutOfMemory, SafaError
from safa.network.config import SCALE, SafaConfig, Scale
from safa.network.dis_flow import LONGEST_SIDE, Flow
from safa.upscaler.memory_budget import Budget, Share
from safa.upscaler.reduction import Reduction
from safa.upscaler.size import ScaleFactor, result_size
from safa.upscaler.state_cache import EncodedFrame, EncodedWindow, FramePair, StateCache
from safa.upscaler.tile_rendering import Ask, render_tiles
from safa.upscaler.tiling import Tile, margin_for, memory_errors, plan_tiles, smallest_cost
from safa.video.schedule.windows import PAIR, Numbered, Span, Window, WindowGrid

Moment = TypeVar("Moment")
Item = TypeVar("Item")

WINDOW = Span(16, 3)
"""Of networks with propagation. Both numbers were measured: ``docs/log.md``."""

FAR_TOO_BRIGHT = 8
"""Above this, floating-point pictures are surely not in [0, 1]; a little above 1 is brighter than white and clipped."""

GATHERED = 1 / 4
"""Of the memory for the network, the share that goes to the results of a window done in tiles."""


def span_of(config: SafaConfig) -> Span:
    """The windows in which a network is given a stream."""
    return WINDOW if config.propagation else PAIR


class Upscaler:
    """A network ready for use on one device.

    Args:
        checkpoint: from ``safa.load`` or ``load_checkpoint``.
        device: "cpu", "cuda", "cuda:1", "xpu", "mps" or "auto" (the best there is).
        precision: "float32", "bfloat16", "float16" (not native) or "auto" for the convolutions: half precision where it
            is faster (flow, warps and image fusion are always float32).
        engine: "torch", "native" (this package's own, for CPUs) or "auto" (native where it can).
        threads: of the native engine; all cores if None.
        memory: bytes that the whole process may take; a share of what is free now if None. Frames too large for it are
            computed in tiles.

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
        self.engine = pick_engine(engine, checkpoint, self.device, precision, threads)
        self._cache = StateCache(self.engine, threads or processor_threads())
        self.config = self.engine.config
        self.span = span_of(self.config)
        self.budget = Budget(memory, self.device)

    # Convenient calls

    def between(
        self,
        frame0: Array,
        frame1: Array,
        times: Sequence[float],
        *,
        scale: ScaleFactor | None = None,
        size: str | None = None,
    ) -> list[Array]:
        """The frames at ``times`` (0 is ``frame0``, 1 is ``frame1``), four times as wide and high if nothing is said.

        Args:
            frame0, frame1: arrays of one size and type (see ``Array``), at least 1 x 1.
            times: each in [0, 1].
            scale: how much wider and higher, from 1 to 4.
            size: instead of ``scale``: "1080p", "1440p", "4k", "1920x1080", "1920x-1" or "-1x1080".

        Returns:
            One array per time, of the inputs' type and number of channels.

        Raises:
            SafaError: times outside [0, 1], arrays that are no pictures or not alike, or a size out of reach.
            OutOfMemory: they do not fit into memory, not even in the smallest tiles.
        """
        _check_times(times)
        first, second = self.encode(frame0), self.encode(frame1)
        made = result_size(frame0.shape[0], frame0.shape[1], scale, size)
        asks = [(0, t) for t in times]
        with self.budget.results(frame0, len(times), made):
            return list(self.pictures(self.pair(first, second), asks, size=made))

    def stream(
        self, frames: Iterable[Array], rate: int = 2, *, scale: ScaleFactor | None = None, size: str | None = None
    ) -> Iterator[Array]:
        """Enlarge a stream and make it ``rate`` times smoother, lazily and in constant memory.

        n frames give ``(n - 1) * rate + 1``; a single frame gives one. Each frame on the boundary of two pairs is
        synthesised once. ``scale`` and ``size`` are as in ``between``. ``frames`` may give the same array again and
        again with other contents: frames are copied.
        """
        rate = _checked_rate(rate)
        left = iter(frames)
        head = list(itertools.islice(left, 1))
        if not head:
            return
        _check_shape(head[0])
        made = result_size(head[0].shape[0], head[0].shape[1], scale, size)
        grid: WindowGrid[None] = WindowGrid(self.span)

        def windows() -> Iterator[Window[None]]:
            for number, frame in enumerate(itertools.chain((head.pop(),), left)):
                times = [(None, step / rate) for step in range(rate)] if number else []
                _check_shape(frame)
                yield from grid.push(Numbered(number, Fraction(number), frame.copy()), times)
            yield from grid.finish([None])

        yield from (picture for picture, _ in self.render(windows(), made))

    def render(
        self, windows: Iterable[Window[Moment]], size: tuple[int, int] | None = None, ahead: bool = False
    ) -> Iterator[tuple[Array, Moment]]:
        """Every moment of the windows, which must be in order, with its picture.

        A picture depends on its window, place and time alone, never on the windows around it: a resumed job, and one
        that was done in parts in many places, equals an uninterrupted one. What windows share is computed once.

        Args:
            size: height and width of the pictures; four times the frames' if None.
            ahead: fetch every window while the pictures of the one before are made, and estimate its motion beside
                that, unless there is a memory ceiling.
        """
        joined = self._joined(windows)
        try:
            for (window, encoded), following in _with_next(joined) if ahead else ((one, None) for one in joined):
                if following is not None:
                    # First of all its own, in most windows begun before: what is begun now would be in their way.
                    self._searched_flows(encoded, _asks_of(window))
                    self._begin_flows(*following)
                yield from self._pictures_of(window, encoded, size)
        finally:
            self._cache.drop_begun()

    def _joined(self, windows: Iterable[Window[Moment]]) -> Iterator[tuple[Window[Moment], EncodedWindow]]:
        encoded: dict[int, EncodedFrame] = {}
        frames: tuple[Numbered, ...] = ()
        for window in windows:
            if window.frames is not frames:  # the film's last frame comes with those of the window before
                frames = window.frames
                encoded = {frame.number: encoded.get(frame.number) or self.encode(frame.image) for frame in frames}
                joined = self.window(list(encoded.values()), [frame.time for frame in frames])
            yield window, joined

    def _pictures_of(
        self, window: Window[Moment], joined: EncodedWindow, size: tuple[int, int] | None
    ) -> Iterator[tuple[Array, Moment]]:
        asked = _asks_of(window)
        # Moments that show the same thing (the held last frame) share one picture.
        different = [ask for ask, before in zip(asked, [None, *asked], strict=False) if ask != before]
        pictures = self.pictures(joined, different, size=size)
        picture: Array | None = None
        before = None
        for moment, ask in window.pictures:
            if picture is None or ask != before:
                picture, before = next(pictures), ask
            yield picture, moment

    # The steps, for callers with timelines of their own

    def encode(self, frame: Array) -> EncodedFrame:
        """Prepare one frame, which must not change afterwards. Raises ``SafaError`` for anything but a picture."""
        _check_shape(frame)
        frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
        self._check_sides(*frame.shape[:2])
        if frame.dtype.kind == "f":
            least, most = float(frame.min()), float(frame.max())
            if not (math.isfinite(least) and math.isfinite(most)):
                raise SafaError("A frame has values that are infinite or no numbers; they must be in [0, 1].")
            if most > FAR_TOO_BRIGHT:
                raise SafaError(f"A frame has values up to {most:g}; of floating point they must be in [0, 1].")
        return EncodedFrame(frame, to_8_bits(frame))

    def window(self, frames: Sequence[EncodedFrame], times: Sequence[Fraction] | None = None) -> EncodedWindow:
        """Consecutive frames of one scene, of one size and type, between any two of which pictures can be made.

        A network with propagation looks at all of them for each picture, any other at the two next to it.

        Args:
            times: of the frames, in seconds, rising; evenly spaced if None.

        Raises:
            SafaError: there are no frames, they differ in size, channels or type, or the times do not fit them.
        """
        if not frames:
            raise SafaError("A window has no frames; it must have at least one.")
        for frame in frames:
            if frames[0].kind != frame.kind:
                one, other = (_described(*kind) for kind in (frames[0].kind, frame.kind))
                raise SafaError(f"The two frames differ: {one} and {other}; they must have one size and type.")
        moments = tuple(map(Fraction, range(len(frames)) if times is None else times))
        if len(moments) != len(frames) or any(later <= one for one, later in itertools.pairwise(moments)):
            raise SafaError(f"The times of a window must rise, one for each of its {len(frames)} frames.")
        return EncodedWindow(tuple(frames), moments)

    def pair(self, first: EncodedFrame, second: EncodedFrame) -> EncodedWindow:
        """A window of two frames, or of one where the two are the same."""
        return self.window([first] if first is second else [first, second])

    def at(self, window: EncodedWindow, t: float, scale: Scale = None, place: int = 0) -> Array:
        """The frame at time ``t`` in [0, 1] between the frame at ``place`` and the next, of the inputs' type."""
        return self.at_times(window, [t], scale, place)[0]

    def at_times(
        self, window: EncodedWindow, times: Sequence[float], scale: Scale = None, place: int = 0
    ) -> list[Array]:
        """As ``at`` for several times."""
        return list(self.pictures(window, [(place, t) for t in times], scale))

    def pictures(
        self, window: EncodedWindow, asks: Sequence[Ask], scale: Scale = None, size: tuple[int, int] | None = None
    ) -> Iterator[Array]:
        """The pictures that are asked for, in that order, as arrays of the inputs' type; made as they are fetched.

        In tiles, as many as there is room for are made together, so that each tile is encoded once for all of them.

        Args:
            scale: at which the network works, see ``SafaConfig``; of one block or all of them.
            size: height and width of the pictures, each from once to four times the input's; four times if None.

        Raises:
            SafaError: a place that the window does not have, or a time outside [0, 1].
            OutOfMemory: it does not fit into memory, not even in the smallest tiles.
        """
        height, width, *_ = window.kind
        _check_asks(window, asks)
        reduction = Reduction(height, width, size or (SCALE * height, SCALE * width))
        left = list(asks)
        while left:
            tiles = self.tiles(height, width, self._searched_flows(window, left), self._frames(window))
            now = left[: self._together(window, tiles, reduction)]
            made: list[Array] = []
            try:
                with memory_errors():
                    made = render_tiles(self._cache, window, now, scale, tiles, reduction)
            except OutOfMemory:
                self.budget.shrink(max(tile.cost for tile in tiles))
            if not made:  # outside of the handler: until its end the failed call's tensors are alive
                self._cache.forget(window)
                self.engine.release()
            left = left[len(made) :]
            while made:
                yield made.pop(0)

    def details(self, window: EncodedWindow, t: float, scale: Scale = None, place: int = 0) -> Rendering:
        """Everything the network decided for time ``t``, of the whole frame whatever memory that takes, as arrays; the
        image is cropped to the output size, the rest padded.
        """
        _check_asks(window, [(place, t)])
        height, width, *_ = window.kind
        states = self._cache.of_window(window, self._whole(height, width))
        result = self.engine.synthesize(states.pair(place), float(t), scale)
        image, flow, mask = map(self.engine.array, (result.image, result.flow, result.mask))
        return Rendering(image[: height * SCALE, : width * SCALE], flow, mask, result.choice)

    def tiles(
        self, height: int, width: int, flows: Sequence[Flow] | None = None, frames: int | None = None
    ) -> tuple[Tile, ...]:
        """The tiles in which frames of this size with motion ``flows`` are computed; one where memory suffices.

        Args:
            frames: how many there are in a window; as many as in a stream if None.

        Raises:
            SafaError: the frames are too large for the classical flow.
            OutOfMemory: the smallest tiles are too large.
        """
        self._check_sides(height, width)
        multiple = self.config.multiple
        whole, cost = self._whole(height, width), self.engine.bytes_per_pixel(frames or self.span.frames)
        most = self.budget.pixels(cost, height * width)
        if whole.cost <= most:
            return (whole,)
        if self.config.propagation:
            most = int(most * (1 - GATHERED))
        size, least = whole.core[2:], margin_for((), multiple)
        # Where memory is short, fast motion gets less of a margin than it should rather than none of the frame.
        hops = 2 if self.config.propagation else 1
        for margin in range(margin_for(flows, multiple, hops), least - 1, -multiple):
            tiles = plan_tiles(*size, multiple, margin, most)
            if tiles:
                return tiles
        raise self.budget.shortage(height, width, smallest_cost(*size, multiple, least) * cost)

    def settled(
        self, height: int, width: int, share: Share, on_shrink: Callable[[Share], None]
    ) -> AbstractContextManager[None]:
        """Compute frames of this size as a run of the same job did that had ``share``; ``budget.share`` is today's.

        ``on_shrink`` is told when memory runs out and smaller tiles are used from there on.

        Raises:
            JournalMismatch: there is too little memory for that now.
        """
        cost = self.engine.bytes_per_pixel(self.span.frames)
        pixels = min(self._whole(height, width).cost, share.most or sys.maxsize)
        return self.budget.settled(share, min(pixels * cost, share.memory), height * width, on_shrink)

    def _check_sides(self, height: int, width: int) -> None:
        if self.config.needs_flow and max(height, width) > LONGEST_SIDE:
            raise SafaError(
                f"Frames are {width}x{height}; this network takes at most {LONGEST_SIDE} pixels a side. Cut them first."
            )

    def _whole(self, height: int, width: int) -> Tile:
        bottom, right = (-(-side // self.config.multiple) * self.config.multiple for side in (height, width))
        return Tile((0, 0, bottom, right), (0, 0, bottom, right))

    def _frames(self, window: EncodedWindow) -> int:
        """How many frames memory is planned for: the same for all windows of a stream, whatever their length."""
        return 2 if len(window.frames) <= 2 else max(self.span.frames, len(window.frames))

    def _together(self, window: EncodedWindow, tiles: Sequence[Tile], reduction: Reduction) -> int:
        """How many pictures are made at a time."""
        if len(tiles) == 1:
            return 1
        height, width, *_ = window.kind
        room = self.budget.pixels(1, height * width) * GATHERED
        larger = reduction.rows.size * reduction.columns.size / (height * width)
        return max(1, int(room / (larger * window.frames[0].image.nbytes)))

    def _pairs(self, window: EncodedWindow, asks: Sequence[Ask]) -> list[FramePair]:
        """The frames between which the network needs classical flow for what is asked of the window."""
        if not self.config.needs_flow:
            return []
        places = range(max(1, len(window.frames) - 1)) if self.config.propagation else [place for place, _ in asks]
        return [window.ends(place) for place in dict.fromkeys(places)]

    def _begin_flows(self, window: Window[Moment], joined: EncodedWindow) -> None:
        """Have the flow of a window estimated while something else is done, where there is room for both."""
        height, width, *_ = joined.kind
        # In tiles, flow and network take turns with the memory.
        if self.budget.ceiling is None and len(self.tiles(height, width, frames=self._frames(joined))) == 1:
            self._cache.begin_flows(self._pairs(joined, _asks_of(window)))

    def _searched_flows(self, window: EncodedWindow, asks: Sequence[Ask]) -> list[Flow]:
        """``_flows``. Raises ``OutOfMemory`` where there is too little for it."""
        height, width, *_ = window.kind
        try:
            with memory_errors():
                return self._flows(window, asks)
        except OutOfMemory as error:
            if error.__cause__ is None:  # a ceiling, which says itself what to do
                raise
            raise OutOfMemory(
                f"Memory runs out while motion in frames of {width}x{height} is estimated; close other programs."
            ) from None

    def _flows(self, window: EncodedWindow, asks: Sequence[Ask]) -> list[Flow]:
        """All the classical flow that the network needs for what is asked of the window."""
        pairs = self._pairs(window, asks)
        if not pairs:
            return []
        tiled = not self._cache.has_flows(pairs) and len(self.tiles(*window.kind[:2], frames=self._frames(window))) > 1
        if tiled:
            self.engine.release()  # flow and network take turns with the memory
        flows = [flow for pair in pairs for flow in self._cache.flows(*pair)]
        if tiled:
            self._cache.release_flow()
            if self.config.propagation:
                for place in dict.fromkeys(place for place, _ in asks):
                    self._cache.motion(window, place)
        return flows


def _asks_of(window: Window[Moment]) -> list[Ask]:
    return [ask for _, ask in window.pictures]


def _with_next(items: Iterator[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Every item with the one after it. Where that cannot be fetched, the error comes after the item."""
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


def _described(height: int, width: int, channels: int, dtype: np.dtype[Any]) -> str:
    return f"{width}x{height} {'RGB' if channels == 3 else 'RGBA'} {dtype}"


def _checked_rate(rate: int) -> int:
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
            raise SafaError(f"The time {t} is outside [0, 1]; 0 is the first picture and 1 the second.")


def _check_asks(window: EncodedWindow, asks: Sequence[Ask]) -> None:
    for place in {place for place, _ in asks}:
        if not 0 <= place < len(window.frames):
            raise SafaError(f"There is no place {place} in a window of {len(window.frames)} frames.")
    _check_times([t for _, t in asks])


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
    """Load weights (a shipped name or a file) onto a device, ready for use; see ``Upscaler``."""
    return Upscaler(load_checkpoint(weights), device, precision, engine, threads, memory)
