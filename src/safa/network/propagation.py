"""Features carried along a window of frames (not in the paper): what lets a frame see more than itself.

A backward pass goes from the last frame to the first, then a forward pass from the first to the last. In each, the
hidden state of the frame before is warped onto the present frame by classical flow plus a learned change of it, joined
with the frame's own features and deepened. The forward pass also sees the backward pass's state of the frame, so its
own state, refined, knows the whole window: it is the frame's features for everything that follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safa.network.config import SCALE
from safa.network.layers import ConvPReLU, ResidualBlock
from safa.network.operations import warp

FLOW_WIDTH = 16
"""Channels between the two convolutions that change the flow."""
LARGEST_SEEN = 8.0
"""What convolutions are told of a flow on an axis, at most, in input pixels; warps follow it however large it is.
Windows of training hold hardly any larger motion, and the answers to numbers never seen spoiled the pictures."""


class PropagationPass(nn.Module):
    """One step of a pass: own features and the neighbour's state -> the frame's state, ``B,c,h,w``.

    Args:
        channels: c.
        blocks: residual blocks.
        own: feature maps of the frame that go in: its features, in the forward pass also its backward state.
    """

    def __init__(self, channels: int, blocks: int, own: int) -> None:
        super().__init__()
        self.flow_change = nn.Sequential(
            ConvPReLU(2 * channels + 2, FLOW_WIDTH), nn.Conv2d(FLOW_WIDTH, 2, 3, padding=1)
        )
        for parameter in self.flow_change[1].parameters():
            nn.init.zeros_(parameter)
        self.join = ConvPReLU((own + 1) * channels, channels)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def forward(self, own: Sequence[Tensor], neighbour: tuple[Tensor, Tensor] | None) -> Tensor:
        """The frame's state.

        Args:
            own: ``B,c,h,w`` each, the frame's features first.
            neighbour: state ``B,c,h,w`` of the frame that comes before in this pass, and the classical flow to it,
                ``B,2,h,w`` in pixels; None at the window's end.
        """
        if neighbour is None:
            warped = torch.zeros_like(own[0])
        else:
            state, flow = neighbour
            warped = warp(state, flow)
            seen = flow.clamp(-LARGEST_SEEN, LARGEST_SEEN).to(warped.dtype)
            change = self.flow_change(torch.cat((own[0], warped, seen), dim=1))
            warped = warp(state, flow + change.float())
        return self.body(self.join(torch.cat((*own, warped), dim=1)))


class FrameDecoder(nn.Module):
    """An input frame's features ``B,c,h,w`` -> what its bicubic enlargement lacks, ``B,3,4h,4w``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, 3 * SCALE * SCALE, 3, padding=1)
        self.shuffle = nn.PixelShuffle(SCALE)

    def forward(self, features: Tensor) -> Tensor:
        return self.shuffle(self.head(features))


class Propagation(nn.Module):
    """Both passes over a window and what follows them for each frame; ``blocks`` residual blocks a pass."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.backward_pass = PropagationPass(channels, blocks, own=1)
        self.forward_pass = PropagationPass(channels, blocks, own=2)
        self.refine = ResidualBlock(channels)
        self.decoder = FrameDecoder(channels)

    def forward(self, features: list[Tensor], flows: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Features of each frame that know the window, ``B,c,h,w`` each.

        Args:
            features: of the N frames by themselves, ``B,c,h,w`` each; the list is emptied on the way, for the memory.
            flows: N - 1 times the classical flow from a frame to the next and from the next back to it, ``B,2,h,w``
                in pixels.
        """
        states: list[Tensor] = []
        state: Tensor | None = None
        for k in reversed(range(len(features))):
            state = self.backward_pass((features[k],), None if state is None else (state, flows[k][0]))
            states.append(state)
        state = None
        refined: list[Tensor] = []
        while features:
            own = features.pop(0), states.pop()
            state = self.forward_pass(own, None if state is None else (state, flows[len(refined) - 1][1]))
            refined.append(self.refine(state))
        return refined
