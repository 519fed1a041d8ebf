"""Intermediate states of the network, and its result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from safa.network.layers import ConvPReLU, Enlarger, ResidualBlock


@dataclass
class FrameState:
    """State of one frame, shared by all pairs it is part of."""

    enlarged: Tensor
    """``B,3,4h,4w``: the frame enlarged, by bicubic interpolation or, with propagation, by the network."""
    features: Tensor
    """``B,c,Hf,Wf``: fused features on the feature grid."""


@dataclass
class PairState:
    """A pair ready to be asked for any time."""

    frame0: FrameState
    frame1: FrameState
    hidden: Tensor
    """``B,c,Hf,Wf``: first hidden state."""
    prior: tuple[Tensor, ...] | None
    """Classical flow 0->1 and 1->0 in input pixels and, where known, its acceleration, each ``B,2,h,w``; None without
    a flow prior."""


@dataclass
class Synthesis:
    """One synthesised time with everything the network decided on the way."""

    image: Tensor
    """``B,3,4h,4w`` in [0, 1]."""
    fused: Tensor | None
    """``B,3,4h,4w``: the image fusion alone; None with feature fusion only."""
    flow: Tensor
    """``B,4,Hs,Ws``: t->0 (x, y) and t->1 (x, y) in pixels of the flow state's grid."""
    mask: Tensor
    """``B,1,Hs,Ws``: share of frame 0 in the image fusion, 0..1."""
    scale: Tensor
    """``B,blocks`` long: index into ``SafaConfig.scales`` used by each block (in training: the one drawn)."""
    logit: Tensor
    """``B,blocks,K-1``: the selector's logits, nan for a block whose scale was given; an empty last axis where the
    selector decided nothing."""

    @property
    def probability(self) -> Tensor:
        """``B,blocks,K-1``: the selector's probabilities, as ``logit``."""
        return torch.sigmoid(self.logit)


# Synthesis (paper section 3.4, ablation b): image fusion and feature fusion, and the decoder.


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
