"""One scale-adaptive flow block (paper section 3.3, figure 3).

A block sees the hidden state, the flow state, both frames' features warped by the current flow and the time t; it
works at the scale the selector chose and returns the next hidden state. The head that turns a hidden state into a
change of the flow state, and the selector, are shared by all blocks and live in ``safa.py``.

Flow state ``B,6,h,w``: [0:2] flow t->0, [2:4] flow t->1 (x then y, pixels of its own grid), [4] logit of the blend
mask (large = frame 0), [5] unused, kept for the released layout.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safa.network.layers import ConvPReLU, ResidualBlock
from safa.network.operations import resize_bilinear

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
        """The block's result ``B,c,h,w`` with scale ``index`` for the whole batch."""
        scale = self.scales[index]
        branch = self.branches[index % len(self.branches)]
        return resize_bilinear(branch(resize_bilinear(x, scale)), 1 / scale)

    def mixed(self, x: Tensor, weights: Tensor) -> Tensor:
        """All scales computed and summed with ``weights`` ``B,K``: what training differentiates."""
        total = torch.zeros((), device=x.device)
        for index in range(len(self.scales)):
            total = total + weights[:, index, None, None, None] * self.at_scale(x, index)
        return total

    def routed(self, x: Tensor, choice: Tensor) -> Tensor:
        """Each sample at its own scale ``choice`` ``B`` (long); no branch is computed for a sample in vain."""
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
