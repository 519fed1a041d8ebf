"""What every source of training data hands out: a high-resolution moving scene at exact times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``H,W,3`` RGB uint8."""


@dataclass
class Scene:
    """Three frames of one motion at high resolution, all of one size that ``safa.ops.SCALE`` divides."""

    frame0: Image
    target: Image
    """The frame at time ``t``."""
    frame1: Image
    t: float
    """Strictly between 0 and 1."""
    flow: NDArray[np.float32] | None = None
    """``3,H/4,W/4,4``: exact flow from times 0, t and 1 to frame 0 (x, y) and to frame 1 (x, y), on the low-resolution
    grid and in its pixels; None where it is not known."""
