"""Layers that more than one stage of the network uses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from safa.network.config import SCALE


class ConvPReLU(nn.Module):
    """3x3 (or 1x1) convolution with bias, then PReLU with one slope per channel."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)
        self.act = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))


class ResidualBlock(nn.Module):
    """``PReLU(x + beta * conv(PReLU(conv(x))))`` with a learned ``beta`` per channel, 0 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvPReLU(channels, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.act = nn.PReLU(channels)
        self.plain_slope: float | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.plain_slope is not None:
            return x + self.conv2(F.leaky_relu(self.conv1.conv(x), self.plain_slope))
        y = self.conv2(self.conv1(x))
        return self.act(x + self.beta.to(y.dtype) * y)

    @torch.no_grad()
    def make_plain(self) -> bool:
        """Compute ``x + conv(LeakyReLU(conv(x)))`` from now on if that is what the block is, and fix it so.

        A step of training spends a third of its time on the learned slopes and ``beta``. Returns whether it was done.
        """
        slope = float(self.conv1.act.weight[0])
        inner, outer = self.conv1.act.weight, self.act.weight
        if not (torch.all(inner == slope) and torch.all(outer == 1) and torch.all(self.beta == 1)):
            return False
        for parameter in (inner, outer, self.beta):
            parameter.requires_grad_(False)
        self.plain_slope = slope
        return True


class Enlarger(nn.Module):
    """Features ``B,c,h,w`` -> RGB ``B,3,4h,4w`` that is added to an enlarged picture.

    Args:
        channels: c.
        middle: channels at twice the size; 0 for one convolution straight to all pixels.
    """

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        step = SCALE if not middle else 2
        self.widen = ConvPReLU(channels, middle * step * step) if middle else None
        self.head = nn.Conv2d(middle or channels, 3 * step * step, 3, padding=1)
        self.shuffle = nn.PixelShuffle(step)

    def forward(self, features: Tensor) -> Tensor:
        if self.widen is not None:
            features = self.shuffle(self.widen(features))
        return self.shuffle(self.head(features))
