"""The scale selector (paper section 3.3, ablation c): which resolution a flow block works at.

K scales are K-1 binary choices. With scales from fine to coarse and choices ``g[0..K-2]`` in {0, 1}, scale 0 is
taken when every choice is 1, and scale ``k`` when choice ``k-1`` is 0 and all later choices are 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from safa.network.layers import ConvPReLU


class ScaleSelector(nn.Module):
    """Looks at a block's input ``B,C,H,W`` and returns the logit of each binary choice, ``B,K-1``."""

    def __init__(self, in_channels: int, channels: int, scales: int) -> None:
        super().__init__()
        self.squeeze = ConvPReLU(in_channels, channels, kernel_size=1)
        self.look = ConvPReLU(channels, channels, kernel_size=1)
        self.decide = nn.Linear(channels, scales - 1)

    def forward(self, x: Tensor) -> Tensor:
        # The paper's second 1x1 convolution has stride 2: skipping pixels first gives the same values for less.
        return self.judge(x[:, :, ::2, ::2])

    def judge(self, x: Tensor) -> Tensor:
        """The logits ``B,K-1`` from the pixels ``B,C,h,w`` that were picked of a block's input."""
        return self.decide(self.look(self.squeeze(x)).mean(dim=(2, 3))).float()


def branch_weights(choice: Tensor) -> Tensor:
    """Weight of each scale, ``B,K``, from binary choices (or their probabilities) ``B,K-1``; rows sum to 1."""
    ones = torch.ones_like(choice[:, :1])
    first_coarser = torch.cat((ones, 1 - choice), dim=1)
    all_later = torch.cat((choice.flip(1).cumprod(1).flip(1), ones), dim=1)
    return first_coarser * all_later


def chosen_scale(logit: Tensor) -> Tensor:
    """Index of the scale that the likelier choices (a ``logit`` of ``B,K-1`` above 0 is a 1) lead to, ``B`` long."""
    coarser = torch.arange(1, logit.shape[1] + 1, device=logit.device)
    return ((logit <= 0) * coarser).amax(dim=1)


def sample_straight_through(probability: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Bernoulli choices ``B,K-1`` whose gradient is the identity with respect to ``probability``."""
    drawn = torch.bernoulli(probability.detach(), generator=generator)
    return drawn + probability - probability.detach()
