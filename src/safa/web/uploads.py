"""Uploads: how they are stored within the limits, whether they are a clip or pictures, and what they hold."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import math
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

from safa.errors import MediaError, SafaError
from safa.video.containers import find_video, time_base
from safa.video.file_source import VideoReader
from safa.video.files import for_ffmpeg
from safa.video.pictures import orientation_of
from safa.video.timestamps import PacketClock
from safa.web.jobs import DISK_FULL
from safa.web.options import size_text

# FFmpeg's readers that are allowed. Playlists (concat, hls, dash) are not: they name other files, which FFmpeg would
# open. Neither are devices, pictures of text and single pictures.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,mxf,ivf,h264,hevc,obu,m4v,dv,"
    "yuv4mpegpipe,apng,nut,wtv,rm"
)
PICTURES = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
MOST_FILES = 2
# Frames per second above which a clip's number of frames is not plausible.
MOST_PER_SECOND = 240
# Uploads must leave this much room on the disk, in bytes: results are larger than their sources.
RESERVED_ROOM = 1 << 30
# Seconds without a byte after which an upload is given up.
STALL_SECONDS = 120.0


@dataclass(frozen=True)
class Limits:
    """Largest upload, longest clip and largest frame that the server accepts."""

    bytes: int
    seconds: float
    pixels: int
    """Width times height of a frame or picture."""

    def frame(self) -> str:
        """Return the largest frame of the usual shape as text."""
        height = math.isqrt(self.pixels * 9 // 16)
        return f"{self.pixels // max(1, height)} x {height}"


class UploadError(SafaError):
    """An upload that is refused, with the HTTP status of the answer."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


class DiskRoom:
    """Room on the disk, shared by all uploads that are arriving."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reservations: list[Reservation] = []

    @contextlib.contextmanager
    def reserve(self, size: int) -> Iterator[Reservation]:
        """Reserve ``size`` bytes, 0 for a body of unknown length.

        Raises:
            UploadError: there is not so much room, together with what other uploads have reserved.
        """
        reservation = Reservation(self, size)
        self._reservations.append(reservation)
        try:
            self.check()
            yield reservation
        finally:
            self._reservations.remove(reservation)

    def check(self, more: int = 0) -> None:
        """Raise ``UploadError`` where what is reserved and ``more`` bytes do not fit."""
        reserved = more + sum(reservation.size for reservation in self._reservations)
        if shutil.disk_usage(self._folder).free - reserved < RESERVED_ROOM:
            raise UploadError(DISK_FULL, 507)


@dataclass(eq=False)
class Reservation:
    """Bytes of one upload that are not on the disk yet."""

    room: DiskRoom
    size: int

    def admit(self, count: int) -> None:
        """Check the room before ``count`` bytes are written; bytes beyond those stated are reserved now."""
        self.size = max(self.size, count)
        self.room.check()

    def written(self, count: int) -> None:
        """Count bytes that are on the disk."""
        self.size -= count


def display_name(name: str) -> str:
    """Return the last part of an uploaded file's name without characters that cannot be shown."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(character for character in last if character.isprintable())[:200].strip() or "upload"


def too_large(name: str, size: int | None, limits: Limits) -> UploadError:
    """Return the refusal of a file of ``size`` bytes, None where only the limit is known to be exceeded."""
    shown = size_text(size) if size is not None else f"more than {size_text(limits.bytes)}"
    return UploadError(f"{name} is {shown}; this server takes at most {size_text(limits.bytes)}.", 413)


async def save_upload(
    chunks: AsyncIterator[bytes],
    stated: int | None,
    target: Path,
    name: str,
    limits: Limits,
    room: DiskRoom,
    is_wanted: Callable[[], bool],
) -> None:
    """Write a request's body to ``target``, counting its bytes as they arrive.

    Args:
        stated: length that the request states, if any; the limits hold without it too.
        is_wanted: asked before every chunk; the upload stops once it is False.

    Raises:
        UploadError: beyond a limit, empty, no longer wanted, or broken off. No file is left then.
    """
    if stated is not None and stated > limits.bytes:
        raise too_large(name, stated, limits)
    temporary = target.with_name(target.name + ".part")
    size = 0
    try:
        with room.reserve(stated or 0) as reservation, temporary.open("wb") as file:
            while True:
                async with asyncio.timeout(STALL_SECONDS):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    break
                size += len(chunk)
                if size > limits.bytes:
                    raise too_large(name, None, limits)
                if not is_wanted():
                    raise UploadError(f"{name} was deleted while it was arriving.", 409)
                reservation.admit(len(chunk))
                await asyncio.to_thread(file.write, chunk)
                reservation.written(len(chunk))
        if size == 0:
            raise UploadError(f"{name} is empty.", 400)
        os.replace(temporary, target)
    except OSError as error:  # also a timeout
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UploadError(DISK_FULL, 507) from None
        raise UploadError(f"{name} did not arrive whole; try again.", 400) from None
    finally:
        temporary.unlink(missing_ok=True)


def describe_upload(files: Sequence[tuple[Path, str]], limits: Limits) -> tuple[str, dict[str, Any]]:
    """Return kind (video or pictures) and properties of one clip or one or two pictures.

    Args:
        files: path and displayed name of each.

    Returns:
        The properties are JSON-ready: width, height as shown; of a video also seconds, frames, rate (a string), sound,
        codec, format and depth.

    Raises:
        SafaError: another number of files, neither a clip nor pictures, or beyond a limit.
    """
    sizes = [_picture_size(path) for path, _ in files]
    if len(files) == 1 and sizes[0] is None:
        return "video", _describe_video(*files[0], limits)
    for (_, name), size in zip(files, sizes, strict=True):
        if size is None:
            raise MediaError(f"{name} is not a picture. Drop one clip, or two pictures.")
        _check_pixels(name, size, limits)
    if len(files) > MOST_FILES:
        raise MediaError(f"{len(files)} pictures at a time are too many. Drop two, or one clip.")
    if len(set(sizes)) > 1:
        both = " and ".join(f"{size[0]}x{size[1]}" for size in sizes if size)
        raise MediaError(f"The two pictures have different sizes ({both}). Drop two of one size.")
    width, height = sizes[0] or (0, 0)
    return "pictures", {"width": width, "height": height, "count": len(files)}


def _describe_video(path: Path, name: str, limits: Limits) -> dict[str, Any]:
    try:
        with av.open(for_ffmpeg(path), options={"format_whitelist": FORMATS}, metadata_errors="replace") as container:
            stream = find_video(container, Path(name))
            _check_pixels(name, (stream.codec_context.width, stream.codec_context.height), limits)
            frames, seconds = _count(container, stream, PacketClock(container, path), name, limits)
    except SafaError:
        raise
    except (av.error.FFmpegError, OSError, ValueError):
        raise MediaError(f"{name} is not a video or picture that can be read, or it is damaged.") from None
    try:
        with VideoReader(path) as reader:
            info = reader.info
    except SafaError as error:
        raise type(error)(str(error).replace(str(path), name)) from None
    _check_pixels(name, (info.width, info.height), limits)
    width, height = info.displayed_size
    return {
        "width": width,
        "height": height,
        "rotation": info.rotation,
        "aspect": str(info.sample_aspect_ratio),
        "seconds": round(float(seconds), 3),
        "frames": frames,
        "rate": str(info.average_rate),
        "sound": any(other.kind == "audio" for other in info.streams),
        "codec": info.codec,
        "format": info.container,
        "depth": info.bit_depth,
    }


def _count(
    container: Any, stream: av.VideoStream, clock: PacketClock, name: str, limits: Limits
) -> tuple[int, Fraction]:
    """Count frames and seconds by reading every packet: headers can be wrong."""
    most = limits.seconds * MOST_PER_SECOND
    frames, first, last, step = 0, None, Fraction(0), Fraction(0)
    for packet in container.demux(stream):
        if not packet.size:
            continue
        packet = clock.correct(packet)
        if packet.is_discard:  # an edit list cuts it away
            continue
        stamp = packet.pts if packet.pts is not None else packet.dts
        frames += 1
        if stamp is not None:
            time = stamp * time_base(stream)
            first = time if first is None else min(first, time)
            last, step = max(last, time), (packet.duration or 0) * time_base(stream)
        if frames > most or (first is not None and last - first > limits.seconds + 1):
            break
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    seconds = max(last - first + step, Fraction(0)) if first is not None else Fraction(0)
    seconds = seconds or frames / Fraction(rate)
    if seconds > limits.seconds or frames > most:
        claimed = Fraction(container.duration or 0, av.time_base)
        length = f"{_length(max(float(seconds), float(claimed)))} long" if seconds > limits.seconds else "too long"
        raise MediaError(f"{name} is {length}; this server takes at most {_length(limits.seconds)}.")
    return frames, seconds


def _picture_size(path: Path) -> tuple[int, int] | None:
    """Return width and height as shown, from the header alone; None for what is not a single picture."""
    try:
        with Image.open(path, formats=PICTURES) as picture:
            # Animations. Of TIFF's pages the first is meant, and their number is known only after reading each of them;
            # of a JPEG with previews or a gain map behind it (MPO) the first is meant, too.
            if picture.format in ("PNG", "WEBP") and getattr(picture, "n_frames", 1) > 1:
                return None
            return picture.size[::-1] if orientation_of(path) in (5, 6, 7, 8) else picture.size
    except Exception:  # Pillow raises almost anything for damaged files: TypeError, struct.error, KeyError, ...
        return None


def _check_pixels(name: str, size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width * height > limits.pixels:
        raise MediaError(
            f"{name} is {width} x {height}; this server takes at most {limits.pixels:,} pixels a frame, such as "
            f"{limits.frame()}."
        )


def _length(seconds: float) -> str:
    """Return a length of time as text: 1 h 5 min, 12 minutes, 45 seconds."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {round(seconds % 3600 / 60)} min"
    if seconds >= 120:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds:.0f} seconds" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} seconds"
