"""Synthesis (paper section 3.4, ablation b): image fusion and feature fusion, and the decoder.

Image fusion blends the two bicubic frames, warped to t, by the mask. Feature fusion decodes the two warped feature
maps into a residual at the output size. The result is their sum, clamped to [0, 1].
"""

from __future__ import annotations

from torch import Tensor, nn

from safa.network.layers import ConvPReLU, Enlarger, ResidualBlock


class Decoder(nn.Module):
    """``B,2c+1,h,w`` (t and both warped feature maps) -> RGB residual ``B,3,H,W``.

    Args:
        channels: c.
        residual_blocks: depth (12 in the paper).
        stride: 2 on the "paper" grid (features at H/2), 1 on the "input" grid (features at H/4).
    """

    def __init__(self, channels: int, residual_blocks: int, stride: int) -> None:
        super().__init__()
        self.stem = ConvPReLU(2 * channels + 1, channels, stride=stride)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(residual_blocks)))
        self.widen = ConvPReLU(channels, 2 * channels)
        self.shuffle = nn.PixelShuffle(2)
        self.head = nn.Conv2d(channels // 2, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.shuffle(self.widen(self.body(self.stem(x))))
        return self.shuffle(self.head(y))


class LightDecoder(Enlarger):
    """``B,3c+1,h,w`` (t, both warped feature maps, the last hidden state) -> RGB residual ``B,3,4h,4w``.

    For networks with propagation on the "input" grid, whose depth lies in the features.

    Args:
        channels: c.
        residual_blocks: depth.
        enlarger_channels: ``SafaConfig.enlarger_channels``.
    """

    def __init__(self, channels: int, residual_blocks: int, enlarger_channels: int) -> None:
        super().__init__(channels, enlarger_channels)
        self.stem = ConvPReLU(3 * channels + 1, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(residual_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.body(self.stem(x)))
