"""Recordings that were joined end to end, so that their clock steps back: every part follows the one before it."""

import os
from bisect import bisect_right
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from safa.video.read.source import has_arbitrary_clock, is_cover, open_container, time_base

# Bytes of a file that is read to its end, which takes some seconds; of larger ones so many pieces of so many bytes are
# looked at first.
READ_WHOLE = 1 << 30
PLACES, PIECE = 256, 1 << 17


@dataclass(frozen=True)
class Splices:
    """`positions`: bytes in the file at which parts after the first begin. `offsets`: seconds to add to the times of
    each part, the first one's 0. `duration`: of the pictures of all parts, in seconds; what such a file states is that
    of one part.
    """

    positions: tuple[int, ...] = ()
    offsets: tuple[Fraction, ...] = (Fraction(0),)
    duration: Fraction = Fraction(0)

    def __bool__(self) -> bool:
        return bool(self.positions)

    @property
    def total(self) -> Fraction:
        """What is added to the times of the last part."""
        return self.offsets[-1]


class PacketClock:
    """Moves the packets of one open file, in the order they are read, to where their part belongs."""

    def __init__(self, container: InputContainer, path: Path) -> None:
        self._splices = splices_of(container, path)
        self._parts: dict[int, int] = {}

    def correct(self, packet: Any) -> None:
        """Add the part's offset to the packet's times."""
        if not self._splices:
            return
        if packet.pos is not None and packet.pos >= 0:  # else it shares its predecessor's place
            self._parts[packet.stream_index] = bisect_right(self._splices.positions, packet.pos)
        shift = round(self._splices.offsets[self._parts.get(packet.stream_index, 0)] / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift


@dataclass
class _Track:
    """What has been read of one stream. A step back counts once the packet after it confirms it: single packets of
    damaged files have wild times.
    """

    first: Fraction | None = None
    last: Fraction | None = None
    end: Fraction = Fraction(0)
    pending: tuple[int, Fraction, Fraction, Fraction] | None = None
    steps: list[tuple[int, Fraction, Fraction]] = field(default_factory=list)
    """(position of the part's first packet, its time, end of the part before)"""

    def push(self, position: int, time: Fraction, duration: Fraction) -> None:
        if self.pending is not None:
            at, first, end, last = self.pending
            if first < time < last:
                self.steps.append((at, first, end))
            self.pending = None
        elif self.last is not None and time < self.last:
            self.pending = position, time, self.end, self.last
        self.first = time if self.first is None else self.first
        self.last, self.end = time, time + duration


def splices_of(container: InputContainer, path: Path) -> Splices:
    """Those of a file that is open: where its clock cannot step back, it is not opened again."""
    return find_splices(path) if has_arbitrary_clock(container) else Splices()


def find_splices(path: Path) -> Splices:
    """Read all packets of a recording (MPEG-TS and MPEG-PS, whose clocks begin anywhere) and find where the clock steps
    back. Other files and pipes have none. Files of several gigabytes are read only if their clock, looked at in many
    places, steps back from one to the next.
    """
    if not path.is_file():
        return Splices()
    status = os.stat(path)
    return _found(path, status.st_size, status.st_mtime_ns)


def clocks_at(data: bytes) -> dict[int, int]:
    """The first clock of every program in a piece of MPEG-TS (PCR, by PID) or MPEG-PS (SCR, as program 0): ticks of
    1/90000 s.
    """
    for step in (188, 192, 204):  # plain, with a time before each packet, with a checksum after it
        for first in range(min(step, len(data) - 5 * step)):
            if data[first : first + 5 * step : step] == b"\x47" * 5:
                return _program_clocks(data, first, step)
    at = data.find(b"\0\0\1\xba")
    if at < 0 or at + 10 > len(data):
        return {}
    packed = data[at + 4 : at + 10]
    if packed[0] >> 6 == 1:  # MPEG-2
        high = (packed[0] >> 3 & 7) << 30 | (packed[0] & 3) << 28 | packed[1] << 20 | (packed[2] >> 3) << 15
        return {0: high | (packed[2] & 3) << 13 | packed[3] << 5 | packed[4] >> 3}
    return {0: (packed[0] >> 1 & 7) << 30 | packed[1] << 22 | (packed[2] >> 1) << 15 | packed[3] << 7 | packed[4] >> 1}


def _program_clocks(data: bytes, first: int, step: int) -> dict[int, int]:
    clocks: dict[int, int] = {}
    for at in range(first, len(data) - 11, step):
        if data[at] == 0x47 and data[at + 3] & 0x20 and data[at + 4] and data[at + 5] & 0x10:
            base = int.from_bytes(data[at + 6 : at + 11], "big") >> 7
            clocks.setdefault((data[at + 1] & 0x1F) << 8 | data[at + 2], base)
    return clocks


def _may_be_joined(path: Path, size: int) -> bool:
    """Whether a large file has to be read to its end."""
    last: dict[int, int] = {}
    known = 0
    with path.open("rb") as file:
        for number in range(PLACES):
            file.seek(size * number // PLACES)
            clocks = clocks_at(file.read(PIECE))
            known += bool(clocks)
            if any(clock < last.get(program, clock) for program, clock in clocks.items()):
                return True
            last |= clocks
    return known < PLACES // 2


@lru_cache(maxsize=8)
def _found(path: Path, size: int, changed: int) -> Splices:
    with open_container(path) as container:
        if not has_arbitrary_clock(container):
            return Splices()
        if size > READ_WHOLE and not _may_be_joined(path, size):
            return Splices()
        streams = [stream for stream in container.streams if stream.type in ("video", "audio") and not is_cover(stream)]
        tracks = {stream.index: _Track() for stream in streams}
        position = 0
        try:
            for packet in container.demux(streams):
                if packet.pos is not None and packet.pos >= 0:
                    position = packet.pos
                if packet.size and packet.dts is not None:
                    base = time_base(packet.stream)
                    tracks[packet.stream_index].push(position, packet.dts * base, (packet.duration or 0) * base)
        except (av.error.FFmpegError, OSError):
            pass  # the reader tells of damage
        pictures = [tracks[stream.index] for stream in streams if stream.type == "video"]
    if not pictures:
        return Splices()
    count = len(pictures[0].steps)
    agreeing = [track.steps for track in tracks.values() if len(track.steps) == count]
    positions, offsets = [], [Fraction(0)]
    for number in range(count):
        of_part = [steps[number] for steps in agreeing]
        positions.append(min(at for at, _, _ in of_part))
        # Of all streams' the largest: none begins before it has ended, and they stay as they were to each other.
        offsets.append(offsets[-1] + max(end - first for _, first, end in of_part))
    duration = pictures[0].end + offsets[-1] - (pictures[0].first or 0)
    return Splices(tuple(positions), tuple(offsets), duration)
