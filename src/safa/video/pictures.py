"""Single pictures on disk, and the before/after picture."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safa.engine.images import Array, to_8_bits
from safa.errors import MediaError, OutputError
from safa.files import atomic_write
from safa.network.config import SCALE
from safa.video.file_source import VideoReader
from safa.video.folder_source import open_reader
from safa.video.info import EVERYTHING, Frame, ReadOptions
from safa.video.source import FrameSource

# Exif's orientation -> what makes the stored picture upright.
ORIENTATIONS: dict[int, Callable[[Array], Array]] = {
    2: np.fliplr,
    3: lambda picture: np.rot90(picture, 2),
    4: np.flipud,
    5: lambda picture: picture.swapaxes(0, 1),
    6: lambda picture: np.rot90(picture, -1),
    7: lambda picture: np.rot90(picture, 2).swapaxes(0, 1),
    8: np.rot90,
}


def load_picture(path: Path) -> Array:
    """Read a picture as ``H,W,3`` or ``H,W,4`` RGB(A), uint8 or uint16, the way up that a viewer shows it.

    Raises MediaError.
    """
    if not path.is_file():
        raise MediaError(f"{path}: no such picture.")
    data = np.fromfile(path, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if picture is None or picture.dtype not in (np.uint8, np.uint16):
        raise MediaError(f"{path} is not a picture that can be read; give a PNG, JPEG, WebP or TIFF file.")
    turn = ORIENTATIONS.get(orientation_of(path))
    if turn is not None:
        picture = np.ascontiguousarray(turn(picture))
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
    code = cv2.COLOR_BGRA2RGBA if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(picture, code))


def orientation_of(path: Path) -> int:
    """Return the orientation in the Exif data; 1, upright, if there is none. OpenCV and Pillow turn TIFF themselves."""
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP")) as picture:
            return int(picture.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises almost anything for damaged files
        return 1


def save_picture(picture: Array, path: Path) -> None:
    """Write ``H,W,3`` or ``H,W,4`` RGB(A) as PNG, atomically. Raises OutputError."""
    code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
    data = cv2.imencode(".png", cv2.cvtColor(picture, code))[1]
    try:
        with atomic_write(path) as temporary:
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def two_moments(
    source: Path,
    result: Path,
    at: Fraction | None = None,
    slow: Fraction = Fraction(1),
    options: ReadOptions = EVERYTHING,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The source enlarged by bicubic interpolation and the result at one time, both of the result's size, as stored.

    Args:
        at: seconds of the source; if None, what the result shows in its middle. The source frame at or before it is
            compared with the result frame nearest to that source frame's time.
        slow: how much longer the result was made to take.
        options: how the source was read; its ``start`` is where in the source the result begins.

    Raises:
        MediaError: what cannot be read, a result of another size, or a time that the result does not show.
    """
    with VideoReader(result) as made:
        if at is None:
            at = (options.start or 0) + (made.info.duration or Fraction(0)) / 2 / slow
        with open_reader(source, options) as reader:
            before = _last_until(reader, at)
        expected, after = before.time * slow, None
        for frame in made.frames(alpha=False):
            if after is not None and abs(frame.time - expected) > abs(after.time - expected):
                break
            after = frame
    assert after is not None
    if expected > after.time + max(after.duration, before.duration * slow):
        raise MediaError(
            f"{result} ends before {float(at):g} s of {source} are reached; give an earlier time, and the --slow and "
            "--start that it was made with."
        )
    height, width = before.image.shape[:2]
    size = after.image.shape[:2]
    if not (height <= size[0] <= SCALE * height and width <= size[1] <= SCALE * width):
        raise MediaError(f"{result} is not 1 to {SCALE} times as large as {source}; give the file made from it.")
    return bicubic(to_8_bits(before.image), size), to_8_bits(after.image)


def _last_until(reader: FrameSource, at: Fraction) -> Frame:
    """Return the last frame that begins at or before ``at`` seconds on the clock that players show."""
    found = None
    for frame in reader.frames(alpha=False):
        if frame.time + reader.origin - reader.info.clock_zero > at:
            if found is None and reader.is_cut:
                raise MediaError(f"{float(at):g} s lies before the start of the result; give a later time.")
            if found is not None:
                break
        found = frame
    assert found is not None  # the reader raises for a file without pictures
    return found


def side_by_side(
    source: Path,
    result: Path,
    at: Fraction | None = None,
    slow: Fraction = Fraction(1),
    options: ReadOptions = EVERYTHING,
) -> Array:
    """``two_moments`` side by side with a gap of 8 pixels, turned as players show them."""
    pair = two_moments(source, result, at, slow, options)
    with open_reader(source, options) as reader:
        before, after = (np.rot90(picture, reader.info.rotation // 90) for picture in pair)
    return np.hstack((before, np.full((before.shape[0], 8, 3), 255, np.uint8), after))


def bicubic(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarged to ``size`` (height, width) by bicubic interpolation: what safa is compared with."""
    return np.asarray(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
