"""Opening video files, their streams and clock, and detection of videos by content."""

from __future__ import annotations

import os
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Disposition, Stream

from safa.errors import MediaError
from safa.video.files import ENCODER, PICTURE_SUFFIXES, VIDEO_SUFFIXES, for_ffmpeg
from safa.video.pipes import raise_interrupt, standard_input

# Formats whose clock starts anywhere: a tuner's or a disc's. In other formats the start time is
# intended.
ARBITRARY_CLOCK = {"mpeg", "mpegts", "mpegvideo", "vob", "dvd", "svcd"}
# Packets among which the one that is shown first is found, whatever their order.
REORDERED = 16
# Bytes at the beginning of a file that are kept.
HEAD = 4096
# Packets of a file with several video streams that are read to see which of them move.
MOST_PACKETS = 2000
# FFmpeg renders these as pictures of text.
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


counted_input: CountedInput | None = None
"""Standard input, once the process has opened it as "-"."""


def head_and_size(path: Path) -> tuple[bytes, int]:
    """Return how a file or standard input begins, and all of its bytes; of the latter, those that were read."""
    if str(path) == "-":
        return (counted_input.head, counted_input.total) if counted_input is not None else (b"", 0)
    with path.open("rb") as file:
        return file.read(HEAD), path.stat().st_size


def _open_standard_input() -> InputContainer:
    global counted_input
    counted_input = CountedInput(standard_input())
    try:
        container = av.open(counted_input, "r", format="yuv4mpegpipe")
    except (av.error.FFmpegError, OSError, ValueError):
        raise_interrupt()
        raise MediaError("standard input is not YUV4MPEG2; pipe it from a program that writes .y4m.") from None
    raise_interrupt()
    return container


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
    """Return whether an open file's stream is one picture that belongs to the whole file."""
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
    """Return whether the format's clock starts anywhere."""
    return bool(ARBITRARY_CLOCK & set(container.format.name.split(",")))


def clock_zero(container: InputContainer, video: av.VideoStream) -> Fraction:
    """Return the file time that players show as 0: the start of picture or sound, whichever is first.

    Of `video` and all sound; subtitles, data and other pictures may have stale times or clocks of their own. It is a
    whole number of the video's ticks, so that the times of its frames stay whole ones.
    """
    starts = [stream for stream in container.streams if stream is video or stream.type == "audio"]
    times = [stream.start_time * time_base(stream) for stream in starts if stream.start_time is not None]
    return min(times, default=Fraction(0)) // time_base(video) * time_base(video)


def exact_packet_count(container: InputContainer, stream: av.VideoStream) -> int | None:
    """Return the number of packets of the video, where the container keeps an exact table of them (MP4 and MOV)."""
    # The index, unlike the header's count, leaves out what an edit list cuts away.
    return len(stream.index_entries) or None if "mp4" in container.format.name.split(",") else None


def stated_frames(container: InputContainer, stream: av.VideoStream, path: Path) -> int | None:
    """Return the number of frames shown according to the headers, where they state it: those of an MP4 file in
    fragments know the first of them only, and others count what an edit list cuts away.
    """
    if exact_packet_count(container, stream) is None:
        return stream.frames or None
    if is_fragmented(container, path):
        return None
    return sum(not entry.is_discard for entry in stream.index_entries) or None


def track_end(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Return the end of the last frame (file time), where the container states it apart from its packets.

    In MP4 and MOV packet durations are distances in decoding order, which with B-frames and a variable rate
    say nothing about the last frame; the track's own length does.
    """
    if exact_packet_count(container, stream) is None or stream.duration is None:
        return None
    return ((stream.start_time or 0) + stream.duration) * time_base(stream)


def is_fragmented(container: InputContainer, path: Path) -> bool:
    """Return whether an MP4 file is written in fragments, as live streams are: its index is spread over the file."""
    if "mp4" not in container.format.name.split(",") or not path.is_file():
        return False
    with path.open("rb") as file:
        at, end = 0, path.stat().st_size
        while at + 8 <= end:
            file.seek(at)
            head = file.read(16)
            if head[4:8] == b"moof":
                return True
            size = int.from_bytes(head[:4], "big")
            size = int.from_bytes(head[8:16], "big") if size == 1 else size
            if size < 8:  # up to the end, or damaged
                return False
            at += size
    return False


def stated_end(container: InputContainer, stream: av.VideoStream, known: Fraction) -> Fraction | None:
    """File time at which the film ends according to `known`, its duration, or else to what its header claims, half as
    much again and some seconds. None without a claim.
    """
    duration = known or Fraction(container.duration or 0, av.time_base)
    if duration <= 0:
        return None
    return (stream.start_time or 0) * time_base(stream) + duration * Fraction(3, 2) + 10


def bare_copy(packet: Any) -> Any:
    """Return a copy of a packet without side data, which the decoder does not discard."""
    copy = av.Packet(bytes(packet))
    for name in ("stream", "time_base", "pts", "dts", "duration", "is_keyframe"):
        setattr(copy, name, getattr(packet, name))
    return copy


def untimed_begin(path: Path, index: int, most: int = 1000) -> Fraction:
    """Return the time of the first picture of a stream whose first packets have no time: before the first that has
    one, as Matroska's have that lie before 0. 0 where none of `most` packets has a time.
    """
    if not path.is_file():
        return Fraction(0)
    untimed, step = 0, Fraction(0)
    times: list[Fraction] = []
    with open_container(path) as container, suppress(av.error.FFmpegError, OSError):
        stream = container.streams[index]
        for packet in islice((packet for packet in container.demux(stream) if packet.size), most):
            untimed += packet.pts is None and not times
            if packet.pts is not None:
                times.append(packet.pts * time_base(stream))
            if len(times) == REORDERED:
                break
        assert isinstance(stream, av.VideoStream)
        step = 1 / nominal_rate(stream)
    return min(times) - untimed * step if times else Fraction(0)


def _starts_like_mp4(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(12)[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free")
    except OSError:
        return False


# Whether a file is a video, by what is in it: cameras, discs and old programs give them all kinds of names.

# Formats that only name other files.
PLAYLISTS = {"hls", "concat", "dash", "sdp", "imf"}


def reason_against(path: Path) -> str | None:
    """Return in a few words why a file is not a video; None if it is one, or has a video's name.

    A damaged file with a video's name thus becomes a job, whose error says what is wrong with it.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return None
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    status = path.stat()
    return _found(path, status.st_size, status.st_mtime_ns)


def is_own_result(path: Path) -> bool:
    """Return whether a file's video stream says that safa wrote it."""
    try:
        status = path.stat()
    except OSError:
        return False
    return _is_own_result(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _is_own_result(path: Path, size: int, changed: int) -> bool:
    try:
        with open_container(path) as container:
            tags = find_video(container, path).metadata
    except (MediaError, av.error.FFmpegError, OSError):
        return False
    return ENCODER in (tags.get("encoder"), tags.get("ENCODER"))


@lru_cache(maxsize=1 << 14)
def _found(path: Path, size: int, changed: int) -> str | None:
    if not size:
        return "empty"
    try:
        with open_container(path) as container:
            if PLAYLISTS & set(container.format.name.split(",")):
                return "playlist"
            stream = find_video(container, path)
            # A picture has one packet; some of the first may be damaged.
            packets = sum(1 for packet in islice(container.demux(stream), 4) if packet.size)
    except (MediaError, av.error.FFmpegError, OSError):
        return "no video"
    return None if packets > 1 else "picture"
