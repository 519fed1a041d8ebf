"""Description of a source, and the options for reading it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from safa.video.colour import FULL, Colour, Mastering, is_grayscale, lost_kinds, side_data
from safa.video.containers import clock_zero, is_cover, nominal_rate, stated_duration, stated_frames, time_base
from safa.video.decoding import has_alpha_beside
from safa.video.files import for_ffmpeg
from safa.video.filters import Crop


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a source; `open_reader` takes them.

    Attributes:
        source_fps: frames per second of a folder of pictures; a video has frame times of its own.
        start, end: seconds as players show them, ``start <= time < end``; None for no limit.
        deinterlace: make whole frames of interlaced ones.
    """

    source_fps: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    deinterlace: bool = True


EVERYTHING = ReadOptions()
"""The whole of a video."""


# Whether a video has transparency, be it in its first frame or later.

# Where the header of a ProRes frame, after its size and name, says how transparency is coded.
PRORES_MARK, PRORES_ALPHA = slice(4, 8), 8 + 17


def has_alpha(path: Path, stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Return whether a video is transparent somewhere or, of codecs whose pixels have alpha, whether it can be.

    `frame` is the first one. FFmpeg gives all GIFs an alpha channel, and most are opaque all over: they are decoded.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec == "mjpeg":
        return False  # the fourth colour of CMYK, which FFmpeg has turned into RGB
    if codec == "gif" and path.is_file():
        return _is_ever_transparent(path, stream.index, path.stat().st_mtime_ns)
    if codec == "gif" or frame.format.has_palette:
        return is_transparent(frame)
    if codec == "prores" and _prores_alpha(path, stream):
        return True
    return has_alpha_beside(stream) or has_alpha_channel(frame)


def has_alpha_channel(frame: av.VideoFrame) -> bool:
    """Return whether the pixels of a frame can be transparent."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def is_transparent(frame: av.VideoFrame) -> bool:
    """Return whether any pixel of a frame of 8 bits is not opaque."""
    if frame.format.has_palette:
        places, palette = frame.to_ndarray()
        return bool(palette[np.unique(places), 0].min() < 255)
    if not has_alpha_channel(frame):
        return False
    return bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


@lru_cache(maxsize=8)
def _is_ever_transparent(path: Path, index: int, changed: int) -> bool:
    try:
        with av.open(for_ffmpeg(path)) as container:
            stream = container.streams[index]
            assert isinstance(stream, av.VideoStream)
            return any(is_transparent(frame) for frame in container.decode(stream))
    except (av.error.FFmpegError, OSError):
        return False  # the reader tells of damage


def _prores_alpha(path: Path, stream: av.VideoStream) -> bool:
    """Return whether any frame header of a file with an index says that there is transparency."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        for entry in stream.index_entries:
            file.seek(entry.pos)
            head = file.read(PRORES_ALPHA + 1)
            if len(head) > PRORES_ALPHA and head[PRORES_MARK] == b"icpf" and head[PRORES_ALPHA] & 15:
                return True
    return False


# How often an animated picture is shown.

# Bytes at the beginning of a file within which it says so.
HEAD = 1 << 16


def plays_of(container: str, path: Path) -> int:
    """Return how often a GIF or APNG is shown, 0 for without end; other videos may be shown for ever."""
    if container not in ("gif", "apng") or not path.is_file():
        return 0
    with path.open("rb") as file:
        head = file.read(HEAD)
    if container == "apng":
        at = head.find(b"acTL")
        return int.from_bytes(head[at + 8 : at + 12], "big") if at >= 0 else 0
    at = head.find(b"NETSCAPE2.0\x03\x01")
    if at < 0:
        return 1
    again = int.from_bytes(head[at + 13 : at + 15], "little")
    return again + 1 if again else 0


# What a video holds: its frames, and the facts in its headers and its first frame.

NO_CROP = Crop()

# Codecs of pictures and of cameras for machines, whose gray is full range unless it is said to be limited.
FULL_GRAY = {"mjpeg", "jpegls", "jpeg2000", "png", "apng", "tiff", "bmp", "webp", "pgm", "targa", "rawvideo"}


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
    """Contents of a video file. Times are in seconds on the clock of the *file* (see `VideoReader` for the
    policy).

    `width` and `height` are as stored, without edges that are not to be shown, before `rotation` (degrees
    counter-clockwise, 0, 90, 180 or -90) and `sample_aspect_ratio` are applied for display. `display_matrix` is the
    full matrix where there is one.
    `not_carried` names what the first frame carries beside its pixels and no output can hold (HDR10+, captions ...).
    `colour` is as tagged; `colour.resolved(height)` is what it means.
    `frames` and `duration` are what the file claims, or None; `clock_zero` is the file time that players show
    as 0. `plays` is how often an animation (GIF, APNG) is shown, 0 for without end.
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
    plays: int = 0

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Width and height as they are seen, after `rotation`."""
        return (self.height, self.width) if abs(self.rotation) == 90 else (self.width, self.height)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values; Fractions become strings such as "30000/1001"."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return plain


def describe(
    container: InputContainer,
    stream: av.VideoStream,
    frame: av.VideoFrame,
    path: Path,
    interlaced: bool,
    crop: Crop = NO_CROP,
) -> VideoInfo:
    """Describe the video by its headers and its first decoded frame."""
    pixel = frame.format
    width, height = crop.size(frame.width, frame.height)
    matrix = _display_matrix(frame)
    start = stream.start_time if stream.start_time is not None else frame.pts
    return VideoInfo(
        path=str(path),
        container=container.format.name,
        codec=stream.codec_context.codec.canonical_name,
        pixel_format=pixel.name,
        width=width,
        height=height,
        # Floating point becomes whole numbers of 16 bits.
        bit_depth=8 if pixel.has_palette else min(16, max(component.bits for component in pixel.components)),
        is_rgb=pixel.is_rgb or pixel.has_palette,
        has_alpha=has_alpha(path, stream, frame),
        interlaced=interlaced,
        rotation=round(frame.rotation / 90) * 90 if matrix else 0,
        display_matrix=matrix,
        sample_aspect_ratio=stream.sample_aspect_ratio or Fraction(1),
        average_rate=nominal_rate(stream),
        time_base=time_base(stream),
        start_time=(start or 0) * time_base(stream),
        clock_zero=clock_zero(container, stream),
        duration=stated_duration(container, stream),
        frames=stated_frames(container, stream, path),
        colour=_colour(container, stream, frame),
        mastering=Mastering.of(frame),
        not_carried=lost_kinds(frame),
        streams=tuple(_stream_info(other) for other in container.streams if other is not stream),
        metadata=dict(container.metadata),
        plays=plays_of(container.format.name, path),
    )


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    for name, data in side_data(frame):
        if name == "DISPLAYMATRIX":
            words = memoryview(data).cast("i")
            return tuple(words) if len(words) == 9 else None
    return None


def gray_range(container: InputContainer, stream: av.VideoStream) -> int:
    """Return the range that gray frames of a stream have where they are not tagged; 0 for that of all others."""
    is_raw = container.format.name != "yuv4mpegpipe"
    return FULL if stream.codec_context.codec.canonical_name in FULL_GRAY and is_raw else 0


def _colour(container: InputContainer, stream: av.VideoStream, frame: av.VideoFrame) -> Colour:
    found = Colour.of(frame, frame.format.name)
    if found.range or not is_grayscale(frame.format):
        return found
    return replace(found, range=gray_range(container, stream))


def _stream_info(stream: Any) -> StreamInfo:
    codec = getattr(stream, "name", None) or "unknown"  # streams of no known kind have no name at all
    if stream.codec_context:
        codec = stream.codec_context.codec.canonical_name
    title = stream.metadata.get("title")
    sound = stream.codec_context if stream.type == "audio" else None
    heard = (sound.layout.name, sound.sample_rate) if sound else (None, None)
    return StreamInfo(stream.index, stream.type, codec, stream.language, title, is_cover(stream), *heard)
