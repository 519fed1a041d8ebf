"""Pictures as arrays: ranges, rounding and cutting out, a strip at a time where pictures are large."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.errors import SafaError
from safa.network.config import SCALE, Region

Array = NDArray[Any]
"""``H,W,3`` RGB or ``H,W,4`` RGBA; uint8, uint16 or floating point in [0, 1]."""

STRIP = 64


def max_value(dtype: np.dtype[Any]) -> int:
    """Return the value of white. Raises ``SafaError`` for a type that pictures do not have."""
    if dtype == np.uint8:
        return 255
    if dtype == np.uint16:
        return 65535
    if np.issubdtype(dtype, np.floating):
        return 1
    raise SafaError(f"A frame has numbers of type {dtype}; it must be uint8, uint16 or floating point in [0, 1].")


def to_8_bits(picture: Array) -> NDArray[np.uint8]:
    """Convert the colours of a picture of any type, ``H,W,3``, to rounded 8-bit values."""
    colour, white = picture[:, :, :3], max_value(picture.dtype)
    if white != 255:
        colour = np.rint(np.clip(colour / white, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(colour)


def crop(picture: Array, region: Region) -> NDArray[np.float32]:
    """Return a part of ``H,W,C`` as float32, with the right and bottom edges repeated beyond them."""
    top, left, bottom, right = region
    part = np.ascontiguousarray(picture[top:bottom, left:right], dtype=np.float32)
    below, beside = bottom - top - part.shape[0], right - left - part.shape[1]
    return np.pad(part, ((0, below), (0, beside), (0, 0)), mode="edge") if below or beside else part


def enlarge(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """``h,w,C`` four times as wide and high, bicubic (a = -0.75, edges held)."""
    large = cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.float32).reshape(*large.shape[:2], picture.shape[2])


def store(image: NDArray[np.float32], into: Array) -> None:
    """Write ``h,w,C`` in [0, 1] into an array of any of our types, rounded; what of it lies beyond is left out.

    In strips: the steps in between would take many times what the result does.
    """
    white = max_value(into.dtype)
    for top in range(0, into.shape[0], STRIP):
        part = into[top : top + STRIP]
        strip = image[top : top + len(part), : part.shape[1]]
        part[:] = strip if white == 1 else np.rint(strip * np.float32(white))
