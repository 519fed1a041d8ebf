"""The two building bricks that more than one stage of the network uses."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))
        return self.act(x + self.beta.to(y.dtype) * y)
