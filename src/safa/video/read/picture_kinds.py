"""The kinds of pictures in a folder, from their headers: the frames of the film must hold all of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import av
from PIL import Image

from safa.video.names import for_ffmpeg

# Pillow's names of the formats that are looked at, and of its modes without colour and with transparency.
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
GRAY = {"1", "L", "LA", "La", "I", "F"}
ALPHA = {"LA", "La", "PA", "RGBA", "RGBa"}
# TIFF's tags of the size.
IMAGE_WIDTH, IMAGE_LENGTH = 256, 257


@dataclass(frozen=True)
class PictureKind:
    """What one picture holds. `format` is Pillow's name, "" where it does not know the file."""

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
    """The kind without decoding the picture."""
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
    """The kind of a picture that Pillow cannot read, such as TIFF in floating point."""
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
