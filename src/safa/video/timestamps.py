"""Files that end before their own header says: an interrupted copy or download plays, but is not whole.

MP4 shows it in its index (missing, or with more frames than there are). Matroska, WebM and AVI have no index that must
be complete, but state their size at the beginning. Of YUV4MPEG2 all frames have one size.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import av
from av.container import InputContainer

from safa.video.containers import bare_copy, find_video, has_arbitrary_clock, is_fragmented, open_container, time_base

SEGMENT = b"\x18\x53\x80\x67"  # Matroska's outermost element
HEADER = 4096  # bytes within which it begins


def missing_bytes(path: Path) -> int:
    """Return the number of bytes that a Matroska, WebM or AVI file lacks of the size that it states; 0 if none, or
    unknown.
    """
    return max(0, stated_size(path) - path.stat().st_size) if path.is_file() else 0


def stated_size(path: Path) -> int:
    """Return the size in bytes that a Matroska, WebM or AVI file states; 0 if it is unknown."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == b"\x1a\x45\xdf\xa3" and (at := head.find(SEGMENT)) > 0:
        return _end_of_element(head, at + len(SEGMENT))
    return 0


def rest_of_y4m(head: bytes, total: int, frames: int, content: int) -> int:
    """Return how many bytes of YUV4MPEG2 are left behind its last whole frame.

    `head` is how it begins, `total` all its bytes, `content` those of the pixels of its `frames`.
    """
    header = head.find(b"\n") + 1
    mark = head.find(b"\n", header) + 1 - header  # the line before every frame
    return max(0, total - header - frames * mark - content) if header > 0 and mark > 0 else 0


def _end_of_element(head: bytes, at: int) -> int:
    """Return the end of the element whose size field begins at ``at``; 0 if its size is unknown."""
    if at >= len(head) or not head[at]:
        return 0
    length = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + length], "big") & (1 << 7 * length) - 1
    unknown = size == (1 << 7 * length) - 1
    return 0 if unknown else at + length + size


# Recordings that were joined, so that their clock steps back or jumps: every part follows the one before it.

# Bytes of a recording that is read to its end, which takes some seconds; of larger ones so many pieces of so many bytes
# are looked at first.
READ_WHOLE = 1 << 30
PLACES, PIECE = 256, 1 << 17
# Formats that can be read on where another file was joined to the first, apart from those that are looked at.
CONTINUED = {"flv", "hls", "ogg", "nut"}
# How Matroska begins.
EBML = b"\x1a\x45\xdf\xa3"
# Seconds by which a clock jumps forward where a pause ends and another recording may begin: with sound that jumps
# alike, and without sound, which would tell.
JUMP, LONE_JUMP = 10, 600
# A jump is also so many times as long as any step before it: slides have long steps.
UNUSUAL = 10


@dataclass(frozen=True)
class Splices:
    """`starts`: of each stream, the numbers of the packets, counted from 0, that parts after the first begin with.
    `offsets`: seconds to add to the times of each part, the first one's 0. `duration`: of the pictures of all parts, in
    seconds; what such a file states is that of one part.
    """

    starts: tuple[tuple[int, ...], ...] = ()
    offsets: tuple[Fraction, ...] = (Fraction(0),)
    duration: Fraction = Fraction(0)

    def __bool__(self) -> bool:
        return len(self.offsets) > 1


class PacketClock:
    """Moves the packets of one open file, read from its beginning, to where their part belongs."""

    def __init__(self, container: InputContainer, path: Path) -> None:
        self._splices = splices_of(container, path)
        self._counts: dict[int, int] = {}

    def correct(self, packet: Any) -> Any:
        """Return the packet with its part's offset added to its times. Must be called for all packets of a stream."""
        if not self._splices or not packet.size:
            return packet
        index, starts = packet.stream_index, self._splices.starts
        number = self._counts.get(index, 0)
        self._counts[index] = number + 1
        part = bisect_right(starts[index], number) if index < len(starts) else 0
        if part and packet.is_discard:
            packet = bare_copy(packet)  # so FFmpeg marks fragments of MP4 whose clock steps back
        shift = round(self._splices.offsets[part] / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
        return packet


@dataclass(frozen=True)
class _Break:
    """Interruption of the clock of one stream: number of the packet among those of all streams, and packets of
    each stream before it; its time; when what was before it ends.
    """

    number: int
    counts: dict[int, int]
    first: Fraction
    end: Fraction
    is_long: bool
    """True for a step much longer than those before it."""

    @property
    def jump(self) -> Fraction:
        return self.first - self.end


@dataclass
class _Track:
    """Packets read of one stream. A break counts once the packet after it confirms it: single packets of damaged
    files have wild times. Where `is_reordered`, times are those of presentation, and only keyframes tell.
    """

    is_reordered: bool
    begin: Fraction | None = None
    last: Fraction | None = None
    end: Fraction = Fraction(0)
    longest: Fraction = Fraction(0)
    step: Fraction = Fraction(0)
    """The last one, which stands in for durations that FFmpeg does not know behind a splice."""
    pending: _Break | None = None
    breaks: list[_Break] = field(default_factory=list)
    numbers: tuple[int, int] = (0, 0)
    """The first and the last packet's, among those of all streams."""

    def push(self, number: int, counts: dict[int, int], time: Fraction, duration: Fraction, is_key: bool) -> None:
        """Take the next packet. `counts` are the packets of each stream before it."""
        duration = duration or self.step
        if self.last is None:
            self.begin, self.last, self.end, self.numbers = time, time, time + duration, (number, number)
            return
        self.numbers = (self.numbers[0], number)
        if self.pending is not None:
            found, self.pending = self.pending, None
            if found.jump > 0:
                is_confirmed = abs(time - found.first) < abs(time - self.last)
            else:
                is_confirmed = time < self.last and (time != found.first if self.is_reordered else time > found.first)
            if is_confirmed:
                self.breaks.append(found)
                self.last, self.end, self.longest = found.first, found.first, Fraction(0)
        is_back = time < self.last and (is_key or not self.is_reordered)
        if is_back or time - self.end > JUMP:
            is_long = time - self.last > UNUSUAL * self.longest
            self.pending = _Break(number, dict(counts), time, self.end, is_long)
            return
        self.step = max(time - self.last, Fraction(0))
        self.longest = max(self.longest, self.step)
        self.last = max(self.last, time)
        self.end = max(self.end, time + duration) if self.is_reordered else time + duration


def splices_of(container: InputContainer, path: Path) -> Splices:
    """Return the splices of an open file: where its clock cannot step or jump, it is not opened again."""
    return find_splices(path) if _can_be_joined(container, path) else Splices()


def find_splices(path: Path) -> Splices:
    """Read all packets of a recording and find where its clock steps back or jumps: MPEG-TS and MPEG-PS, FLV, Ogg,
    playlists, fragmented MP4, and Matroska behind which another one begins. Other files and pipes have none. MPEG
    recordings of several gigabytes are read only if their clock, looked at in many places, does so from one to the
    next.
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


def _can_be_joined(container: InputContainer, path: Path) -> bool:
    """Return whether the format allows joins and the file is not known to be in one piece."""
    if not path.is_file():
        return False
    names = set(container.format.name.split(","))
    if "matroska" in names:
        return _is_followed(path)
    return has_arbitrary_clock(container) or bool(names & CONTINUED) or is_fragmented(container, path)


def _is_followed(path: Path) -> bool:
    """Return whether another Matroska file begins behind the first one."""
    if path.stat().st_size <= len(EBML):
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(EBML, max(len(EBML), stated_size(path))) >= 0


def _may_be_joined(path: Path, size: int) -> bool:
    """Return whether a large MPEG recording has to be read to its end."""
    last: dict[int, int] = {}
    known, steps = 0, []
    with path.open("rb") as file:
        for number in range(PLACES):
            file.seek(size * number // PLACES)
            clocks = clocks_at(file.read(PIECE))
            known += bool(clocks)
            if any(clock < last.get(program, clock) for program, clock in clocks.items()):
                return True
            steps += [clock - last[program] for program, clock in clocks.items() if program in last]
            last |= clocks
    jumped = bool(steps) and max(steps) > UNUSUAL * (median(steps) + JUMP * 90_000)
    return jumped or known < PLACES // 2


@lru_cache(maxsize=8)
def _found(path: Path, size: int, changed: int) -> Splices:
    with open_container(path) as container:
        if not _can_be_joined(container, path):
            return Splices()
        if has_arbitrary_clock(container) and size > READ_WHOLE and not _may_be_joined(path, size):
            return Splices()
        video, is_mp4 = find_video(container, path), is_fragmented(container, path)
        is_reordered = "matroska" in container.format.name  # which stores no decoding times
        tracks = {stream.index: _Track(False) for stream in container.streams if stream.type == "audio"}
        tracks[video.index] = _Track(is_reordered)
        counts = {stream.index: 0 for stream in container.streams}
        packets = (packet for packet in container.demux() if packet.size)
        try:
            for number, packet in enumerate(packets):
                index, track = packet.stream_index, tracks.get(packet.stream_index)
                stamp = packet.pts if track is not None and track.is_reordered else packet.dts
                if track is not None and stamp is not None and (is_mp4 or not packet.is_discard):
                    base = time_base(packet.stream)
                    track.push(number, counts, stamp * base, (packet.duration or 0) * base, packet.is_keyframe)
                counts[index] = counts.get(index, 0) + 1
        except (av.error.FFmpegError, OSError):
            pass  # the reader tells of damage
        return _combined(tracks, video.index, len(counts))


def _combined(tracks: dict[int, _Track], video: int, streams: int) -> Splices:
    """Return the interruptions that pictures and sound have in common."""
    pictures = tracks[video]
    starts: list[list[int]] = [[] for _ in range(streams)]
    offsets = [Fraction(0)]
    for found in pictures.breaks:
        sounds = {
            index: _counterpart(track, found, pictures.breaks)
            for index, track in tracks.items()
            if index != video and track.numbers[0] < found.number < track.numbers[1]
        }
        alike = {index: other for index, other in sounds.items() if other is not None}
        if found.jump > 0 and (len(alike) < len(sounds) or not found.is_long):
            continue  # a pause
        if (not alike) if sounds else (0 < found.jump < LONE_JUMP):
            continue
        for index, of_stream in enumerate(starts):
            of_stream.append(alike.get(index, found).counts.get(index, 0))
        # Of all streams' the largest: none begins before it has ended, and they stay as they were to each other.
        offsets.append(offsets[-1] - min(part.jump for part in (found, *alike.values())))
    if len(offsets) == 1:
        return Splices()
    duration = pictures.end + offsets[-1] - (pictures.begin or 0)
    return Splices(tuple(tuple(of_stream) for of_stream in starts), tuple(offsets), duration)


def _counterpart(track: _Track, found: _Break, others: list[_Break]) -> _Break | None:
    """The break of another stream at the same place: it is as long, and nearest to this one of all of the pictures'."""
    near = min(track.breaks, key=lambda one: abs(one.number - found.number), default=None)
    if near is None or abs(near.jump - found.jump) > JUMP:
        return None
    return near if min(others, key=lambda one: abs(one.number - near.number)) is found else None


# Repair of timestamps that are missing, repeated or run backwards.

Item = TypeVar("Item")

# Frames held back while waiting for a usable timestamp; after so many the nominal step is used.
LOOKAHEAD = 16


def plausible_times(
    items: Iterable[tuple[Fraction | None, Fraction, Item]], latest: Fraction | None
) -> Iterator[tuple[Fraction | None, Fraction, Item]]:
    """The items of `repair_times`, without the times that cannot be true: one that is hours off would give millions of
    frames.

    Such a time lies after `latest`, where the file claims to have ended, *and* disagrees with its neighbours: it is
    unusually far from the one before it, and no later one follows. Claims alone may be wrong.
    """
    last: Fraction | None = None
    longest = Fraction(0)
    held: tuple[Fraction, Fraction, Item] | None = None
    for time, step, item in items:
        if held is not None:
            is_followed = time is not None and time > held[0]
            yield held[0] if is_followed else None, held[1], held[2]
            last, held = held[0] if is_followed else last, None
        if time is None:
            yield time, step, item
            continue
        if latest is not None and time > latest and (last is None or time - last > UNUSUAL * longest):
            held = time, step, item
            continue
        if last is not None:
            longest = max(longest, time - last)
        last = time
        yield time, step, item
    if held is not None:
        yield None, held[1], held[2]


def repair_times(
    items: Iterable[tuple[Fraction | None, Fraction, Item]],
    tick: Fraction,
    problems: list[str],
    begin: Fraction = Fraction(0),
) -> Iterator[tuple[Fraction, Item]]:
    """Give every item a time, strictly increasing.

    `items` are (time or None, nominal duration > 0, item), in the order they are shown. A good timestamp is
    never moved. Items whose time is missing or not after the one before are spread evenly between their good
    neighbours; at the start they are placed before the first good one (more than `LOOKAHEAD` of them from `begin`
    on), at the end (or after `LOOKAHEAD` bad ones in a row) after the last good one, one nominal duration apart. They
    are placed whole ticks away, as all other times are; a neighbour that leaves too few ticks counts as bad itself. No
    item is dropped. What was done is reported in `problems` at the end, unless there are no times at all, as in bare
    streams of a codec.
    """
    previous: Fraction | None = None
    held: list[tuple[Fraction, Item]] = []
    repaired, good = 0, False
    first_bad: Fraction | None = None

    for time, step, item in items:
        room = previous is None or time is None or time - previous >= tick * (len(held) + 1)
        if time is None or (previous is not None and time <= previous) or not room:
            held.append((step, item))
            is_before_zero = (
                begin < 0 and not good
            )  # Matroska cannot store such times; nothing is wrong with the frames
            repaired += not is_before_zero
            if first_bad is None and not is_before_zero:
                first_bad = previous if previous is not None else Fraction(0)
            if len(held) == LOOKAHEAD:
                placed = _continue(previous, held, tick, begin)
                yield from placed
                previous, held = placed[-1][0], []
            continue
        if held:
            gap = held[0][0] if previous is None else (time - previous) / (len(held) + 1)
            gap = max(tick, gap)
            for number, (_, kept) in enumerate(held):
                yield time - tick * round(gap * (len(held) - number) / tick), kept
            held = []
        previous, good = time, True
        yield time, item
    yield from _continue(previous, held, tick, begin)
    if repaired and first_bad is not None and good:
        problems.append(
            f"{repaired} frames had a missing or backward timestamp (the first near {float(first_bad):.3f} s) "
            "and were placed between their neighbours."
        )


def _continue(
    previous: Fraction | None, held: list[tuple[Fraction, Item]], tick: Fraction, begin: Fraction
) -> list[tuple[Fraction, Item]]:
    """Place items one nominal duration, in whole ticks, apart after `previous`, or from `begin` where there is none."""
    placed = []
    for step, item in held:
        previous = begin if previous is None else previous + tick * max(1, round(step / tick))
        placed.append((previous, item))
    return placed
