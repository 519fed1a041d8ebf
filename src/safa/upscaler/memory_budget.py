"""Who gets how much of the memory: the network, the frames on their way, the encoder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from safa.engine import process_memory as memory
from safa.engine.device import free_bytes
from safa.engine.images import Array
from safa.engine.process_memory import MIB, readable
from safa.errors import JournalMismatch, OutOfMemory
from safa.network.config import SCALE
from safa.video.write.codecs import codec_entry
from safa.video.write.encoder import OutputSpec
from safa.video.write.encoder_memory import MOST_ECONOMY, encoder_memory

# Without a ceiling: of what is free for the network, and of all there is for a whole job.
FREE_SHARE, TOTAL_SHARE = 0.6, 0.8
# The interpreter, libraries and weights. Sizes are rounded, so that two runs of a job come to the same plan.
BASE, BASE_STEP = 384 * MIB, 128 * MIB
# Bytes for each pixel of the source: frames as read and as the flow sees them, flow both ways, the decoder's own.
SOURCE = 70
# Bytes for each pixel of the source while the classical flow is computed (measured: 266, of which 197 are kept).
FLOW = 280
# What the network should be left with before the encoder and the queues are asked to take less.
COMFORT, COMFORT_PER_PIXEL = 512 * MIB, 16 << 10

READ_AHEAD, WRITE_BEHIND = 3, 4


@dataclass(frozen=True)
class JobPlan:
    """How a job keeps below a ceiling. It depends on the ceiling and the job alone: a resumed job has the same."""

    aside: int
    """Bytes for everything but the network and what the process takes before it begins."""
    economy: int
    """Of the encoder, see ``video.write.encoder_memory``."""
    read_ahead: int
    write_behind: int


def plan_job(ceiling: int | None, spec: OutputSpec, pixel_bytes: int, source: int) -> JobPlan:
    """The plan that leaves the network a comfortable share, else the one that leaves it most.

    Args:
        ceiling: bytes for the whole process; None for most of what the machine has.
        pixel_bytes: of a pixel of the frames that are encoded.
        source: pixels of a frame of the source.
    """
    pixels = spec.width * spec.height
    choices = [(0, READ_AHEAD, WRITE_BEHIND)] if ceiling is None else []
    choices += [(1, READ_AHEAD, WRITE_BEHIND), (1, 1, 1), (2, 1, 1), (MOST_ECONOMY, 1, 1), (MOST_ECONOMY, 1, 0)]
    limit = ceiling or int(TOTAL_SHARE * memory.total())
    comfort = min(COMFORT, COMFORT_PER_PIXEL * source)
    for economy, read_ahead, write_behind in choices:
        encoder = encoder_memory(codec_entry(spec.codec).encoder, spec.pixel_format, spec.preset, pixels, economy)
        # One frame is being made and one is being converted for the encoder.
        aside = encoder + (2 + write_behind) * pixels * pixel_bytes + (SOURCE + read_ahead * pixel_bytes) * source
        plan = JobPlan(aside, economy, read_ahead, write_behind)
        if limit - BASE - aside >= comfort:
            break
    return plan


@dataclass(frozen=True)
class Share:
    """What decides in which tiles a job's frames are computed: ``memory`` in bytes for the network and, where memory
    ran out nevertheless, the pixels ``most`` at once.
    """

    memory: int
    most: int | None = None


class Budget:
    """The network's share of a ceiling, and what has been learnt about it.

    Args:
        ceiling: bytes for the whole process; None for a share of what is free now. On a GPU it bounds what the network
            takes there, too.
    """

    def __init__(self, ceiling: int | None, device: str) -> None:
        self.ceiling = ceiling
        self._free: int | None = None
        self._base = max(BASE, -(-memory.resident() // BASE_STEP) * BASE_STEP)
        self._reserved: dict[object, tuple[int, int]] = {}  # (thread, bytes), in the order reserved
        self._most: int | None = None
        self._settled: int | None = None
        self._on_shrink: Callable[[Share], None] | None = None
        free = free_bytes(device)
        if free is not None:
            self._free = int(FREE_SHARE * free)
            self._free = min(self._free, ceiling) if ceiling is not None else self._free
        elif ceiling is None:
            self._free = int(FREE_SHARE * memory.available())
        else:
            memory.give_back_early()

    @contextmanager
    def reserve(self, aside: int) -> Iterator[None]:
        """Leave ``aside`` bytes of the ceiling to others for as long as this lasts; several threads may do so at a
        time.
        """
        key = object()
        self._reserved[key] = threading.get_ident(), aside
        try:
            yield
        finally:
            del self._reserved[key]

    def results(self, frame: Array, count: int, size: tuple[int, int]) -> AbstractContextManager[None]:
        """Leave room for ``count`` results of ``size`` (height, width) of frames like ``frame``, and one on its way."""
        source, result = frame.shape[0] * frame.shape[1], size[0] * size[1]
        return self.reserve(SOURCE * source + (count + 1) * result * frame.shape[2] * frame.itemsize)

    def share(self, source: int) -> Share:
        """What a job with frames of ``source`` pixels has from now on."""
        return Share(self._network(source), self._most)

    @contextmanager
    def settled(self, share: Share, needed: int, source: int, on_shrink: Callable[[Share], None]) -> Iterator[None]:
        """Keep to the share of an earlier run, of which ``needed`` bytes are used, for as long as this lasts.

        Raises:
            JournalMismatch: there is much less memory now.
        """
        room = self._network(source)
        if self._free is not None:
            # A little more or less is free every moment; this much of the rest was left for that.
            room = int(room / FREE_SHARE * TOTAL_SHARE)
        if needed > room:
            raise JournalMismatch(
                f"The kept work was computed with {readable(needed)} for the network, and there are only "
                f"{readable(max(0, room))} now; free some memory or raise --memory, or give --restart to start afresh."
            )
        before = self._most
        self._settled, self._most, self._on_shrink = share.memory, share.most, on_shrink
        try:
            yield
        finally:
            if self._most == share.most:  # what was learnt on the way stays
                self._most = before
            self._settled, self._on_shrink = None, None

    def pixels(self, cost: int, source: int) -> int:
        """How many pixels of input frames of ``source`` pixels, ``cost`` bytes each, may be computed at once."""
        share = self._network(source)
        most = share // cost if share >= self._floor(source) else 0
        return most if self._most is None else min(most, self._most)

    def shrink(self, pixels: int) -> None:
        """Memory ran out at so many pixels: use half as many from now on."""
        self._most = pixels // 2
        if self._on_shrink is not None and self._settled is not None:
            self._on_shrink(Share(self._settled, self._most))

    def shortage(self, height: int, width: int, least: int) -> OutOfMemory:
        """What to say where ``least`` bytes for the network are too much."""
        frames = f"frames of {width}x{height}"
        if self._most is not None:
            return OutOfMemory(f"Memory runs out with {frames} even in the smallest tiles; close other programs.")
        if self._free is not None:
            return OutOfMemory(
                f"There is too little free memory for {frames}: {readable(least)} is the least for the network, and it "
                f"may have {readable(self._free)}; close other programs."
            )
        needed = self._base + self._others(width * height) + max(least, self._floor(width * height))
        return OutOfMemory(f"{frames.capitalize()} need a memory ceiling of at least {readable(needed)} here.")

    def _network(self, source: int) -> int:
        if self._settled is not None:
            return self._settled
        if self._free is not None:
            return self._free
        assert self.ceiling is not None
        return self.ceiling - self._base - self._others(source)

    def _floor(self, source: int) -> int:
        """What the classical flow takes before the network begins; on a GPU they do not share."""
        return FLOW * source if self._free is None else 0

    def _others(self, source: int) -> int:
        """What is set aside; without anybody's say, two results besides the source."""
        reserved = dict(list(self._reserved.values()))  # of each thread the latest, which stands for those before it
        return sum(reserved.values()) if reserved else (SOURCE + 2 * 3 * SCALE**2) * source
