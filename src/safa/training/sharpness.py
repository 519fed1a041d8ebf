"""Losses for sharp results: deep features and discriminators, weighted relative to the pixel loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safa.training.discriminator import (
    Discriminator,
    FeatureDiscriminator,
    penalty,
    relativistic_loss,
    views,
    with_noise,
)
from safa.training.losses import Perceptual, charbonnier

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
        flat, wanted = pictures.flatten(0, 1), truths.flatten(0, 1)
        terms: dict[str, Tensor] = {}
        against: list[Tensor] = []
        with torch.enable_grad():
            pixels = charbonnier(flat, wanted)
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
        told = (results.float() * wanted_gradient.sum(dim=0)).sum()
        values = {name: term.detach() for name, term in terms.items()}
        values["sharpness"] = told - told.detach()
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
