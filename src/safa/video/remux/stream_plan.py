"""Which of the source's other streams the output can hold: decided and reported before any work is done."""

import io
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition

from safa.video.hdr import Mastering
from safa.video.read.info import StreamInfo, VideoInfo
from safa.video.read.source import find_video, is_cover, open_container, time_base
from safa.video.remux.stretch import LAYOUTS, can_stretch, encoded_rate, stretch_codec
from safa.video.remux.unlisted import add_template
from safa.video.write.encoder import OutputSpec

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
    """Which streams of `source` go into the output.

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
        """Whether nothing of the source but its video is taken, so that it need not be opened again."""
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
    """A sentence for everything that the video itself says about its pictures and the output cannot."""
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
    """Whether the container takes the stream: its header, and of sound a packet, is written to memory to find out."""
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
    """The first packet of a stream, with times from 0; None where it has none."""
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
