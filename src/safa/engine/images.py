"""Pictures as arrays and as tensors: ranges, rounding and cutting out, a strip at a time where pictures are large."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from safa.errors import SafaError
from safa.network.config import Region

Array = NDArray[Any]
"""``H,W,3`` RGB or ``H,W,4`` RGBA; uint8, uint16 or floating point in [0, 1]."""

STRIP = 64


def max_value(dtype: np.dtype[Any]) -> int:
    """The value of white. Raises ``SafaError`` for a type that pictures do not have."""
    if dtype == np.uint8:
        return 255
    if dtype == np.uint16:
        return 65535
    if np.issubdtype(dtype, np.floating):
        return 1
    raise SafaError(f"A frame has numbers of type {dtype}; it must be uint8, uint16 or floating point in [0, 1].")


def to_8_bits(picture: Array) -> NDArray[np.uint8]:
    """The colours of a picture of any type, ``H,W,3``, rounded."""
    colour, white = picture[:, :, :3], max_value(picture.dtype)
    if white != 255:
        colour = np.rint(np.clip(colour / white, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(colour)


def crop_to_tensor(picture: Array, region: Region, device: torch.device) -> Tensor:
    """A part of ``H,W,C`` as ``1,C,h,w`` float32; beyond the right and bottom edges the edge is repeated."""
    top, left, bottom, right = region
    part = torch.from_numpy(np.ascontiguousarray(picture[top:bottom, left:right], dtype=np.float32)).to(device)
    part = part.permute(2, 0, 1).unsqueeze(0)
    below, beside = bottom - top - part.shape[2], right - left - part.shape[3]
    return F.pad(part, (0, beside, 0, below), mode="replicate") if below or beside else part


def store(image: Tensor, into: Array) -> None:
    """Write ``1,C,h,w`` in [0, 1] into ``h,w,C`` of any of our types, rounded; what of it lies beyond is left out.

    In strips: the steps in between would take many times what the result does.
    """
    white = max_value(into.dtype)
    for top in range(0, into.shape[0], STRIP):
        part = into[top : top + STRIP]
        strip = image[0, :, top : top + len(part), : part.shape[1]].permute(1, 2, 0)
        if white != 1:
            # PyTorch computes little with uint16, and copies of fewer bytes leave the device sooner.
            strip = (strip.float() * white).round().to(torch.uint8 if white == 255 else torch.int32)
        part[:] = strip.cpu().numpy()
