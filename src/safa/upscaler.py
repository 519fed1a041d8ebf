"""Arrays in, arrays out: the network with everything around it that a user should not have to think about.

Device and number type are chosen here and nowhere else; so are padding and tiles. A frame is encoded once however many
pairs and times it takes part in, unless it only fits into memory in tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from safa.budget import Budget
from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.engine import pick_engine
from safa.engine.device import pick_device, pick_dtype
from safa.errors import OutOfMemory, SafaError
from safa.network import prior
from safa.network.safa import Scale, Synthesis
from safa.ops import SCALE, enlarge
from safa.pixels import Array, cut_out, peak, store, to_8_bits
from safa.tiling import Decision, Tile, agree, margin_for, memory_errors, plan_tiles, smallest_cost


@dataclass
class EncodedFrame:
    """A frame prepared for any pair it will be part of; made by ``Upscaler.encode``."""

    image: Array
    low: NDArray[np.uint8]
    """``H,W,3``: what the classical flow sees."""
    state: Any = None
    """The engine's own, of the whole frame, once it was needed."""

    @property
    def kind(self) -> tuple[int, int, np.dtype[Any]]:
        """Height, width and type."""
        return (*self.image.shape[:2], self.image.dtype)


@dataclass
class EncodedPair:
    """Two encoded frames joined; made by ``Upscaler.pair``."""

    first: EncodedFrame
    second: EncodedFrame
    flows: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Classical flow from the first to the second and back, ``H,W,2`` in pixels, if the network uses it."""
    state: Any = None
    """The engine's own, of the whole frames, once it was needed."""


class Upscaler:
    """A network ready for use on one device.

    Args:
        checkpoint: from ``safa.load`` or ``load_checkpoint``.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto" (the best there is).
        dtype: "float32", "bfloat16", "float16" or "auto" for the convolutions (flow is always float32).
        engine: "torch", "native" (this package's own, CPU and float32 only) or "auto" (native where it can).
        threads: of the native engine; all cores if None.
        memory: bytes that the whole process may take; a share of what is free now if None. Frames too large for it are
            computed in tiles.

    Raises:
        SafaError: the device or number type is not available.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        dtype: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
        memory: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.engine = pick_engine(engine, checkpoint.network, self.device, self.dtype, threads)
        self.config = self.engine.config
        self.budget = Budget(memory, self.device)

    # Convenient calls

    def between(self, frame0: Array, frame1: Array, times: Sequence[float]) -> list[Array]:
        """The frames at ``times`` (0 is ``frame0``, 1 is ``frame1``), four times as wide and high.

        Args:
            frame0, frame1: arrays of one size and type (see ``Array``), at least 1 x 1.
            times: each in [0, 1].

        Returns:
            One array per time, of the inputs' type and number of channels.

        Raises:
            OutOfMemory: they do not fit into memory, not even in the smallest tiles.
        """
        for t in times:
            if not 0 <= t <= 1:
                raise SafaError(f"The time {t} is outside [0, 1]; 0 is the first picture and 1 the second.")
        first, second = self.encode(frame0), self.encode(frame1)
        with self.budget.results(frame0, len(times)):
            return self.at_times(self.pair(first, second), times)

    def stream(self, frames: Iterable[Array], rate: int = 2) -> Iterator[Array]:
        """Enlarge a stream and make it ``rate`` times smoother, lazily and in constant memory.

        n frames give ``(n - 1) * rate + 1``; a single frame gives one. Each frame on the boundary of two pairs is
        synthesised once.
        """
        if not isinstance(rate, int) or rate < 1:
            raise SafaError(f"The rate is {rate!r}; it must be a whole number of at least 1.")
        pair: EncodedPair | None = None
        previous: EncodedFrame | None = None
        for frame in frames:
            current = self.encode(frame)
            if previous is not None:
                pair = self.pair(previous, current)
                for step in range(rate):
                    yield self.at(pair, step / rate)
            previous = current
        if previous is not None:
            yield self.at(pair, 1.0) if pair is not None else self.at(self.pair(previous, previous), 0.0)

    # The steps, for callers with timelines of their own

    def encode(self, frame: Array) -> EncodedFrame:
        """Prepare one frame. Raises ``SafaError`` for an array of another shape or type."""
        if frame.ndim != 3 or frame.shape[2] not in (3, 4) or not frame.shape[0] or not frame.shape[1]:
            raise SafaError(
                f"A frame has shape {frame.shape}; it must be height,width,3 (RGB) or height,width,4 (RGBA)."
            )
        return EncodedFrame(frame, to_8_bits(frame))

    def pair(self, first: EncodedFrame, second: EncodedFrame) -> EncodedPair:
        """Join two frames of one size and type; this is where the classical flow is computed, if it is used."""
        if first.kind != second.kind:
            (height0, width0, dtype0), (height1, width1, dtype1) = first.kind, second.kind
            raise SafaError(
                f"The two frames differ: {width0}x{height0} {dtype0} and {width1}x{height1} {dtype1}; they must have "
                "one size and type."
            )
        if self.config.flow_prior == "none":
            return EncodedPair(first, second, None)
        tiled = len(self.tiles(*first.kind[:2])) > 1
        if tiled:
            self.engine.release()  # flow and network take turns with the memory
        flows = prior.classical_flow(first.low, second.low), prior.classical_flow(second.low, first.low)
        if tiled:
            prior.release()
        return EncodedPair(first, second, flows)

    def at(self, pair: EncodedPair, t: float, scale: Scale = None) -> Array:
        """The frame at time ``t`` in [0, 1] as an array of the inputs' type."""
        return self.at_times(pair, [t], scale)[0]

    def at_times(self, pair: EncodedPair, times: Sequence[float], scale: Scale = None) -> list[Array]:
        """As ``at`` for several times: a pair in tiles is encoded once for all of them.

        Raises:
            OutOfMemory: it does not fit into memory, not even in the smallest tiles.
        """
        height, width, _ = pair.first.kind
        while True:
            tiles = self.tiles(height, width, pair.flows)
            try:
                with memory_errors():
                    return self._render(pair, times, scale, tiles)
            except OutOfMemory:
                self.budget.shrink(max(tile.cost for tile in tiles))
            # Outside of the handler: until its end the failed call's tensors are alive.
            pair.state = pair.first.state = pair.second.state = None
            self.engine.release()

    def details(self, pair: EncodedPair, t: float, scale: Scale = None) -> Synthesis:
        """Everything the network decided for time ``t``, of the whole frame whatever memory that takes; the image is
        cropped to the output size, the rest padded.
        """
        height, width, _ = pair.first.kind
        result = self.engine.synthesize(self._joined(pair, self._whole(height, width)), float(t), scale)
        result.image = result.image[:, :, : height * SCALE, : width * SCALE]
        return result

    def tiles(
        self, height: int, width: int, flows: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    ) -> tuple[Tile, ...]:
        """The tiles in which frames of this size with motion ``flows`` are computed; one where memory suffices.

        Raises:
            OutOfMemory: the smallest tiles are too large.
        """
        multiple = self.config.multiple
        whole, cost = self._whole(height, width), self.engine.bytes_per_pixel
        most = self.budget.pixels(cost, height * width)
        if whole.cost <= most:
            return (whole,)
        size, least = whole.shown[2:], margin_for((), multiple)
        # Where memory is short, fast motion gets less of a margin than it should rather than none of the frame.
        for margin in range(margin_for(flows, multiple), least - 1, -multiple):
            tiles = plan_tiles(*size, multiple, margin, most)
            if tiles:
                return tiles
        raise self.budget.shortage(height, width, smallest_cost(*size, multiple, least) * cost)

    def _whole(self, height: int, width: int) -> Tile:
        bottom, right = (-(-side // self.config.multiple) * self.config.multiple for side in (height, width))
        return Tile((0, 0, bottom, right), (0, 0, bottom, right))

    def _render(self, pair: EncodedPair, times: Sequence[float], scale: Scale, tiles: Sequence[Tile]) -> list[Array]:
        height, width, channels = pair.first.image.shape
        results = [np.empty((height * SCALE, width * SCALE, channels), pair.first.image.dtype) for _ in times]

        def run(state: Any, tile: Tile, number: int, scale: Scale) -> Decision:
            made = self.engine.synthesize(state, float(times[number]), scale, tile.inner)
            into = results[number][tile.output]
            store(made.image[tile.kept], into[:, :, :3])
            if channels == 4:
                store(self._alpha(pair, tile, times[number])[tile.kept], into[:, :, 3:])
            return Decision.of(made)

        first: list[list[Decision]] = [[] for _ in times]
        for tile in tiles:
            state = self._joined(pair, tile)
            for number in range(len(times)):
                first[number].append(run(state, tile, number, scale))
            del state
        for number, decisions in enumerate(first):
            agree(tiles, decisions, lambda tile, scales, n=number: run(self._joined(pair, tile), tile, n, scales))  # type: ignore[misc]
        return results

    def _joined(self, pair: EncodedPair, tile: Tile) -> Any:
        """The engine's state of a tile of the pair; that of whole frames is kept."""
        if tile != self._whole(*pair.first.kind[:2]):
            return self._join(pair, tile, self._encoded(pair.first, tile), self._encoded(pair.second, tile))
        for frame in (pair.first, pair.second):
            if frame.state is None:
                frame.state = self._encoded(frame, tile)
        if pair.state is None:
            pair.state = self._join(pair, tile, pair.first.state, pair.second.state)
        return pair.state

    def _encoded(self, frame: EncodedFrame, tile: Tile) -> Any:
        colour = cut_out(frame.image[:, :, :3], tile.seen, self.device) / peak(frame.image.dtype)
        return self.engine.encode_frame(colour)

    def _join(self, pair: EncodedPair, tile: Tile, first: Any, second: Any) -> Any:
        if pair.flows is None:
            return self.engine.encode_pair(first, second)
        forward, backward = (cut_out(flow, tile.seen, self.device) for flow in pair.flows)
        return self.engine.encode_pair(first, second, (forward, backward))

    def _alpha(self, pair: EncodedPair, tile: Tile, t: float) -> torch.Tensor:
        white = peak(pair.first.image.dtype)
        first, second = (
            enlarge(cut_out(frame.image[:, :, 3:], tile.seen, self.device) / white).clamp(0, 1)
            for frame in (pair.first, pair.second)
        )
        return (1 - t) * first + t * second


def load(
    weights: str | Path = DEFAULT,
    device: str = "auto",
    dtype: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> Upscaler:
    """Load weights (a shipped name or a file) onto a device, ready for use; see ``Upscaler``."""
    return Upscaler(load_checkpoint(weights), device, dtype, engine, threads, memory)
