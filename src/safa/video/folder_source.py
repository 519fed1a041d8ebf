"""Formats of pictures by their headers, and a folder of numbered pictures as a source of frames."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from PIL import Image

from safa.errors import MediaError
from safa.video import containers
from safa.video.colour import FULL, ToRgb, is_grayscale
from safa.video.file_source import VideoReader
from safa.video.files import PICTURE_SUFFIXES, PIPE_DIGEST, for_ffmpeg
from safa.video.info import EVERYTHING, Frame, ReadOptions, VideoInfo, describe, is_transparent
from safa.video.source import FrameSource

# Pillow's names of the formats that are looked at, and of its modes without colour and with transparency.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
GRAY = {"1", "L", "LA", "La", "I", "F"}
ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
# TIFF's tags of the size.
IMAGE_WIDTH, IMAGE_LENGTH = 256, 257
# Many programs save opaque pictures with an alpha channel; this many of a folder's are decoded to find out.
ALPHA_SAMPLES = 16
# A digest reads this many bytes of a file, in blocks of equal distance, and all of a smaller one.
DIGEST_BYTES, DIGEST_BLOCKS = 64 << 20, 64
PICTURE_DIGEST_BYTES, PICTURE_DIGEST_BLOCKS = 256 << 10, 4


@dataclass(frozen=True)
class PictureKind:
    """Kind of a picture. `format` is Pillow's name, "" where it does not know the file."""

    format: str
    size: tuple[int, int]
    is_gray: bool
    is_deep: bool
    has_alpha: bool


def picture_kinds(files: Iterable[Path]) -> dict[Path, PictureKind]:
    """Return the kinds of the pictures that can be read, by file. The same files are looked at once."""
    stated = []
    for file in files:
        status = file.stat()
        stated.append((file, status.st_size, status.st_mtime_ns))
    return _kinds(tuple(stated))


@lru_cache(maxsize=4)
def _kinds(stated: tuple[tuple[Path, int, int], ...]) -> dict[Path, PictureKind]:
    found = ((file, _by_pillow(file) or _by_ffmpeg(file)) for file, _, _ in stated)
    return {file: kind for file, kind in found if kind is not None}


def _by_pillow(file: Path) -> PictureKind | None:
    """Return the kind of a picture without decoding it."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            mode = picture.mode
            # What the file holds; the mode is what Pillow makes of it, never more than 8 bits a colour.
            stored = str(picture.tile[0][3]) if picture.tile else ""
            return PictureKind(
                "JPEG" if picture.format == "MPO" else str(picture.format),
                _stored_size(picture),
                mode in GRAY or mode.startswith("I;16"),
                ";16" in stored or mode.startswith(("I", "F")),
                mode in ALPHA or "transparency" in picture.info,
            )
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
        return None


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height as stored: of TIFF alone Pillow gives those after it is turned."""
    tags = getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}
    return int(tags.get(IMAGE_WIDTH, picture.width)), int(tags.get(IMAGE_LENGTH, picture.height))


def _by_ffmpeg(file: Path) -> PictureKind | None:
    """Return the kind of a picture that Pillow cannot read, such as TIFF in floating point."""
    try:
        with av.open(for_ffmpeg(file)) as container:
            frame = next(container.decode(video=0), None)
    except (av.error.FFmpegError, OSError, IndexError, ValueError):
        return None
    if frame is None:
        return None
    components = frame.format.components
    colours = [component for component in components if not component.is_alpha]
    return PictureKind(
        "",
        (frame.width, frame.height),
        len(colours) == 1 and not frame.format.has_palette,
        not frame.format.has_palette and max(component.bits for component in components) > 8,
        len(colours) < len(components),
    )


# A folder of numbered pictures as a video.


class FolderReader(FrameSource):
    """Reads the pictures of a folder in the order of their numbers; used like `VideoReader`.

    Picture k is shown from k / fps on, for 1 / fps. All must have the size of the first; frames hold what any of them
    has: colour, more than 8 bits, transparency. Pictures that cannot be decoded, and gaps in the numbers, are filled
    with the picture before them and listed in `problems`.
    `start` and `end` select pictures with start <= k / fps < end; the first selected one is shown at 0.
    """

    is_folder = True

    def __init__(
        self, path: str | Path, fps: Fraction, start: Fraction | None = None, end: Fraction | None = None
    ) -> None:
        """Look at the headers of the pictures. Raises MediaError in one sentence."""
        self.path = Path(path)
        self.problems = []
        self.is_cut = start is not None or end is not None
        self.origin = Fraction(0)
        self._fps = fps
        pictures = numbered_pictures(self.path)
        if not pictures:
            raise MediaError(f"{self.path} is a folder without pictures; give one with numbered pictures, or a video.")
        zero = pictures[0][0]
        chosen = [
            (number - zero, file)
            for number, file in pictures
            if (start is None or (number - zero) / fps >= start) and (end is None or (number - zero) / fps < end)
        ]
        if not chosen:
            raise MediaError(f"{self.path} has no picture in the chosen range; choose another.")
        first = _decode(chosen[0][1])
        if first is None:
            raise MediaError(f"{chosen[0][1]} cannot be decoded; make it again or take it out of the folder.")
        if start is not None:
            self.origin = chosen[0][0] / fps
        self._pictures = chosen
        kinds = picture_kinds([file for _, file in chosen])
        for file, kind in kinds.items():
            if kind.size != (first.width, first.height):
                raise MediaError(
                    f"{file} is {kind.size[0]}x{kind.size[1]}, the first picture {first.width}x{first.height}; "
                    "all pictures of a folder must have one size."
                )
        self.info = self._describe(first, kinds, (chosen[-1][0] + 1) / fps)

    def close(self) -> None:
        """Nothing is held open between pictures."""

    def times(self) -> list[Fraction]:
        """Return the times of the selected pictures and the end of the last one, in seconds."""
        last = self._pictures[-1][0] + 1
        return [number / self._fps - self.origin for number in (*(number for number, _ in self._pictures), last)]

    def frames(self, alpha: bool = True) -> Iterator[Frame]:
        """Yield the selected pictures in order. `alpha` off gives three channels throughout."""
        info = self.info
        colour = info.colour.resolved(info.height)
        kind = {"bit_depth": info.bit_depth, "alpha": info.has_alpha and alpha, "gray_range": FULL}
        to_rgb = ToRgb(colour, **kind)  # type: ignore[arg-type]
        readable = []
        may_turn_transparent = not info.has_alpha and self._has_alpha_channel
        for number, file in self._pictures:
            frame = _decode(file)
            if frame is None:
                self.problems.append(f"{file.name} cannot be decoded; the picture before it is shown instead.")
                continue
            if (frame.width, frame.height) != (info.width, info.height):  # changed since it was looked at
                raise MediaError(f"{file} has another size than the first picture; give a folder that stays as it is.")
            if may_turn_transparent and is_transparent(frame):
                may_turn_transparent = False
                self.problems.append(f"pictures from {file.name} on are partly transparent, which is not kept.")
            readable.append((number, frame))
            if len(readable) == 2:
                yield self._frame(readable[0], readable[1][0], to_rgb)
                del readable[0]
        if readable:
            yield self._frame(readable[0], self._pictures[-1][0] + 1, to_rgb)
        missing = self._pictures[-1][0] - self._pictures[0][0] + 1 - len(self._pictures)
        if missing:
            self.problems.append(
                f"{missing} numbers are missing in {self.path}; the pictures before them are shown instead."
            )

    def _frame(self, numbered: tuple[int, av.VideoFrame], following: int, to_rgb: ToRgb) -> Frame:
        number, frame = numbered
        return Frame(number / self._fps - self.origin, (following - number) / self._fps, to_rgb(frame))

    def _describe(self, first: av.VideoFrame, kinds: dict[Path, PictureKind], duration: Fraction) -> VideoInfo:
        """Facts of the first picture in colour, or of the first; depth and transparency of all."""
        file, frame = self._pictures[0][1], first
        if is_grayscale(first.format):
            coloured = (other for other, kind in kinds.items() if not kind.is_gray)
            decoded = ((other, _decode(other)) for other in coloured)
            file, frame = next(((other, one) for other, one in decoded if one is not None), (file, first))
        info = _described(file, frame)
        formats = {kind.format for kind in kinds.values() if not kind.is_gray}
        with_alpha = [file for file, kind in kinds.items() if kind.has_alpha]
        self._has_alpha_channel = bool(with_alpha)
        samples = (_decode(with_alpha[k]) for k in evenly_spaced(len(with_alpha), ALPHA_SAMPLES))
        own: dict[str, Any] = {
            "bit_depth": max(info.bit_depth, *(16 if kind.is_deep else 1 for kind in kinds.values())),
            "has_alpha": any(frame is not None and is_transparent(frame) for frame in samples),
            # Colours of several formats have nothing in common but RGB.
            "is_rgb": info.is_rgb or len(formats) > 1,
            "path": str(self.path),
            "container": "pictures",
            "average_rate": self._fps,
            "time_base": 1 / self._fps,
            "start_time": Fraction(0),
            "clock_zero": Fraction(0),
            "duration": duration,
            "frames": len(self._pictures),
            "streams": (),
            "metadata": {},
        }
        return VideoInfo(**{**vars(info), **own})


def open_reader(path: str | Path, options: ReadOptions = EVERYTHING) -> FrameSource:
    """The reader for a video file, a folder of pictures (which needs `options.source_fps`), or "-", YUV4MPEG2 on
    standard input. Raises MediaError in one sentence.
    """
    if Path(path).is_dir():
        fps = options.source_fps
        if fps is None:
            raise MediaError(f"{path} is a folder of pictures; give its frames per second, such as --source-fps 24.")
        return FolderReader(path, fps, options.start, options.end)
    return VideoReader(path, options.start, options.end, options.deinterlace)


def pictures_of(folder: Path) -> list[Path]:
    """Return the pictures of a folder, sorted by name."""
    named = (f for f in folder.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES and not f.name.startswith("."))
    return sorted(f for f in named if not f.is_fifo())  # from a pipe nothing can be read twice


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most `most` indices from 0 to count - 1, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return [k * (count - 1) // (most - 1) for k in range(most)]


def content_digest(path: Path) -> str:
    """Return a digest that changes with a source; "pipe" for a pipe.

    SHA-256 of a file's contents, or of the names and contents of a folder's pictures. Of a large file only its size and
    some blocks are read (`DIGEST_BYTES`), so that a film of any length takes less than a second.
    """
    if path == Path("-"):
        return PIPE_DIGEST
    if path.is_file():
        return _file_digest(path, DIGEST_BYTES, DIGEST_BLOCKS)
    digest = hashlib.sha256()
    for file_path in pictures_of(path):  # other files there, perhaps the output itself, do not count
        contents = _file_digest(file_path, PICTURE_DIGEST_BYTES, PICTURE_DIGEST_BLOCKS)
        digest.update(os.fsencode(f"{file_path.name} {contents}\n"))
    return digest.hexdigest()


def _file_digest(path: Path, most: int, blocks: int) -> str:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        length = most // blocks
        for index in range(blocks):
            file.seek(index * (size - length) // (blocks - 1))
            digest.update(file.read(length))
        return digest.hexdigest()


def numbered_pictures(folder: Path) -> list[tuple[int, Path]]:
    """(number, file) of a folder's pictures, by the last number in each name: 2.png comes before 10.png. By name,
    counted from 0, where some have no number or share one.
    """
    files = pictures_of(folder)
    digits = [re.findall(r"\d+", file.stem) for file in files]
    numbers = [int(found[-1]) if found else None for found in digits]
    if None in numbers or len(set(numbers)) < len(files):
        return list(enumerate(files))
    return sorted((number, file) for number, file in zip(numbers, files, strict=True) if number is not None)


def _described(file: Path, frame: av.VideoFrame) -> VideoInfo:
    with containers.open_container(file) as container:
        info = describe(container, containers.find_video(container, file), frame, file, False)
    if is_grayscale(frame.format) and not info.colour.range:
        return replace(info, colour=replace(info.colour, range=FULL))
    return info


def _decode(file: Path) -> av.VideoFrame | None:
    try:
        with av.open(for_ffmpeg(file)) as container:
            return next(container.decode(video=0), None)
    except (av.error.FFmpegError, OSError, IndexError):
        return None
