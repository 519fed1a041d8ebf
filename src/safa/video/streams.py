"""Copied streams whose codec a container takes although it is not in its list.

PyAV asks for that list alone. Matroska also holds every sound that WAV has a number for (WMA, ADPCM, mu-law, AMR ...).
So a stream of a listed codec is added, and its header replaced: a bitstream filter that changes nothing copies one.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition

from safa.video.audio_stretch import LAYOUTS, Stretcher, can_stretch, encoded_rate, stretch_codec
from safa.video.colour import Mastering
from safa.video.containers import bare_copy, find_video, is_cover, open_container, time_base
from safa.video.encoder import OutputSpec
from safa.video.info import StreamInfo, VideoInfo
from safa.video.timestamps import PacketClock

LISTED = {"webm": "opus"}
# Sound that has a number in WAV and yet is known to hardly any player there.
UNUSUAL = {"aac_latm"}


def add_template(container: OutputContainer, template: Any) -> Any:
    """Add a stream with the header of `template`. Raises ValueError where the container is known not to take it; of
    sound beyond the list, writing the header shows it.
    """
    try:
        return container.add_stream_from_template(template, opaque=True)
    except ValueError:
        context = template.codec_context
        if template.type != "audio" or context is None or context.codec.canonical_name in UNUSUAL:
            raise
    with av.open(io.BytesIO(), "w", format="nut") as other:
        plain = other.add_stream_from_template(template, opaque=True)  # without the tag of the source's container
        stream = container.add_mux_stream(LISTED.get(container.format.name, "aac"))
        BitStreamFilterContext("null", plain, stream)
    stream.time_base = template.time_base
    return stream


# Encoder padding of copied sound, declared to Matroska.

TITLE = b"PADDING!"
TITLE_ELEMENT = b"\x53\x6e\x88" + TITLE  # EBML: id of Name, length 8, text
DELAY_ELEMENT = b"\x56\xaa\x88"  # EBML: id of CodecDelay, length 8; nanoseconds follow


def padded_template(stream: Any, seconds: Fraction) -> tuple[InputContainer, Any]:
    """Return a copy of an audio `stream`'s header that declares `seconds` of padding, and its container."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska", container_options={"write_crc32": "0"}) as header:
        copy = add_template(header, stream)
        copy.metadata["title"] = TITLE.decode()
        packet = av.Packet(bytes(16))
        packet.pts = packet.dts = 0
        packet.time_base = Fraction(1, 1000)
        packet.stream = copy
        header.mux(packet)
    nanoseconds = round(seconds * 10**9)
    patched = buffer.getvalue().replace(TITLE_ELEMENT, DELAY_ELEMENT + nanoseconds.to_bytes(8, "big"), 1)
    container = av.open(io.BytesIO(patched), "r", format="matroska")
    return container, container.streams.audio[0]


# Which of the source's other streams the output can hold: decided and reported before any work is done.

# Outputs that hold pictures and nothing else.
SILENT = {"gif", "webp", "png", "yuv4mpegpipe"}
# What a cover picture may be coded in, by container.
COVERS = {"mp4": ("mjpeg", "png", "bmp"), "matroska": ("mjpeg", "png")}
# How a display matrix begins that leaves the picture as it is.
UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16)
# Written by muxers about the file they made; wrong in another file.
TECHNICAL = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "timecode",
    "rotate",
    "handler_name",
    "vendor_id",
    "alpha_mode",
}


@dataclass(frozen=True)
class StreamPlan:
    """Streams of `source` that go into the output.

    `origin` (seconds, file time) is subtracted from all their times: take it from the reader. With `is_cut`,
    only what lies between `origin` and the end of the video is taken; with `is_part`, only what lies before that end.
    `slow` stretches their times; sound is then encoded again at its own pitch (`stretched`), and so is sound that the
    output cannot hold as it is; all else is copied untouched (`copied`).
    `warnings` names each stream that is left out. `clocks` are the ticks a second that the streams count in
    in MP4.
    `video_metadata` and `video_disposition` are the video stream's own (language, title; default, forced ...).
    """

    source: Path
    origin: Fraction = Fraction(0)
    is_cut: bool = False
    slow: Fraction = Fraction(1)
    copied: tuple[int, ...] = ()
    stretched: tuple[int, ...] = ()
    chapters: bool = False
    warnings: tuple[str, ...] = ()
    clocks: tuple[int, ...] = ()
    video_metadata: dict[str, str] = field(default_factory=dict)
    video_disposition: int = 0
    is_part: bool = False

    @property
    def is_empty(self) -> bool:
        """Return whether nothing of the source but its video is taken, so that it need not be opened again."""
        return not (self.copied or self.stretched or self.chapters)


def plan_streams(
    info: VideoInfo,
    spec: OutputSpec,
    origin: Fraction,
    is_cut: bool = False,
    audio: bool = True,
    slow: Fraction = Fraction(1),
) -> StreamPlan:
    """Decide what of `info.path` beside the video goes into the output. `origin` and `is_cut` are the reader's.

    Sound is left out without a warning if `audio` is off. Raises MediaError if the source cannot be opened again.
    """
    copied: list[int] = []
    stretched: list[int] = []
    warnings = not_kept(info, spec)
    if info.container in ("pictures", "yuv4mpegpipe"):  # nothing beside the pictures, and a pipe is read once
        return StreamPlan(Path(info.path), origin, is_cut, slow, warnings=tuple(warnings))
    with open_container(Path(info.path)) as container:
        for stream in info.streams:
            if stream.kind == "audio" and not audio:
                continue
            if spec.container in SILENT:
                warnings.append(_left_out(stream, spec))
            elif stream.kind == "audio" and slow != 1:
                if can_stretch(Path(info.path), stream.index, spec.container, slow):
                    stretched.append(stream.index)
                else:
                    warnings.append(_left_out(stream, spec, "stretched for"))
            elif _fits(container, stream, spec):
                copied.append(stream.index)
            elif stream.kind == "audio" and can_stretch(Path(info.path), stream.index, spec.container, slow):
                stretched.append(stream.index)
                warnings.append(
                    f"{_named(stream)} cannot be copied into {spec.path.suffix} and is encoded again as "
                    f"{stretch_codec(spec.container)}."
                )
            elif not _is_chapter_track(container, stream):
                warnings.append(_left_out(stream, spec))
        chapters = bool(container.chapters())
        if chapters and spec.container in SILENT:
            warnings.append(f"chapters cannot be kept in {spec.path.suffix or 'a pipe'} and are left out.")
        video = find_video(container, Path(info.path))
        clocks = {_ticks(container.streams[index]) for index in copied}
        sounds: list[Any] = [container.streams[index] for index in stretched]
        clocks |= {encoded_rate(spec.container, sound.rate) for sound in sounds}
    return StreamPlan(
        Path(info.path),
        origin,
        is_cut,
        slow,
        tuple(copied),
        tuple(stretched),
        chapters and spec.container not in SILENT,
        tuple(warnings),
        tuple(sorted(clocks)),
        kept_metadata(video.metadata),
        int(video.disposition),
    )


def _ticks(stream: Any) -> int:
    """Ticks a second of a copied stream in MP4 and MOV, which count samples of sound."""
    rate = stream.codec_context.sample_rate if stream.type == "audio" and stream.codec_context else 0
    return rate or time_base(stream).denominator


def not_kept(info: VideoInfo, spec: OutputSpec) -> list[str]:
    """Return one sentence for each property of the video's pictures that the output cannot state."""
    place = spec.path.suffix or "a pipe"
    warnings = []
    pictures = spec.container in SILENT
    if pictures and info.mastering != Mastering():
        warnings.append(f"HDR mastering data (display, light levels) cannot be kept in {place} and is left out.")
    elif info.mastering.is_partial:
        warnings.append(f"only half of the HDR mastering data is in the source; {place} may not keep that.")
    if pictures and info.display_matrix is not None and info.display_matrix[:5] != UPRIGHT:
        warnings.append(f"players turn or mirror this video; {place} cannot store that and holds it as it is stored.")
    if spec.container in ("gif", "webp", "png") and spec.sample_aspect_ratio != 1:
        warnings.append(f"{place} cannot say that its pixels are {spec.sample_aspect_ratio} as wide as high.")
    if tags := _lost_tags(info, spec):
        warnings.append(f"{place} cannot hold the source's tags {', '.join(tags)}; they are left out.")
    warnings += [f"the source's frames carry {kind}, which cannot be kept." for kind in info.not_carried]
    return warnings


def add_copy(container: OutputContainer, template: Any, source: Any) -> Any:
    """Add a stream that takes the packets of `source` as they are; its header comes from `template`."""
    stream = add_template(container, template)
    _name_layout(stream)
    stream.metadata.update(kept_metadata(source.metadata))
    # MP4's muxer knows a cover by this flag alone.
    stream.disposition = Disposition.attached_pic if is_cover(source) else source.disposition
    return stream


def _name_layout(stream: Any) -> None:
    """Say what the channels of sound are where the source gives only their number (PCM in AVI and Matroska)."""
    if stream.type != "audio" or stream.codec_context is None:
        return
    layout = stream.codec_context.layout
    unnamed = layout is not None and all(channel.name == "NONE" for channel in layout.channels)
    if unnamed and layout.nb_channels in LAYOUTS:
        stream.codec_context.layout = LAYOUTS[layout.nb_channels][0]


def add_cover(container: OutputContainer, source: Path, index: int, number: int) -> None:
    """Add a cover picture to Matroska, which has it as an attachment; `number` counts them from 0."""
    with open_container(source) as original:
        stream = original.streams[index]
        data = next(bytes(packet) for packet in original.demux(stream) if packet.size)
        kind, suffix = ("image/png", "png") if stream.codec_context.name == "png" else ("image/jpeg", "jpg")
        name = stream.metadata.get("filename") or f"cover{number or ''}.{suffix}"
        container.add_attachment(name, stream.metadata.get("mimetype") or kind, data)


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata that is about the work, not about the file that it was in."""
    if "name" in metadata and "title" not in metadata:
        metadata = {**metadata, "title": metadata["name"]}  # what MP4 and MOV call a track's title
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in TECHNICAL and not key.upper().startswith(("DURATION", "_STATISTICS", "NUMBER_OF_", "BPS"))
    }


def _lost_tags(info: VideoInfo, spec: OutputSpec) -> list[str]:
    """Names of the file's tags that the container does not take: a header with them is written to memory and read."""
    tags = kept_metadata(info.metadata)
    if not tags or spec.container in SILENT:
        return sorted(tags)
    if spec.container in ("matroska", "webm"):
        return []  # these take any
    file = io.BytesIO()
    with av.open(file, "w", format=spec.container) as trial:
        trial.metadata.update(tags)
        trial.add_stream("mpeg4", rate=24, width=16, height=16, pix_fmt="yuv420p")
        trial.start_encoding()
    file.seek(0)
    with av.open(file, "r", format=spec.container) as written:
        found = {name.lower() for name in written.metadata}
    return sorted(name for name in tags if name.lower() not in found)


def _fits(source: InputContainer, stream: StreamInfo, spec: OutputSpec) -> bool:
    """Return whether the container takes the stream: its header, and of sound a packet, is written to memory."""
    original: Any = source.streams[stream.index]
    if stream.kind == "video" and not is_cover(original):
        return False  # a second film; which one is meant cannot be known
    if stream.kind == "video":
        return stream.codec in COVERS.get(spec.container, ())  # the other muxers take it and write nothing
    if stream.kind == "attachment" and spec.container != "matroska":
        return False  # likewise
    if stream.kind in ("data", "unknown"):
        return False
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=spec.container) as trial:
            added = add_copy(trial, original, original)
            trial.start_encoding()
            if stream.kind == "audio" and (packet := _first_packet(Path(source.name), stream.index)) is not None:
                packet.stream = added
                trial.mux(packet)
        return stream.kind != "audio" or added.codec_context is not None or _first_codec(file) == stream.codec
    except (av.error.FFmpegError, ValueError):
        return False


def _first_codec(file: io.BytesIO) -> str | None:
    """Return FFmpeg's name of the codec of the first stream in a file; None where it does not know it."""
    file.seek(0)
    with av.open(file) as written:
        stream: Any = written.streams[0]
        return stream.codec_context.codec.canonical_name if stream.codec_context is not None else None


def _is_chapter_track(source: InputContainer, stream: StreamInfo) -> bool:
    """Return whether it is MP4's track of chapter titles, which are kept as chapters."""
    is_unread = source.streams[stream.index].discard == Discard.all
    return stream.kind == "data" and stream.codec == "bin_data" and is_unread and bool(source.chapters())


def _first_packet(path: Path, index: int) -> Any:
    """Return the first packet of a stream, with times from 0; None if it has none."""
    with open_container(path) as container:
        for packet in container.demux(container.streams[index]):
            if packet.size:
                packet.pts = packet.dts = 0
                return packet
    return None


def _left_out(stream: StreamInfo, spec: OutputSpec, done: str = "copied into") -> str:
    return f"{_named(stream)} cannot be {done} {spec.path.suffix or 'a pipe'} and is left out."


def _named(stream: StreamInfo) -> str:
    language = f", {stream.language}" if stream.language and stream.language != "und" else ""
    kind = "cover picture, video" if stream.is_cover else stream.kind
    return f"{kind} stream {stream.index} ({stream.codec}{language})"


# Copies the source's other streams into the output: packets keep their bytes, only their times are moved.

TimedPacket = tuple[Fraction, Any]  # decoding time in seconds, packet ready for the output
PREROLL = Fraction(3, 10)  # seconds of sound that a decoder may need before those that are heard
EMPTY_TEXT = b"\0\0"  # what MP4 puts where no subtitle is shown; muxers add and drop them at will


@dataclass
class CopiedStream:
    """Packets of one copied stream: first packet's time on the output's clock, number of packets, their bytes.

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
        """Return the figures of the streams, in the output's order."""
        return list(self._records.values())

    def packets(self) -> Iterator[TimedPacket]:
        """Yield all packets in the source's order, on the output's clock."""
        source = self._source
        expected = [
            source.streams[index]
            for index in self._records
            if source.streams[index].type != "attachment" and index not in self._covers
        ]
        for stream in source.streams:
            if stream not in expected:
                stream.discard = Discard.all
        last_dts: dict[int, int] = {}
        clock = PacketClock(source, self._plan.source)
        with source:
            packet: Any
            for packet in played(source.demux(expected) if expected else (), clock):
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
        """Yield the packet on the output's clock, or the packets that the stretcher makes of it."""
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
    """Return a packet's coded bytes without the ADTS header that AAC has in MPEG-TS and must not have elsewhere."""
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
    """Return the source's chapters on the output's clock, without those outside it."""
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
