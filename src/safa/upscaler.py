"""Arrays in, arrays out: the network with everything around it that a user should not have to think about.

Device and number type are chosen here and nowhere else; so are padding and tiles. A frame is encoded once however many
pairs and times it takes part in, unless it only fits into memory in tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from safa.budget import Budget
from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.encoded import EncodedFrame, EncodedPair, Flow
from safa.engine import pick_engine
from safa.engine.device import pick_device, pick_dtype
from safa.errors import OutOfMemory, SafaError
from safa.network import dis_flow
from safa.network.config import Scale
from safa.network.states import Synthesis
from safa.ops import SCALE, enlarge
from safa.pixels import Array, cut_out, peak, store, to_8_bits
from safa.tiling import Decision, Tile, agree, margin_for, memory_errors, plan_tiles, smallest_cost


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
        for pair in self._pairs(frames):
            for step in range(rate if pair.first is not pair.second else 0):
                yield self.at(pair, step / rate)
        if pair is not None:
            yield self.at(pair, 1.0)

    # The steps, for callers with timelines of their own

    def encode(self, frame: Array) -> EncodedFrame:
        """Prepare one frame. Raises ``SafaError`` for an array of another shape or type."""
        if frame.ndim != 3 or frame.shape[2] not in (3, 4) or not frame.shape[0] or not frame.shape[1]:
            raise SafaError(
                f"A frame has shape {frame.shape}; it must be height,width,3 (RGB) or height,width,4 (RGBA)."
            )
        return EncodedFrame(frame, to_8_bits(frame))

    def pair(
        self,
        first: EncodedFrame,
        second: EncodedFrame,
        before: EncodedFrame | None = None,
        after: EncodedFrame | None = None,
    ) -> EncodedPair:
        """Join two frames of one size and type; this is where classical flow is computed, if the network uses it.

        Args:
            before, after: the frames next to the pair, if they belong to the same scene; a network with
                ``neighbours`` sees more with them, any other ignores them.
        """
        if not self.config.neighbours:
            before = after = None
        pair = EncodedPair(first, second, before, after)
        for frame in pair.frames:
            if first.kind != frame.kind:
                (height0, width0, dtype0), (height1, width1, dtype1) = first.kind, frame.kind
                raise SafaError(
                    f"The two frames differ: {width0}x{height0} {dtype0} and {width1}x{height1} {dtype1}; they must "
                    "have one size and type."
                )
        if not self.config.needs_flow:
            return pair
        tiled = len(self.tiles(*first.kind[:2])) > 1
        if tiled:
            self.engine.release()  # flow and network take turns with the memory
        self._flows(pair)
        if tiled:
            dis_flow.release()
        return pair

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
            tiles = self.tiles(height, width, self._flows(pair))
            try:
                with memory_errors():
                    return self._render(pair, times, scale, tiles)
            except OutOfMemory:
                self.budget.shrink(max(tile.cost for tile in tiles))
            # Outside of the handler: until its end the failed call's tensors are alive.
            pair.state = None
            for frame in pair.frames:
                frame.state = frame.among = None
            self.engine.release()

    def details(self, pair: EncodedPair, t: float, scale: Scale = None) -> Synthesis:
        """Everything the network decided for time ``t``, of the whole frame whatever memory that takes; the image is
        cropped to the output size, the rest padded.
        """
        height, width, _ = pair.first.kind
        result = self.engine.synthesize(self._joined(pair, self._whole(height, width)), float(t), scale)
        result.image = result.image[:, :, : height * SCALE, : width * SCALE]
        return result

    def tiles(self, height: int, width: int, flows: Sequence[Flow] | None = None) -> tuple[Tile, ...]:
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
        hops = 2 if self.config.neighbours else 1
        for margin in range(margin_for(flows, multiple, hops), least - 1, -multiple):
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
            self.engine.store(made.image[tile.kept], into[:, :, :3])
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

    def _pairs(self, frames: Iterable[Array]) -> Iterator[EncodedPair]:
        """Each two consecutive frames; a single frame with itself. With neighbours they come one frame later."""
        held: list[EncodedFrame] = []
        for frame in frames:
            current = self.encode(frame)
            if not self.config.neighbours:
                if held:
                    yield self.pair(held[-1], current)
            elif len(held) > 1:
                yield self.pair(held[-2], held[-1], held[0] if len(held) == 3 else None, current)
            held = [*held[-2:], current]
        if len(held) == 1:
            yield self.pair(held[0], held[0])
        elif held and self.config.neighbours:
            yield self.pair(held[-2], held[-1], held[0] if len(held) == 3 else None)

    def _flows(self, pair: EncodedPair) -> list[Flow]:
        """All the classical flow that the network needs for the pair."""
        if not self.config.needs_flow:
            return []
        flows = [pair.first.flow_to(pair.second), pair.second.flow_to(pair.first)]
        if self.config.neighbours:
            for frame in (pair.first, pair.second):
                flows += [frame.flow_to(other) for other in pair.neighbours(frame)]
        return flows

    def _joined(self, pair: EncodedPair, tile: Tile) -> Any:
        """The engine's state of a tile of the pair; that of whole frames is kept."""
        whole = tile == self._whole(*pair.first.kind[:2])
        if whole and pair.state is not None:
            return pair.state
        states: dict[int, Any] | None = None if whole else {}
        first = self._among(pair, pair.first, tile, states)
        second = first if pair.second is pair.first else self._among(pair, pair.second, tile, states)
        flows = None
        if self.config.flow_prior == "dis":
            both = pair.first.flow_to(pair.second), pair.second.flow_to(pair.first)
            forward, backward = (cut_out(flow, tile.seen, self.device) for flow in both)
            flows = forward, backward
        joined = self.engine.encode_pair(first, second, flows)
        if whole:
            pair.state = joined
            if pair.before is not None:
                pair.before.state = None  # no later pair asks for it
        return joined

    def _among(self, pair: EncodedPair, frame: EncodedFrame, tile: Tile, states: dict[int, Any] | None) -> Any:
        """The engine's state of a frame with what its neighbours add to it; ``states`` as ``_encoded`` has it."""
        if not self.config.neighbours:
            return self._encoded(frame, tile, states)
        others = pair.neighbours(frame)
        numbers = tuple(other.number for other in others)
        if states is None and frame.among is not None and frame.among[0] == numbers:
            return frame.among[1]
        state = self._encoded(frame, tile, states)
        seen = ((self._encoded(other, tile, states), frame.flow_to(other)) for other in others)
        state = self.engine.with_neighbours(state, ((a, cut_out(flow, tile.seen, self.device)) for a, flow in seen))
        if states is None:
            frame.among = numbers, state
        return state

    def _encoded(self, frame: EncodedFrame, tile: Tile, states: dict[int, Any] | None) -> Any:
        """The engine's state of a frame by itself. ``states``: those of this tile so far; None for whole frames."""
        state = frame.state if states is None else states.get(frame.number)
        if state is None:
            colour = cut_out(frame.image[:, :, :3], tile.seen, self.device) / peak(frame.image.dtype)
            state = self.engine.encode_frame(colour)
            if states is None:
                frame.state = state
            else:
                states[frame.number] = state
        return state

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
