"""Opening a video file, or one sentence on why it cannot be read; its streams and its clock."""

import os
import sys
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from safa.errors import MediaError
from safa.video.names import for_ffmpeg

# Formats whose clock starts anywhere: a tuner's or a disc's. In other formats the start time is
# intended.
ARBITRARY_CLOCK = {"mpeg", "mpegts", "mpegvideo", "vob", "dvd", "svcd"}
# Bytes at the beginning of a file that are kept.
HEAD = 4096
# Packets of a file with several video streams that are read to see which of them move.
MOST_PACKETS = 2000
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
    if not (path.is_file() or path.is_block_device()):
        raise MediaError(
            f"{path} is a pipe or a device, which can be read only once; save it as a file first, or pipe YUV4MPEG2 to "
            "standard input and give - as the input."
        )
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


class CountedInput:
    """Standard input, and what was read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.head, self.total = b"", 0
        self._file = file

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most `count`."""
        data = self._file.read(count)
        self.head += data[: HEAD - len(self.head)]
        self.total += len(data)
        return data


standard_input: CountedInput | None = None
"""What the process has opened last as "-"."""


def head_and_size(path: Path) -> tuple[bytes, int]:
    """Return how a file or standard input begins, and all of its bytes; of the latter, those that were read."""
    if str(path) == "-":
        return (standard_input.head, standard_input.total) if standard_input is not None else (b"", 0)
    with path.open("rb") as file:
        return file.read(HEAD), path.stat().st_size


def _open_standard_input() -> InputContainer:
    global standard_input
    standard_input = CountedInput(sys.stdin.buffer)
    try:
        return av.open(standard_input, "r", format="yuv4mpegpipe")
    except (av.error.FFmpegError, OSError, ValueError):
        raise MediaError("standard input is not YUV4MPEG2; pipe it from a program that writes .y4m.") from None


def find_video(container: InputContainer, path: Path) -> av.VideoStream:
    """Return the stream that is the film: no cover, and of several the first one that moves and is not marked as less
    than another. Raises MediaError if there is none to decode.
    """
    streams: list[Any] = [stream for stream in container.streams if stream.type == "video" and not is_cover(stream)]
    if not streams:
        kinds = {"cover picture" if is_cover(stream) else stream.type for stream in container.streams}
        held = f"only {' and '.join(sorted(kinds))}" if kinds else "nothing"
        raise MediaError(f"{path} has no video stream (it holds {held}); give a file with pictures in it.")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise MediaError(
            f"{path}: its video codec is not supported by this build of FFmpeg; convert it to H.264 first."
        )
    if len(decodable) > 1 and path.is_file():
        index = _film_among(path, tuple(stream.index for stream in decodable), path.stat().st_mtime_ns)
        decodable = [stream for stream in decodable if stream.index == index]
    stream = decodable[0]
    assert isinstance(stream, av.VideoStream)
    return stream


@lru_cache(maxsize=32)
def _film_among(path: Path, indices: tuple[int, ...], changed: int) -> int:
    """Return which of several video streams of a file is the film."""
    with open_container(path) as container:
        streams: list[Any] = [container.streams[index] for index in indices]
        counts = dict.fromkeys(indices, 0)
        # A still picture has one packet; the others show themselves within a few seconds.
        try:
            for packet in islice(container.demux(streams), MOST_PACKETS):
                counts[packet.stream_index] += bool(packet.size)
                if min(counts.values()) > 1:
                    break
        except (av.error.FFmpegError, OSError):
            pass  # the reader tells of damage
        moving = [stream for stream in streams if counts[stream.index] > 1] or streams
        chosen = [stream for stream in moving if stream.disposition & Disposition.default] or moving
        # A few seconds of something else, such as an animated cover, are no film beside one.
        lengths = [(stream.duration or 0) * time_base(stream) for stream in chosen]
        longest = max(lengths)
        index: int = next(one.index for one, length in zip(chosen, lengths, strict=True) if 2 * length >= longest)
        return index


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
