"""A classical optical flow as the starting point of SAFA's flow (not in the paper).

Dense inverse search (OpenCV's DIS) between the two low-resolution frames, both ways, is turned into flow from any
time t by Super SloMo's quadratic (Jiang et al., CVPR 2018, equation 4); the network's blocks refine it.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# DIS builds a pyramid of 8-pixel patches; below this size it has nothing to match and OpenCV raises.
SMALLEST_SIDE = 32


@cache
def _estimator() -> cv2.DISOpticalFlow:
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    estimator.setFinestScale(0)
    estimator.setPatchSize(8)
    estimator.setPatchStride(3)
    return estimator


def classical_flow(frame0: NDArray[np.uint8], frame1: NDArray[np.uint8]) -> NDArray[np.float32]:
    """DIS flow from ``frame0`` to ``frame1``.

    Args:
        frame0, frame1: ``H,W,3`` RGB uint8, of the same size.

    Returns:
        ``H,W,2`` float32, x then y, in pixels: what ``frame0`` shows at ``x`` is in ``frame1`` at ``x + flow(x)``.
    """
    height, width = frame0.shape[:2]
    bottom, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
    grey = [
        cv2.copyMakeBorder(
            cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), 0, bottom, 0, right, cv2.BORDER_REPLICATE
        )
        for frame in (frame0, frame1)
    ]
    flow = _estimator().calc(grey[0], grey[1], None)  # type: ignore[call-overload]
    return np.ascontiguousarray(flow[:height, :width])


def release() -> None:
    """Give back the memory that the estimator keeps between calls, about 160 bytes for each pixel."""
    _estimator.cache_clear()  # its own collectGarbage() leaves it unusable


def classical_flow_pair(frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
    """DIS flow both ways for a batch ``B,3,H,W`` in [0, 1]: ``(0->1, 1->0)``, each ``B,2,H,W`` on its device."""

    def to_uint8(frames: Tensor) -> NDArray[np.uint8]:
        return (frames.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def to_tensor(flows: list[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(frame0.device)

    first, second = to_uint8(frame0), to_uint8(frame1)
    forward = [classical_flow(a, b) for a, b in zip(first, second, strict=True)]
    backward = [classical_flow(b, a) for a, b in zip(first, second, strict=True)]
    return to_tensor(forward), to_tensor(backward)


def flow_from_time(forward: Tensor, backward: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Flow t->0 and t->1 from flow 0->1 and 1->0 (all ``B,2,H,W``) at times ``t`` ``B`` in [0, 1]."""
    t = t.view(-1, 1, 1, 1)
    to_0 = -(1 - t) * t * forward + t * t * backward
    to_1 = (1 - t) ** 2 * forward - t * (1 - t) * backward
    return to_0, to_1
