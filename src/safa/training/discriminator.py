"""A small network that tells results from truth by their texture and by how they change from frame to frame.

Trained against the network, it makes results sharp. The relativistic loss (Jolicoeur-Martineau, 2018) asks of each
place only that the result look as real as the truth does there, and truth and result are the same scene.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

CHANNELS = 32
SLOPE = 0.2
# Noise of the finite difference that stands for the gradient penalty, and the penalty's weight.
NOISE, PENALTY = 0.01, 30.0


class Discriminator(nn.Module):
    """``B,9,H,W`` as ``views`` makes them -> ``B,1,H/8,W/8``, larger where it looks like truth."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        # Channels in and out, side of the kernel, stride.
        shapes = [
            *((9, 1, 3, 1), (1, 2, 4, 2), (2, 2, 3, 1)),
            *((2, 4, 4, 2), (4, 4, 4, 2), (4, 4, 3, 1)),
        ]
        for number, (wide, out, side, stride) in enumerate(shapes):
            inputs = wide if number == 0 else wide * channels
            layers += [
                spectral_norm(nn.Conv2d(inputs, out * channels, side, stride, padding=1)),
                nn.LeakyReLU(SLOPE),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(4 * channels, 1, 3, padding=1))

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        return self.layers(frames).float()  # type: ignore[no-any-return]


def views(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    """Three frames of a scene, ``B,3,H,W`` each in [0, 1] -> each with its differences to the others, ``3B,9,H,W``.

    A flicker shows in the differences even where every frame by itself looks right.
    """
    return torch.cat(
        [
            torch.cat((2 * before - 1, middle - before, after - before), dim=1),
            torch.cat((2 * middle - 1, before - middle, after - middle), dim=1),
            torch.cat((2 * after - 1, middle - after, before - after), dim=1),
        ]
    )


def network_loss(discriminator: Discriminator, results: Tensor, truths: Tensor) -> Tensor:
    """How much less real ``views`` of results look than those of the truth; a scalar."""
    with torch.no_grad():
        wanted = discriminator(truths)
    return F.softplus(wanted - discriminator(results)).mean()


def discriminator_loss(discriminator: Discriminator, results: Tensor, truths: Tensor) -> Tensor:
    """How badly it tells the two apart, and a penalty for judging by what hardly differs; a scalar.

    The penalty is R1 and R2 (Mescheder et al., 2018) by finite differences, which needs no second derivative.
    """
    real, made = discriminator(truths), discriminator(results)
    everything = torch.cat((truths, results))
    shifted = discriminator(everything + NOISE * torch.randn_like(everything))
    penalty = (shifted - torch.cat((real, made))).square().mean()
    return F.softplus(made - real).mean() + PENALTY * penalty
