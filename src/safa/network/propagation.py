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

from safa.network.layers import ConvPReLU, Enlarger, ResidualBlock
from safa.network.operations import warp

FLOW_WIDTH = 16
"""Channels between the two convolutions that change the flow."""
LARGEST_SEEN = 8.0
"""Limit, in input pixels on an axis, of the flow that is fed to convolutions; warps use the whole flow. Larger values
were hardly seen in training and spoil the pictures.
"""


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
        """Return the frame's state.

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


class Propagation(nn.Module):
    """Both passes over a window and what follows them for each frame.

    Args:
        channels: c.
        blocks: residual blocks a pass.
        joined: make a frame's features from both passes' states (``SafaConfig.joined_passes``).
        enlarger_channels: ``SafaConfig.enlarger_channels``.
    """

    def __init__(self, channels: int, blocks: int, joined: bool, enlarger_channels: int) -> None:
        super().__init__()
        self.backward_pass = PropagationPass(channels, blocks, own=1)
        self.forward_pass = PropagationPass(channels, blocks, own=2)
        self.joint = ConvPReLU(2 * channels, channels, kernel_size=1) if joined else None
        self.refine = ResidualBlock(channels)
        self.decoder = Enlarger(channels, enlarger_channels)

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
        refined: list[Tensor] = []
        towards: tuple[Tensor, Tensor] | None
        state = None
        while features:
            own, backward = features.pop(0), states.pop()
            towards = None if state is None else (state, flows[len(refined) - 1][1])
            state = self.forward_pass((own, backward), towards)
            refined.append(self.refine(self.join(backward, state)))
        return refined

    def join(self, backward: Tensor, forward: Tensor) -> Tensor:
        """Join a frame's states of both passes, ``B,c,h,w`` each, into the features that are refined."""
        return forward if self.joint is None else self.joint(torch.cat((backward, forward), dim=1))
