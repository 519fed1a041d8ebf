"""A high-resolution moving scene at exact times, which every source of training data returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from safa.network.config import SCALE

Image = NDArray[np.uint8]
"""``H,W,3`` RGB uint8."""


@dataclass
class Scene:
    """Consecutive frames of one motion at high resolution and one between two of them, all of one size that
    ``safa.network.operations.SCALE`` divides."""

    frames: list[Image]
    """Two or more, equally far apart in time: what the network will be shown, reduced."""
    target: Image
    """The frame at time ``pair + t``, where the time of frame k is k."""
    t: float
    """Strictly between 0 and 1."""
    pair: int = 0
    """Number of the frame before ``target``."""
    taught: tuple[list[Image], Image] | None = None
    """The teacher's pictures of ``frames`` and of ``target``; None where the data hold none."""
    flow: NDArray[np.float32] | None = None
    """``3,H/4,W/4,4``, for two frames: exact flow from times 0, t and 1 to frame 0 (x, y) and to frame 1 (x, y), on the
    low-resolution grid and in its pixels; None where it is not known."""


def reduce_quarter(image: Image) -> Image:
    """Antialiased bicubic 1/4 of ``H,W,3``, stored as 8 bits, as the field makes its inputs."""
    height, width = image.shape[:2]
    reduced = PillowImage.fromarray(image).resize((width // SCALE, height // SCALE), PillowImage.Resampling.BICUBIC)
    return np.asarray(reduced)
