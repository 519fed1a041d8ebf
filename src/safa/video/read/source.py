"""Opening a video file, or one sentence on why it cannot be read; its streams and its clock."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from safa.errors import MediaError
from safa.video.names import for_ffmpeg
from safa.video.pipes import raise_interrupt, standard_input

# Formats whose clock starts anywhere: a tuner's or a disc's. In other formats the start time is
# intended.
ARBITRARY_CLOCK = {"mpeg", "mpegts", "mpegvideo", "vob", "dvd", "svcd"}
# FFmpeg reads these as pictures of text, which is not what is meant.
NOT_VIDEO = {"tty", "bin", "xbin", "adf", "idf"}


def open_container(path: Path) -> InputContainer:
    """Open a media file, or "-" for YUV4MPEG2 on standard input. Raises MediaError: one sentence on what is wrong."""
    if str(path) == "-":
        return _open_standard_input()
    if not os.path.exists(path):  # unlike the path's own, no error for names that are too long
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
    stream = standard_input()
    try:
        container = av.open(stream, "r", format="yuv4mpegpipe")
    except (av.error.FFmpegError, OSError, ValueError):
        raise_interrupt()
        raise MediaError("standard input is not YUV4MPEG2; pipe it from a program that writes .y4m.") from None
    raise_interrupt()
    return container


def find_video(container: InputContainer, path: Path) -> av.VideoStream:
    """The first video stream that is no attached picture. Raises MediaError if there is none to decode."""
    streams = [stream for stream in container.streams if stream.type == "video" and not is_cover(stream)]
    if not streams:
        kinds = sorted({s.type for s in container.streams})
        held = f"only {' and '.join(kinds)}" if kinds else "nothing"
        raise MediaError(f"{path} has no video stream (it holds {held}); give a file with pictures in it.")
    stream = streams[0]
    if stream.codec_context is None:
        raise MediaError(
            f"{path}: its video codec is not supported by this build of FFmpeg; convert it to H.264 first."
        )
    assert isinstance(stream, av.VideoStream)
    return stream


def is_cover(stream: Any) -> bool:
    """Whether an open file's stream is one picture that belongs to the whole file."""
    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def time_base(stream: Stream) -> Fraction:
    """Seconds per tick; every stream of an open file has one."""
    assert stream.time_base is not None
    return stream.time_base


def stated_duration(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Seconds that the stream, or else the file, claims to last."""
    if stream.duration:
        return stream.duration * time_base(stream)
    if not container.duration:
        return None
    # Matroska states when the film ends, which may have begun later than at 0.
    began = max(0, container.start_time or 0) if "matroska" in container.format.name else 0
    return Fraction(max(0, container.duration - began), av.time_base) or None


def nominal_rate(stream: av.VideoStream) -> Fraction:
    """Frames per second according to the headers; 25 where they do not say."""
    rate = stream.average_rate or stream.guessed_rate
    return rate if rate and 0 < rate <= 1000 else Fraction(25)


def has_arbitrary_clock(container: InputContainer) -> bool:
    """Whether the format's clock starts anywhere."""
    return bool(ARBITRARY_CLOCK & set(container.format.name.split(",")))


def clock_zero(container: InputContainer) -> Fraction:
    """The file time that players show as 0: the earliest start for arbitrary clocks, else 0."""
    if not has_arbitrary_clock(container):
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


def _starts_like_mp4(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(12)[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")
    except OSError:
        return False
