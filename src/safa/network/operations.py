"""Image operations every part of SAFA shares: warping, resizing, padding and luma.

Tensors are ``B,C,H,W`` float. Nothing here knows about the network, devices or files.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from safa.network.config import SCALE


def warp(image: Tensor, flow: Tensor) -> Tensor:
    """Backward warp: the value at ``x`` of the result is ``image`` at ``x + flow(x)``, bilinear, edges held.

    Args:
        image: ``B,C,H,W``, any floating type; returned in that type.
        flow: ``B,2,H,W``, x then y, in pixels of this grid. Sampled in float32 whatever its type, because half
            precision cannot address pixels beyond about 2,000.

    Returns:
        ``B,C,H,W``.
    """
    height, width = image.shape[-2:]
    x, y = _places(flow)
    # Clamping the grid gives border padding on every device: MPS has no kernel for padding_mode="border".
    grid_x = (x * (2.0 / max(width - 1, 1)) - 1.0).clamp(-1.0, 1.0)
    grid_y = (y * (2.0 / max(height - 1, 1)) - 1.0).clamp(-1.0, 1.0)
    return _sampled(image, grid_x, grid_y, "bilinear")


def warp_bicubic(image: Tensor, flow: Tensor) -> Tensor:
    """Backward warp with the bicubic kernel of ``bicubic_upsample`` (a = -0.75), which keeps detail that bilinear
    sampling averages away; otherwise as ``warp``.
    """
    height, width = image.shape[-2:]
    x, y = _places(flow)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    if image.device.type == "mps":  # no kernel for this either
        return _gathered_bicubic(image, x, y)
    # Two more pixels on each side hold the edges for the kernel, in every runtime alike.
    sides = F.pad(image, (2, 2, 2, 2), mode="replicate")
    return _sampled(sides, (x + 2) * (2.0 / (width + 3)) - 1.0, (y + 2) * (2.0 / (height + 3)) - 1.0, "bicubic")


def _places(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Sampling positions of a flow ``B,2,H,W``: x and y, ``B,H,W`` float32."""
    flow = flow.float()
    x = torch.arange(flow.shape[-1], device=flow.device, dtype=torch.float32)
    y = torch.arange(flow.shape[-2], device=flow.device, dtype=torch.float32).unsqueeze(1)
    return x + flow[:, 0], y + flow[:, 1]


def _sampled(image: Tensor, x: Tensor, y: Tensor, mode: str) -> Tensor:
    """``image`` at places in [-1, 1] from edge to edge, in its own type but computed in float32."""
    grid = torch.stack((x, y), dim=-1)  # B,H,W,2
    with torch.autocast(image.device.type, enabled=False):
        found = F.grid_sample(image.float(), grid, mode=mode, padding_mode="zeros", align_corners=True)
    return found.to(image.dtype)


def _gathered_bicubic(image: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """``image`` ``B,C,H,W`` at pixels ``x`` and ``y`` ``B,H,W`` inside of it, from plain operations."""
    batch, channels, height, width = image.shape
    left, top = x.floor(), y.floor()
    flat, result = image.float().flatten(2), torch.zeros((), device=image.device)
    for row, weight_y in enumerate(_cubic_weights(y - top), -1):
        for column, weight_x in enumerate(_cubic_weights(x - left), -1):
            index = _flat_index(top + row, left + column, height, width)
            index = index.reshape(batch, 1, -1).expand(-1, channels, -1)
            result = result + (weight_y * weight_x).unsqueeze(1) * flat.gather(2, index).view(image.shape)
    return result.to(image.dtype)


def _flat_index(y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """Indices into a flattened picture of whole places, edges held; from 16.7 million on float32 skips some."""
    return y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()


def _cubic_weights(share: Tensor, a: float = -0.75) -> tuple[Tensor, ...]:
    """Weights of the four pixels around a place that is ``share`` of the way from the second to the third."""

    def near(d: Tensor) -> Tensor:
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: Tensor) -> Tensor:
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return far(1 + share), near(share), near(1 - share), far(2 - share)


def beyond(flow: Tensor) -> Tensor:
    """Distance in pixels by which a flow ``B,2,H,W`` leads outside of the frame, at most 1: ``B,1,H,W``."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0:1]
    y = torch.arange(height, device=flow.device, dtype=torch.float32).unsqueeze(1) + flow[:, 1:2]
    outside = torch.maximum(torch.maximum(-x, x - (width - 1)), torch.maximum(-y, y - (height - 1)))
    return outside.clamp(0, 1)


def resize_flow(flow: Tensor, factor: float) -> Tensor:
    """Resize a flow field ``B,2,H,W`` bilinearly by ``factor`` and rescale its vectors to the new pixels."""
    if factor == 1:
        return flow
    return resize_bilinear(flow, factor) * factor


def resize_bilinear(x: Tensor, factor: float) -> Tensor:
    """Bilinear resize by ``factor`` (no antialiasing, half-pixel centres); the network's own resizing."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def bicubic_upsample(image: Tensor, factor: int = SCALE) -> Tensor:
    """Bicubic enlargement as OpenCV's ``INTER_CUBIC`` does it (a = -0.75, no antialiasing, edges held)."""
    return F.interpolate(image.float(), scale_factor=factor, mode="bicubic", align_corners=False)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Replicate the right and bottom edges of ``B,C,H,W`` until both sides are multiples of ``multiple``."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return image
    return F.pad(image, (0, right, 0, bottom), mode="replicate")


def luma(image: Tensor) -> Tensor:
    """Y of ITU-R BT.601 in [16/255, 235/255] from RGB in [0, 1]: ``...,3,H,W`` -> ``...,1,H,W``.

    The formula of the super-resolution literature (MATLAB's ``rgb2ycbcr``).
    """
    weight = image.new_tensor([65.481, 128.553, 24.966]) / 255
    return torch.einsum("...chw,c->...hw", image, weight).unsqueeze(-3) + 16 / 255
