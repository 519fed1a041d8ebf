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

from safa.training.losses import Perceptual, charbonnier

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
        return self.layers(frames).float()


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
    """Add the noise of ``penalty``."""
    return values + NOISE * torch.randn_like(values)


def relativistic_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Relativistic GAN loss, ``softplus(worse - better)``, compared place by place; a scalar.

    The discriminator's loss with the truth as ``better``, the network's with its results.
    """
    return F.softplus(worse - better).mean()


def penalty(said: Tensor, of_noisy: Tensor) -> Tensor:
    """Return a penalty for judging by differences that are hardly visible; a scalar, to be added to the
    discriminator's loss.

    R1 and R2 (Mescheder et al., 2018) by finite differences, which needs no second derivative.

    Args:
        said: of truth and results, ``2B,...``.
        of_noisy: of the same ``with_noise``.
    """
    return PENALTY * (of_noisy - said).square().mean()


# Losses for sharp results: deep features and discriminators, weighted relative to the pixel loss.

# Steps that the discriminators get before they count, and steps in which they then come to their full weight.
ALONE, RISE = 60, 60
# Steps between two of the discriminators' gradient penalty, which costs as much as all else of theirs.
PENALTY_EVERY = 4
# Of the running means of the gradients' lengths.
MEMORY = 0.95


class Sharpness(nn.Module):
    """Adds the gradients of three terms to that of the pixel loss, each scaled to a share of its length.

    Weights of such terms depend on everything from the patch to how good the discriminator is at the moment; lengths of
    gradients at the pictures do not.

    Args:
        perceptual: features to compare by; None where no term needs them.
        perceptual_share, adversarial_share, feature_adversarial_share: lengths of the gradients of their distance, of a
            discriminator on pixels and of one on the features, relative to the pixel loss's.
    """

    def __init__(
        self,
        perceptual: Perceptual | None,
        perceptual_share: float = 0.0,
        adversarial_share: float = 0.0,
        feature_adversarial_share: float = 0.0,
    ) -> None:
        super().__init__()
        self._fixed = (perceptual,)
        self.shares = perceptual_share, adversarial_share, feature_adversarial_share
        self.discriminator = Discriminator() if adversarial_share else None
        self.feature_discriminator: FeatureDiscriminator | None = None
        if feature_adversarial_share and perceptual is not None:
            # The first stage sees no more than the other discriminator does, and would cost most.
            self.feature_discriminator = FeatureDiscriminator(perceptual.widths()[1:])
        self.lengths: Tensor
        self.steps: Tensor
        # Of the gradients of the pixel loss and of the three terms.
        self.register_buffer("lengths", torch.zeros(4))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, results: Tensor, truths: Tensor) -> dict[str, Tensor]:
        """Terms about three neighbouring frames of each scene.

        Args:
            results, truths: ``3,B,3,H,W`` in [0, 1]: a frame, one between, and the next.

        Returns:
            "sharpness": to be added to the loss; what it tells the network is the gradients. "perceptual",
            "adversarial" and "feature_adversarial": the plain values. "discriminator": the discriminators' own loss, to
            be added as well.
        """
        pictures = results.detach().float().requires_grad_()
        truths = truths.float()
        flat, expected = pictures.flatten(0, 1), truths.flatten(0, 1)
        terms: dict[str, Tensor] = {}
        against: list[Tensor] = []
        with torch.enable_grad():
            pixels = charbonnier(flat, expected)
            perceptual = self._fixed[0]
            if perceptual is not None:
                # One of the two at the inputs is enough at a time: the features cost most of all.
                of = [1, int(self.steps) % 2 * 2]
                made, real = (perceptual.features(frames[of].flatten(0, 1)) for frames in (pictures, truths))
                # In parts of the truth's features, so that all stages count alike.
                sizes = [feature.mean() for feature in real]
                if self.shares[0]:
                    distances = [(a - b).abs().mean() / size for a, b, size in zip(made, real, sizes, strict=True)]
                    terms["perceptual"] = torch.stack(distances).mean()
                if self.feature_discriminator is not None:
                    made, real = (
                        [feature / size for feature, size in zip(features[1:], sizes[1:], strict=True)]
                        for features in (made, real)
                    )
                    terms["feature_adversarial"] = self._against(self.feature_discriminator, made, real, against)
            if self.discriminator is not None:
                terms["adversarial"] = self._against(self.discriminator, [views(*pictures)], [views(*truths)], against)
            names = "perceptual", "adversarial", "feature_adversarial"
            gradients = [
                torch.zeros_like(pictures) if of_term is None else _gradient(of_term, pictures)
                for of_term in (pixels, *map(terms.get, names))
            ]
        lengths = torch.stack([gradient.norm() for gradient in gradients])
        running = torch.where(self.lengths > 0, MEMORY * self.lengths + (1 - MEMORY) * lengths, lengths)
        # A step whose gradient is not finite is not taken, and must not be remembered either.
        self.lengths.copy_(torch.where(running.isfinite(), running, self.lengths))
        rise = float(((self.steps - ALONE) / RISE).clamp(0, 1))
        scale = self.lengths[0] / self.lengths.clamp(min=1e-12)
        weights = self.shares[0], rise * self.shares[1], rise * self.shares[2]
        wanted_gradient = torch.stack([w * s * g for w, s, g in zip(weights, scale[1:], gradients[1:], strict=True)])
        self.steps += 1
        reported = (results.float() * wanted_gradient.sum(dim=0)).sum()
        values = {name: term.detach() for name, term in terms.items()}
        values["sharpness"] = reported - reported.detach()
        if against:
            values["discriminator"] = torch.stack(against).sum()
        return values

    def _against(
        self, discriminator: nn.Module, made: Sequence[Tensor], real: Sequence[Tensor], losses: list[Tensor]
    ) -> Tensor:
        """The network's loss by a discriminator of such tensors; the discriminator's own is added to ``losses``."""
        shown = [tensor.detach() for tensor in made]
        of_real = discriminator(*real)
        of_made = discriminator(*shown)
        losses.append(relativistic_loss(of_real, of_made))
        if int(self.steps) % PENALTY_EVERY == 0:
            noisy = [with_noise(torch.cat(both)) for both in zip(real, shown, strict=True)]
            losses.append(PENALTY_EVERY * penalty(torch.cat((of_real, of_made)), discriminator(*noisy)))
        return relativistic_loss(discriminator(*made), of_real.detach())


def _gradient(term: Tensor, pictures: Tensor) -> Tensor:
    return torch.autograd.grad(term, pictures, retain_graph=True)[0]
