"""Opening a video file: what is in it, or one sentence on why it cannot be read."""

import json
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition, Stream

from safa.errors import MediaError
from safa.video.colour import Colour
from safa.video.hdr import Mastering
from safa.video.names import for_ffmpeg
from safa.video.read.side_data import lost_kinds, side_data

# Formats whose clock starts anywhere: a tuner's or a disc's. Elsewhere the start time is the author's.
ARBITRARY_CLOCK = {"mpeg", "mpegts", "mpegvideo", "vob", "dvd", "svcd"}
# FFmpeg reads these as pictures of text; nobody means that.
NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf"}


@dataclass(frozen=True)
class Frame:
    """One source frame.

    `time` and `duration` in seconds, exact, on the output's clock; `image` H,W,3 (H,W,4 with alpha) RGB,
    uint8 or, for sources deeper than 8 bits, uint16; always full range.
    """

    time: Fraction
    duration: Fraction
    image: np.ndarray


@dataclass(frozen=True)
class StreamInfo:
    """One stream that is not the video: `kind` is audio, subtitle, data, attachment, or video for a cover or another
    film. `layout`, such as "stereo", and `sample_rate` a second are those of sound.
    """

    index: int
    kind: str
    codec: str
    language: str | None
    title: str | None
    is_cover: bool = False
    layout: str | None = None
    sample_rate: int | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds. Times are in seconds on the clock of the *file* (see `VideoReader` for the
    policy).

    `width` and `height` are as stored, before `rotation` (degrees counter-clockwise, 0, 90, 180 or -90) and
    `sample_aspect_ratio` are applied for display. `display_matrix` is the full matrix where there is one.
    `not_carried` names what the first frame carries beside its pixels and no output can hold (HDR10+, captions ...).
    `colour` is as tagged; `colour.resolved(height)` is what it means.
    `frames` and `duration` are what the file claims, or None; `clock_zero` is the file time that players show
    as 0.
    """

    path: str
    container: str
    codec: str
    pixel_format: str
    width: int
    height: int
    bit_depth: int
    is_rgb: bool
    has_alpha: bool
    interlaced: bool
    rotation: int
    display_matrix: tuple[int, ...] | None
    sample_aspect_ratio: Fraction
    average_rate: Fraction
    time_base: Fraction
    start_time: Fraction
    clock_zero: Fraction
    duration: Fraction | None
    frames: int | None
    colour: Colour
    mastering: Mastering
    not_carried: tuple[str, ...]
    streams: tuple[StreamInfo, ...]
    metadata: dict[str, str]

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Width and height as they are seen, after `rotation`."""
        return (self.height, self.width) if abs(self.rotation) == 90 else (self.width, self.height)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values; Fractions become strings such as "30000/1001"."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain


def open_container(path: Path) -> InputContainer:
    """Open a media file, or "-" for YUV4MPEG2 on standard input. Raises MediaError: one sentence on what is wrong."""
    if str(path) == "-":
        return _open_standard_input()
    if not path.exists():
        raise MediaError(f"{path}: no such file.")
    if path.is_dir():
        raise MediaError(f"{path} is a folder, not a video file.")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes); copy or download it again.")
        container = av.open(for_ffmpeg(path), metadata_errors="replace")
    except PermissionError:
        raise MediaError(f"{path} cannot be opened: permission denied.") from None
    except (av.error.FFmpegError, OSError, ValueError):
        if _starts_like_mp4(path):
            message = "is cut off or damaged: its index (moov) cannot be found; copy or download it again."
        else:
            message = "is not a video file, or it is damaged beyond reading."
        raise MediaError(f"{path} {message}") from None
    if container.format.name in NOT_VIDEO:
        container.close()
        raise MediaError(f"{path} is not a video file, or it is damaged beyond reading.")
    return container


def _open_standard_input() -> InputContainer:
    try:
        return av.open(sys.stdin.buffer, "r", format="yuv4mpegpipe")
    except (av.error.FFmpegError, OSError, ValueError):
        raise MediaError("standard input is not YUV4MPEG2; pipe it from a program that writes .y4m.") from None


def find_video(container: InputContainer, path: Path) -> av.VideoStream:
    """The first video stream that is no attached picture. Raises MediaError if there is none to decode."""
    streams = [stream for stream in container.streams if stream.type == "video" and not is_cover(stream)]
    if not streams:
        kinds = sorted({s.type for s in container.streams})
        held = f"only {' and '.join(kinds)}" if kinds else "nothing"
        raise MediaError(f"{path} has no video stream (it holds {held}); give a file with pictures in it.")
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaError(f"{path}: its video codec is not known to this build of FFmpeg; convert it to H.264 first.")
    assert isinstance(stream, av.VideoStream)
    return stream


def is_cover(stream: Any) -> bool:
    """Whether an open file's stream is one picture that belongs to the whole file."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def describe(
    container: InputContainer, stream: av.VideoStream, frame: av.VideoFrame, path: Path, interlaced: bool
) -> VideoInfo:
    """Everything about the video, from its headers and its first decoded frame."""
    pixel = frame.format
    matrix = _display_matrix(frame)
    start = stream.start_time if stream.start_time is not None else frame.pts
    return VideoInfo(
        path=str(path),
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=pixel.name,
        width=frame.width,
        height=frame.height,
        bit_depth=8 if pixel.has_palette else max(component.bits for component in pixel.components),
        is_rgb=pixel.is_rgb or pixel.has_palette,
        has_alpha=_has_alpha(stream, frame),
        interlaced=interlaced,
        rotation=round(frame.rotation / 90) * 90 if matrix else 0,
        display_matrix=matrix,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        average_rate=nominal_rate(stream),
        time_base=time_base(stream),
        start_time=(start or 0) * time_base(stream),
        clock_zero=clock_zero(container),
        duration=stated_duration(container, stream),
        frames=stream.frames or None,
        colour=Colour.of(frame, pixel.name),
        mastering=Mastering.of(frame),
        not_carried=lost_kinds(frame),
        streams=tuple(_stream_info(other) for other in container.streams if other is not stream),
        metadata=dict(container.metadata),
    )


def time_base(stream: Stream) -> Fraction:
    """Seconds per tick; every stream of an open file has one."""
    assert stream.time_base is not None
    return stream.time_base


def stated_duration(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Seconds that the stream, or else the file, claims to last."""
    if stream.duration:
        return stream.duration * time_base(stream)
    return Fraction(container.duration, av.time_base) if container.duration else None


def nominal_rate(stream: av.VideoStream) -> Fraction:
    """Frames a second as far as the headers know; 25 where they do not."""
    rate = stream.average_rate or stream.guessed_rate
    return rate if rate and 0 < rate <= 1000 else Fraction(25)


def clock_zero(container: InputContainer) -> Fraction:
    """The file time that players show as 0: the earliest start for arbitrary clocks, else 0."""
    if not ARBITRARY_CLOCK & set(container.format.name.split(",")):
        return Fraction(0)
    starts = [s.start_time * time_base(s) for s in container.streams if s.start_time is not None]
    return min(starts, default=Fraction(0))


def exact_packet_count(container: InputContainer, stream: av.VideoStream) -> int | None:
    """How many packets the video has, where the container keeps an exact table of them (MP4 and MOV)."""
    # The index, unlike the header's count, leaves out what an edit list cuts away.
    return len(stream.index_entries) or None if "mp4" in container.format.name.split(",") else None


def track_end(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """When the last frame stops being shown (file time), where the container says so apart from its packets.

    In MP4 and MOV packet durations are distances in decoding order, which with B-frames and a variable rate
    say nothing about the last frame; the track's own length does.
    """
    if exact_packet_count(container, stream) is None or stream.duration is None:
        return None
    return ((stream.start_time or 0) + stream.duration) * time_base(stream)


def latest_time(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """File time after which no frame can lie: the claimed end and half as much again. None without a claim."""
    if not container.duration or container.duration < 0:
        return None
    start = (stream.start_time or 0) * time_base(stream)
    return start + Fraction(container.duration, av.time_base) * Fraction(3, 2) + 10


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    for name, data in side_data(frame):
        if name == "DISPLAYMATRIX":
            words = memoryview(data).cast("i")
            return tuple(words) if len(words) == 9 else None
    return None


def _has_alpha(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Whether the pixels have alpha. FFmpeg gives all GIFs an alpha channel; most are opaque all over."""
    if stream.codec_context.name == "gif":
        return bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)
    return frame.format.name == "pal8" or any(component.is_alpha for component in frame.format.components)


def _stream_info(stream: Any) -> StreamInfo:
    codec = getattr(stream, "name", None) or "unknown"  # streams of no known kind have no name at all
    if stream.codec_context:
        codec = stream.codec_context.codec.canonical_name
    title = stream.metadata.get("title")
    sound = stream.codec_context if stream.type == "audio" else None
    heard = (sound.layout.name, sound.sample_rate) if sound else (None, None)
    return StreamInfo(stream.index, stream.type, codec, stream.language, title, is_cover(stream), *heard)


def _starts_like_mp4(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(12)[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")
    except OSError:
        return False
