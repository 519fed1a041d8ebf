"""Split memory between network, queues and encoder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from safa.engine import memory as memory
from safa.engine.device import free_bytes
from safa.engine.images import Array
from safa.engine.memory import MIB, readable
from safa.errors import JournalMismatch, OutOfMemory
from safa.network.config import SCALE
from safa.video.codecs import codec_entry
from safa.video.encoder import MOST_ECONOMY, OutputSpec, encoder_memory

# Without a ceiling: share of the free memory that the network gets, and of all memory that a whole job gets.
FREE_SHARE, TOTAL_SHARE = 0.6, 0.8
# Interpreter, libraries and weights. The size is rounded, so that two runs of a job arrive at the same plan.
BASE, BASE_STEP = 384 * MIB, 128 * MIB
# Bytes per source pixel: frames as read and as used for flow, flow both ways, the decoder's own.
SOURCE = 70
# Bytes per source pixel while the classical flow is computed (measured: 266, of which 197 are kept).
FLOW = 280
# The network's share below which encoder and queues are made smaller: bytes in all, and per source pixel.
COMFORT, COMFORT_PER_PIXEL = 512 * MIB, 16 << 10

READ_AHEAD, WRITE_BEHIND = 3, 4


@dataclass(frozen=True)
class MemoryPlan:
    """Memory settings of a job. They follow from ceiling and job alone, so a resumed job has the same.

    Args:
        reserved: bytes for everything but the network and what the process takes at its start.
        economy: of the encoder, see ``video.encoder``.
        read_ahead, write_behind: frames in the queues before and after the network.
    """

    reserved: int
    economy: int
    read_ahead: int
    write_behind: int


def plan_memory(ceiling: int | None, spec: OutputSpec, pixel_bytes: int, source: int) -> MemoryPlan:
    """Return the first plan that leaves the network enough memory, or the one that leaves it most.

    Args:
        ceiling: bytes for the whole process; None for most of the machine's memory.
        pixel_bytes: bytes per pixel of the frames that are encoded.
        source: pixels of a source frame.
    """
    pixels = spec.width * spec.height
    choices = [(0, READ_AHEAD, WRITE_BEHIND)] if ceiling is None else []
    choices += [(1, READ_AHEAD, WRITE_BEHIND), (1, 1, 1), (2, 1, 1), (MOST_ECONOMY, 1, 1), (MOST_ECONOMY, 1, 0)]
    limit = ceiling or int(TOTAL_SHARE * memory.total())
    comfort = min(COMFORT, COMFORT_PER_PIXEL * source)
    for economy, read_ahead, write_behind in choices:
        encoder = encoder_memory(codec_entry(spec.codec).encoder, spec.pixel_format, spec.preset, pixels, economy)
        # Besides the queue, one frame is being made and one is being converted for the encoder.
        reserved = encoder + (2 + write_behind) * pixels * pixel_bytes + (SOURCE + read_ahead * pixel_bytes) * source
        plan = MemoryPlan(reserved, economy, read_ahead, write_behind)
        if limit - BASE - reserved >= comfort:
            break
    return plan


@dataclass(frozen=True)
class TileBudget:
    """Memory from which the tiles of a job follow.

    Args:
        memory: bytes for the network.
        most: most pixels to compute at once, learnt when memory ran out; None if it never did.
    """

    memory: int
    most: int | None = None

    @classmethod
    def recorded(cls, values: Mapping[str, int | None] | None) -> TileBudget | None:
        """Return the budget that a journal has recorded; None if it has none."""
        return None if not values else cls(values["memory"] or 0, values["most"])


class Budget:
    """The network's share of the memory.

    Args:
        ceiling: bytes for the whole process; None for a share of what is free now. On a GPU, it also limits what the
            network takes there.
        device: "cpu" or the name of a GPU.
    """

    def __init__(self, ceiling: int | None, device: str) -> None:
        self.ceiling = ceiling
        self._free: int | None = None
        self._base = max(BASE, -(-memory.resident() // BASE_STEP) * BASE_STEP)
        self._reserved: dict[object, tuple[int, int]] = {}  # (thread, bytes), in the order reserved
        self._most: int | None = None
        self._fixed: int | None = None
        self._on_shrink: Callable[[TileBudget], None] | None = None
        free = free_bytes(device)
        if free is not None:
            self._free = int(FREE_SHARE * free)
            self._free = min(self._free, ceiling) if ceiling is not None else self._free
        elif ceiling is None:
            self._free = int(FREE_SHARE * memory.available())
        else:
            memory.give_back_early()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Keep ``size`` bytes of the ceiling free for other uses during the context.

        Reservations of several threads add up; within a thread, the innermost one counts.
        """
        key = object()
        self._reserved[key] = threading.get_ident(), size
        try:
            yield
        finally:
            del self._reserved[key]

    def reserve_results(self, frame: Array, count: int, size: tuple[int, int]) -> AbstractContextManager[None]:
        """Reserve memory for results made from frames like ``frame``.

        Args:
            count: number of results; one more is counted, which is being made.
            size: (height, width) of the results.
        """
        source, result = frame.shape[0] * frame.shape[1], size[0] * size[1]
        return self.reserve(SOURCE * source + (count + 1) * result * frame.shape[2] * frame.itemsize)

    def tile_budget(self, source: int) -> TileBudget:
        """Return the current budget of a job with source frames of ``source`` pixels."""
        return TileBudget(self._network(source), self._most)

    @contextmanager
    def fixed(
        self, budget: TileBudget, needed: int, source: int, on_shrink: Callable[[TileBudget], None]
    ) -> Iterator[None]:
        """Use the budget of an earlier run during the context.

        Args:
            needed: bytes of the budget that its tiles use.
            source: pixels of a source frame.
            on_shrink: called with a smaller budget when memory runs out.

        Raises:
            JournalMismatch: there is much less memory now.
        """
        room = self._network(source)
        if self._free is not None:
            # Free memory varies from moment to moment; the part that was not given to the network covers that.
            room = int(room / FREE_SHARE * TOTAL_SHARE)
        if needed > room:
            raise JournalMismatch(
                f"The kept work was computed with {readable(needed)} for the network, and only "
                f"{readable(max(0, room))} is available now; free some memory or raise --memory, or give --restart to "
                "start again."
            )
        before = self._most
        self._fixed, self._most, self._on_shrink = budget.memory, budget.most, on_shrink
        try:
            yield
        finally:
            if self._most == budget.most:  # a limit learnt during the context stays
                self._most = before
            self._fixed, self._on_shrink = None, None

    def pixels(self, cost: int, source: int) -> int:
        """Return how many pixels may be computed at once.

        Args:
            cost: bytes per pixel.
            source: pixels of a source frame.
        """
        available = self._network(source)
        most = available // cost if available >= self._flow_memory(source) else 0
        return most if self._most is None else min(most, self._most)

    def shrink(self, pixels: int) -> None:
        """Halve the limit after memory ran out at this number of pixels."""
        self._most = pixels // 2
        if self._on_shrink is not None and self._fixed is not None:
            self._on_shrink(TileBudget(self._fixed, self._most))

    def shortage(self, height: int, width: int, least: int) -> OutOfMemory:
        """Return the error for frames of this size, for which the network needs at least ``least`` bytes."""
        frames = f"frames of {width}x{height}"
        if self._most is not None:
            return OutOfMemory(f"Memory runs out with {frames} even in the smallest tiles; close other programs.")
        if self._free is not None:
            return OutOfMemory(
                f"There is too little free memory for {frames}: the network needs at least {readable(least)} and may "
                f"use {readable(self._free)}; close other programs."
            )
        needed = self._base + self._other_bytes(width * height) + max(least, self._flow_memory(width * height))
        return OutOfMemory(f"{frames.capitalize()} need a memory ceiling of at least {readable(needed)} here.")

    def _network(self, source: int) -> int:
        if self._fixed is not None:
            return self._fixed
        if self._free is not None:
            return self._free
        assert self.ceiling is not None
        return self.ceiling - self._base - self._other_bytes(source)

    def _flow_memory(self, source: int) -> int:
        """Return the bytes that the classical flow needs; 0 on a GPU, where it does not compete with the network."""
        return FLOW * source if self._free is None else 0

    def _other_bytes(self, source: int) -> int:
        """Return the reserved bytes; if nothing is reserved, enough for the source and two results."""
        reserved = dict(list(self._reserved.values()))  # by thread; a later reservation includes the earlier ones
        return sum(reserved.values()) if reserved else (SOURCE + 2 * 3 * SCALE**2) * source
