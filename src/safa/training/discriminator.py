"""Small networks that tell results from truth by their texture, and by how they change from frame to frame.

Trained against the network, it makes results sharp. The relativistic loss (Jolicoeur-Martineau, 2018) asks of each
place only that the result look as real as the truth does there, and truth and result are the same scene.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

CHANNELS = 32
SLOPE = 0.2
# Noise of the finite difference that stands for the gradient penalty, and the penalty's weight.
NOISE, PENALTY = 0.01, 30.0
# Channels of a head on features.
HEAD = 64


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


class FeatureDiscriminator(nn.Module):
    """Judges by the features of a fixed network, after SRFeat (2018) and Projected GAN (2021).

    What textures look like need not be learned first, and a pattern that fools a look at pixels alone shows here.

    Args:
        widths: channels of the features it is given, one head for each.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(width, HEAD, 1)),
                nn.LeakyReLU(SLOPE),
                spectral_norm(nn.Conv2d(HEAD, HEAD, 3, padding=1)),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(HEAD, 1, 1),
            )
            for width in widths
        )

    def forward(self, *features: Tensor) -> Tensor:
        """``B,width,h,w`` for each head, of a mean size of 1 -> ``B,places``, larger where it looks like truth."""
        pairs = zip(self.heads, features, strict=True)
        return torch.cat([head(feature).float().flatten(1) for head, feature in pairs], dim=1)


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


def with_noise(values: Tensor) -> Tensor:
    """The same with the noise of ``penalty``."""
    return values + NOISE * torch.randn_like(values)


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Relativistic GAN loss, ``softplus(worse - better)``, compared place by place; a scalar.

    The discriminator's loss with the truth as ``better``, the network's with its results.
    """
    return F.softplus(worse - better).mean()


def penalty(said: Tensor, of_noisy: Tensor) -> Tensor:
    """For judging by what hardly differs; a scalar, to be added to the discriminator's loss.

    R1 and R2 (Mescheder et al., 2018) by finite differences, which needs no second derivative.

    Args:
        said: of truth and results, ``2B,...``.
        of_noisy: of the same ``with_noise``.
    """
    return PENALTY * (of_noisy - said).square().mean()
