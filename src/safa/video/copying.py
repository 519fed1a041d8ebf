"""The source's streams besides the video: which of them the output can hold, and their packets, untouched."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Discard

from safa.errors import SafaError
from safa.video.output import OutputSpec
from safa.video.padding import padded_template
from safa.video.source import StreamInfo, VideoInfo, open_container, time_base


@dataclass(frozen=True)
class StreamPlan:
    """Which streams of `source` go into the output, decided before work starts.

    `origin` (seconds, file time) is subtracted from all their times: take it from the reader. With `is_cut`,
    only packets from `origin` until the end of the video are taken. `warnings` names each stream that is left
    out. `clocks` are the ticks a second that the copied streams count in.
    """

    source: Path
    origin: Fraction = Fraction(0)
    is_cut: bool = False
    streams: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    clocks: tuple[int, ...] = ()


@dataclass
class CopiedStream:
    """What was copied of one stream: first packet's time on the output's clock, number of packets, their bytes."""

    index: int
    kind: str
    first: Fraction | None = None
    packets: int = 0
    digest: Any = field(default_factory=hashlib.sha256)


def plan_streams(
    info: VideoInfo, spec: OutputSpec, origin: Fraction, is_cut: bool = False, audio: bool = True
) -> StreamPlan:
    """Decide which streams of `info.path` the output can hold. `origin` and `is_cut` are the reader's."""
    chosen: list[int] = []
    warnings: list[str] = []
    with open_container(Path(info.path)) as container:
        for stream in info.streams:
            if stream.kind == "audio" and not audio:
                continue
            if stream.kind == "audio" and _fits(container, stream, spec):
                chosen.append(stream.index)
            else:
                warnings.append(_left_out(stream, spec))
        clocks = tuple(time_base(container.streams[index]).denominator for index in chosen)
    return StreamPlan(Path(info.path), origin, is_cut, tuple(chosen), tuple(warnings), clocks)


def copied_packets(
    container: OutputContainer, plan: StreamPlan, end: Fraction
) -> tuple[list[CopiedStream], Iterator[tuple[Fraction, Any]]]:
    """Add the planned streams to `container`; return their counts, filled as the packets are taken, and the
    packets.

    The packets come as (decoding time in seconds, packet) in the source's order, on the output's clock. `end`
    is the end of the video on that clock.
    """
    if not plan.streams:
        return [], iter(())
    source = open_container(plan.source)
    copied = [CopiedStream(index, source.streams[index].type) for index in plan.streams]
    outputs = {index: _add_output(container, source, plan, index) for index in plan.streams}
    return copied, _packets(source, plan, end, copied, outputs)


def _packets(
    source: InputContainer,
    plan: StreamPlan,
    end: Fraction,
    copied: list[CopiedStream],
    outputs: dict[int, Any],
) -> Iterator[tuple[Fraction, Any]]:
    records = {record.index: record for record in copied}
    # One whole number of ticks for all packets of a stream, so that the spacing between them is untouched.
    shifts = {index: round(plan.origin / time_base(source.streams[index])) for index in plan.streams}
    last_dts: dict[int, int] = {}
    for stream in source.streams:
        if stream.index not in records:
            stream.discard = Discard.all
    with source:
        packet: Any
        for packet in source.demux([source.streams[index] for index in plan.streams]):
            index = packet.stream_index
            if not packet.size:
                continue
            _fill_times(packet, last_dts.get(index))
            packet.pts -= shifts[index]
            packet.dts -= shifts[index]
            last_dts[index] = packet.dts + shifts[index]
            time = packet.pts * packet.time_base
            if plan.is_cut and not 0 <= time < end:
                continue
            record = records[index]
            record.first = time if record.first is None else record.first
            record.packets += 1
            record.digest.update(payload(packet, record.kind))
            packet.stream = outputs[index]
            yield packet.dts * packet.time_base, packet


def _fill_times(packet: Any, last_dts: int | None) -> None:
    """Give a packet of a damaged file the times that every container needs; whole files are left as they are."""
    if packet.dts is None:
        packet.dts = packet.pts if packet.pts is not None else (0 if last_dts is None else last_dts + 1)
    if last_dts is not None and packet.dts <= last_dts:
        packet.dts = last_dts + 1
    if packet.pts is None or packet.pts < packet.dts:
        packet.pts = packet.dts


def payload(packet: Any, kind: str) -> bytes:
    """A packet's coded bytes without the ADTS header that AAC carries in MPEG-TS and must not carry elsewhere."""
    data = bytes(packet)
    if (
        kind == "audio"
        and packet.stream.codec_context.name == "aac"
        and data[:1] == b"\xff"
        and data[1] & 0xF6 == 0xF0
    ):
        return data[7 if data[1] & 1 else 9 :]
    return data


def _add_output(container: OutputContainer, source: InputContainer, plan: StreamPlan, index: int) -> Any:
    stream = source.streams[index]
    # A Matroska source has its padding in the header that is copied; a cut one has no packets before 0.
    if stream.type == "audio" and "matroska" not in source.format.name and not plan.is_cut:
        lead = plan.origin - _first_time(plan.source, index)
        if container.format.name in ("matroska", "webm") and 0 < lead < 1:
            held, template = padded_template(stream, lead)
            with held:
                return _add_copy(container, template, stream)
    return _add_copy(container, stream, stream)


def _add_copy(container: OutputContainer, template: Any, source: Any) -> Any:
    stream = container.add_stream_from_template(template, opaque=True)
    stream.metadata.update(source.metadata)
    stream.disposition = source.disposition
    return stream


def _first_time(path: Path, index: int) -> Fraction:
    """Time of the first packet of a stream; `start_time` in the headers leaves out encoder padding."""
    with open_container(path) as container:
        stream = container.streams[index]
        for packet in container.demux(stream):
            if packet.pts is not None:
                return packet.pts * packet.time_base
    return Fraction(0)


def _fits(source: InputContainer, stream: StreamInfo, spec: OutputSpec) -> bool:
    """Whether the container takes the stream: its header is written to memory to find out."""
    try:
        trial = av.open(io.BytesIO(), "w", format=spec.container)
        _add_copy(trial, source.streams[stream.index], source.streams[stream.index])
        trial.start_encoding()
        return True
    except (av.error.FFmpegError, ValueError, SafaError):
        return False


def _left_out(stream: StreamInfo, spec: OutputSpec) -> str:
    language = f", {stream.language}" if stream.language and stream.language != "und" else ""
    return (
        f"{stream.kind} stream {stream.index} ({stream.codec}{language}) cannot be copied into "
        f"{spec.path.suffix} and is left out."
    )
