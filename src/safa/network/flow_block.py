"""The scale selector (paper section 3.3, ablation c): which resolution a flow block works at.

K scales are K-1 binary choices. With scales from fine to coarse and choices ``g[0..K-2]`` in {0, 1}, scale 0 is
taken when every choice is 1, and scale ``k`` when choice ``k-1`` is 0 and all later choices are 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safa.network.layers import ConvPReLU, ResidualBlock
from safa.network.operations import resize_bilinear


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
        """Return the logits ``B,K-1`` from the pixels ``B,C,h,w`` that were picked from a block's input."""
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


# One scale-adaptive flow block (paper section 3.3, figure 3).

FLOW_CHANNELS = 6


def block_channels(channels: int) -> int:
    """Channels of a block's input: hidden, two warped features, flow state, t."""
    return 3 * channels + FLOW_CHANNELS + 1


class Branch(nn.Module):
    """The convolutions of one block: ``B,3c+7,h,w`` -> ``B,c,h,w``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = ConvPReLU(block_channels(channels), channels)
        self.body = nn.Sequential(ResidualBlock(channels), ResidualBlock(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.stem(x))


class ScaleAdaptiveBlock(nn.Module):
    """Runs its branch at one of several scales, or at all of them, mixed by ``weights``, in training.

    Args:
        channels: c.
        scales: resolution of each branch relative to the feature grid, finest first.
        shared: one set of weights for all scales (the paper's choice) or one per scale.
    """

    def __init__(self, channels: int, scales: Sequence[float], shared: bool) -> None:
        super().__init__()
        self.channels = channels
        self.scales = tuple(scales)
        self.branches = nn.ModuleList(Branch(channels) for _ in range(1 if shared else len(self.scales)))

    def at_scale(self, x: Tensor, index: int) -> Tensor:
        """Return the block's result ``B,c,h,w`` with scale ``index`` for the whole batch."""
        scale = self.scales[index]
        branch = self.branches[index % len(self.branches)]
        return resize_bilinear(branch(resize_bilinear(x, scale)), 1 / scale)

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """Compute all scales and sum them with ``weights`` ``B,K``, which training differentiates."""
        total = torch.zeros((), device=x.device)
        for index in range(len(self.scales)):
            total = total + weights[:, index, None, None, None] * self.at_scale(x, index)
        return total

    def routed(self, x: Tensor, choice: Tensor) -> Tensor:
        """Compute each sample at its own scale ``choice`` ``B`` (long), and no branch that no sample uses."""
        chosen = choice.tolist()
        if len(set(chosen)) == 1:
            return self.at_scale(x, chosen[0])
        result: Tensor | None = None
        for index in sorted(set(chosen)):
            members = (choice == index).nonzero().squeeze(1)
            part = self.at_scale(x[members], index)
            if result is None:
                result = part.new_empty(x.shape[0], *part.shape[1:])
            result[members] = part
        assert result is not None
        return result
