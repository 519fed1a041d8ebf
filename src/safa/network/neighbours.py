"""More than two input frames (not in the paper): what the frames next to an input frame add to its features.

A neighbour's features are warped onto the frame by a classical flow and turned into a change of its features. Changes
of several neighbours add up, so there may be any number of them, none included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from safa.network.layers import ConvPReLU


class NeighbourFusion(nn.Module):
    """A frame's features and a neighbour's, warped, ``B,c,h,w`` each -> change of the former, 0 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = ConvPReLU(2 * channels, channels)
        self.change = nn.Conv2d(channels, channels, 3, padding=1)
        for parameter in self.change.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, warped: Tensor) -> Tensor:
        return self.change(self.look(torch.cat((features, warped), dim=1)))
