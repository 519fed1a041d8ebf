"""Copies the source's other streams into the output: packets keep their bytes, only their times are moved."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import InputContainer, OutputContainer
from av.stream import Discard

from safa.video.read.source import bare_copy, is_cover, open_container, time_base
from safa.video.read.splices import PacketClock
from safa.video.remux.audio_priming import padded_template
from safa.video.remux.stream_plan import StreamPlan, add_copy, add_cover, kept_metadata
from safa.video.remux.stretch import Stretcher

TimedPacket = tuple[Fraction, Any]  # decoding time in seconds, packet ready for the output
PREROLL = Fraction(3, 10)  # seconds of sound that a decoder may need before those that are heard
EMPTY_TEXT = b"\0\0"  # what MP4 puts where no subtitle is shown; muxers add and drop them at will


@dataclass
class CopiedStream:
    """What went into one stream: first packet's time on the output's clock, number of packets, their bytes.

    `has_packets`: False for PCM, which is one run of samples, and for subtitle pictures of Blu-ray, whose parts are one
    packet in some containers and several in others.
    """

    kind: str
    has_packets: bool = True
    first: Fraction | None = None
    packets: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def count(self, time: Fraction, data: bytes) -> None:
        """Take one packet into the figures."""
        if self.kind == "subtitle" and data == EMPTY_TEXT:
            return
        self.first = time if self.first is None else self.first
        self.packets += 1
        self.digest.update(data)


class StreamCopier:
    """Copies the planned streams of a source into an output. `copied` is complete once `packets` is exhausted."""

    def __init__(self, container: OutputContainer, plan: StreamPlan, end: Fraction) -> None:
        """Add the streams and chapters; `end` is the end of the video on the output's clock."""
        self._plan, self._end = plan, end
        self._source = open_container(plan.source)
        self._records: dict[int, CopiedStream] = {}
        self._outputs: dict[int, Any] = {}
        self._stretchers: dict[int, Stretcher] = {}
        self._may_repeat = container.format.name in ("matroska", "webm")
        self._covers: list[int] = []  # those that are attachments in the output
        # In the source's order, so that the first sound track stays the first.
        for index in sorted(plan.copied + plan.stretched):
            stream = self._source.streams[index]
            self._records[index] = CopiedStream(stream.type, has_packets=not _is_one_run(stream))
            if is_cover(stream) and container.format.name == "matroska":
                self._covers.append(index)
                add_cover(container, plan.source, index, len(self._covers) - 1)
            elif index in plan.stretched:
                self._stretchers[index] = Stretcher(container, stream, plan.slow, kept_metadata(stream.metadata))
            else:
                self._outputs[index] = _add_output(container, self._source, plan, index)
        if plan.chapters:
            container.set_chapters(list(_chapters(self._source, plan, end)))

    @property
    def copied(self) -> list[CopiedStream]:
        """The figures of the streams, in the output's order."""
        return list(self._records.values())

    def packets(self) -> Iterator[TimedPacket]:
        """All packets, in the source's order, on the output's clock."""
        source = self._source
        wanted = [
            source.streams[index]
            for index in self._records
            if source.streams[index].type != "attachment" and index not in self._covers
        ]
        for stream in source.streams:
            if stream not in wanted:
                stream.discard = Discard.all
        last_dts: dict[int, int] = {}
        clock = PacketClock(source, self._plan.source)
        with source:
            packet: Any
            for packet in played(source.demux(wanted) if wanted else (), clock):
                index = packet.stream_index
                fill_times(packet, last_dts.get(index), self._may_repeat or packet.stream.type == "subtitle")
                last_dts[index] = packet.dts
                if self._is_inside(packet):
                    yield from self._moved(packet, index)
            for index, stretcher in self._stretchers.items():
                yield from self._counted(stretcher.finish(), index)

    def _is_inside(self, packet: Any) -> bool:
        plan = self._plan
        if is_cover(packet.stream):
            return True
        time = packet.pts * packet.time_base - plan.origin
        if (plan.is_cut or plan.is_part) and time * plan.slow >= self._end:
            return False
        if packet.stream.type == "subtitle":  # what is gone when the result begins, such as a stale one, is never seen
            return bool(time >= 0 or time + (packet.duration or 0) * packet.time_base > 0)
        return bool(time >= 0 or not plan.is_cut)

    def _moved(self, packet: Any, index: int) -> Iterator[TimedPacket]:
        """The packet on the output's clock, or what the stretcher makes of it."""
        plan, base = self._plan, packet.time_base
        if index in self._stretchers:
            packets = self._stretchers[index].push(packet, plan.origin)
            yield from self._counted(packets, index)
            return
        if packet.has_sidedata(
            "new_extradata"
        ):  # repeated where a recording was joined; Matroska's header would be, too
            packet = bare_copy(packet)
        # One whole number of ticks for all packets of a stream, so that the spacing between them is untouched.
        shift = round(plan.origin / base)
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        if packet.stream.type == "subtitle" and packet.pts < 0:
            packet.duration, packet.pts, packet.dts = packet.duration + packet.pts, 0, 0
        if plan.slow != 1:
            packet.duration = round((packet.duration or 0) * plan.slow)
            packet.pts, packet.dts = round(packet.pts * plan.slow), round(packet.dts * plan.slow)
        time = packet.pts * base
        self._records[index].count(time, payload(packet))
        packet.stream = self._outputs[index]
        yield packet.dts * base, packet

    def _counted(self, packets: list[Any], index: int) -> Iterator[TimedPacket]:
        for packet in packets:
            self._records[index].count(packet.pts * packet.time_base, bytes(packet))
            yield packet.dts * packet.time_base, packet


def played(packets: Iterable[Any], clock: PacketClock | None = None) -> Iterator[Any]:
    """The packets that an edit list does not cut away, and of sound the few before the first of them, from which its
    decoder starts. Their times are corrected by `clock`.
    """
    waiting: dict[int, deque[Any]] = {}
    begun: set[int] = set()
    for packet in packets:
        if not packet.size:
            continue
        packet = packet if clock is None else clock.correct(packet)
        index = packet.stream_index
        if packet.is_discard:
            if index not in begun and packet.stream.type == "audio" and packet.pts is not None:
                early = waiting.setdefault(index, deque())
                early.append(packet)
                while (packet.pts - early[0].pts) * packet.time_base > PREROLL:
                    early.popleft()
            continue
        begun.add(index)
        for one in waiting.pop(index, ()):
            if packet.pts is not None and 0 < (packet.pts - one.pts) * packet.time_base <= PREROLL:
                yield one
        yield packet


def _is_one_run(stream: Any) -> bool:
    """Return whether containers cut the stream into packets as they like, so that only all of its bytes count."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""
    is_pcm = stream.type == "audio" and codec.startswith("pcm_")
    # Some E-AC-3 has less than the six blocks in a packet that MP4 wants.
    return is_pcm or codec in ("hdmv_pgs_subtitle", "eac3")


def fill_times(packet: Any, last_dts: int | None, may_repeat: bool = False) -> None:
    """Give a packet of a damaged file the times that every container needs; others are left as they are.

    ``may_repeat``: several packets may have one time, as signs have that are shown together.
    """
    if packet.dts is None:
        packet.dts = packet.pts if packet.pts is not None else (0 if last_dts is None else last_dts + 1)
    if last_dts is not None and (packet.dts < last_dts or (packet.dts == last_dts and not may_repeat)):
        packet.dts = last_dts + (0 if may_repeat else 1)
    if packet.pts is None or packet.pts < packet.dts:
        packet.pts = packet.dts


def payload(packet: Any) -> bytes:
    """A packet's coded bytes without the ADTS header that AAC carries in MPEG-TS and must not carry elsewhere."""
    data = bytes(packet)
    if data[:1] == b"\xff" and data[1] & 0xF6 == 0xF0 and packet.stream.codec_context.codec.canonical_name == "aac":
        return data[7 if data[1] & 1 else 9 :]
    return data


def _add_output(container: OutputContainer, source: InputContainer, plan: StreamPlan, index: int) -> Any:
    stream: Any = source.streams[index]
    # A Matroska source has its padding in the header that is copied; a cut one has no packets before 0.
    if stream.type == "audio" and "matroska" not in source.format.name and not plan.is_cut:
        lead = plan.origin - _first_time(plan.source, index)
        if container.format.name in ("matroska", "webm") and lead > 0:
            held, template = padded_template(stream, lead)
            with held:
                return add_copy(container, template, stream)
    return add_copy(container, stream, stream)


def _first_time(path: Path, index: int) -> Fraction:
    """Time of the first packet of a stream that is copied; `start_time` in the headers leaves out encoder padding."""
    with open_container(path) as container:
        stream = container.streams[index]
        for packet in played(container.demux(stream)):
            if packet.pts is not None:
                return packet.pts * time_base(stream)
    return Fraction(0)


def _chapters(source: InputContainer, plan: StreamPlan, end: Fraction) -> Iterator[Any]:
    """The source's chapters on the output's clock, those outside it left out."""
    for chapter in source.chapters():
        base = chapter["time_base"]
        assert base is not None
        begins = max(Fraction(0), (chapter["start"] * base - plan.origin) * plan.slow)
        ends = (chapter["end"] * base - plan.origin) * plan.slow
        is_short = plan.is_cut or plan.is_part
        if ends <= 0 or (is_short and begins >= end):
            continue
        ends = min(ends, end) if is_short else ends
        yield {**chapter, "start": round(begins / base), "end": round(ends / base)}
