"""What makes results look sharp: deep features and a discriminator, in proportion to the pixel loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from safa.training.discriminator import Discriminator, discriminator_loss, network_loss, views
from safa.training.losses import Perceptual, charbonnier

# Steps that the discriminator gets before it counts, and steps in which it then comes to its full weight.
ALONE, RISE = 60, 60
# Of the running means of the gradients' lengths.
MEMORY = 0.95


class Sharpness(nn.Module):
    """Adds the gradients of two terms to that of the pixel loss, each scaled to a share of its length.

    Weights of such terms depend on everything from the patch to how good the discriminator is at the moment; lengths of
    gradients at the pictures do not.

    Args:
        perceptual: features of the perceptual term; None for a share of 0.
        perceptual_share, adversarial_share: lengths of their gradients, relative to the pixel loss's.
    """

    def __init__(self, perceptual: Perceptual | None, perceptual_share: float, adversarial_share: float) -> None:
        super().__init__()
        self._fixed = (perceptual,)
        self.perceptual_share, self.adversarial_share = perceptual_share, adversarial_share
        self.discriminator = Discriminator() if adversarial_share else None
        self.lengths: Tensor
        self.steps: Tensor
        # Of the gradients of the pixel loss, of the features and of the discriminator.
        self.register_buffer("lengths", torch.zeros(3))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, results: Tensor, truths: Tensor) -> dict[str, Tensor]:
        """Terms about three neighbouring frames of each scene.

        Args:
            results, truths: ``3,B,3,H,W`` in [0, 1]: a frame, one between, and the next.

        Returns:
            "sharpness": to be added to the loss; what it tells the network is the two gradients. "perceptual" and
            "adversarial": the plain values. "discriminator": its own loss, to be added as well.
        """
        pictures = results.detach().float().requires_grad_()
        truths = truths.float()
        flat, wanted = pictures.flatten(0, 1), truths.flatten(0, 1)
        values: dict[str, Tensor] = {}
        with torch.enable_grad():
            gradients = [torch.autograd.grad(charbonnier(flat, wanted), pictures, retain_graph=True)[0]]
            gradients += [torch.zeros_like(pictures)] * 2
            perceptual = self._fixed[0]
            if perceptual is not None and self.perceptual_share:
                # One of the two at the inputs is enough at a time: the features cost most of all.
                of = [1, int(self.steps) % 2 * 2]
                term = perceptual.relative(pictures[of].flatten(0, 1), truths[of].flatten(0, 1))
                values["perceptual"] = term.detach()
                gradients[1] = torch.autograd.grad(term, pictures)[0]
            if self.discriminator is not None:
                shown, real = views(*pictures), views(*truths)
                term = network_loss(self.discriminator, shown, real)
                values["adversarial"] = term.detach()
                gradients[2] = torch.autograd.grad(term, pictures)[0]
        lengths = torch.stack([gradient.norm() for gradient in gradients])
        running = torch.where(self.lengths > 0, MEMORY * self.lengths + (1 - MEMORY) * lengths, lengths)
        # A step whose gradient is not finite is not taken, and must not be remembered either.
        self.lengths.copy_(torch.where(running.isfinite(), running, self.lengths))
        rise = float(((self.steps - ALONE) / RISE).clamp(0, 1))
        scale = self.lengths[0] / self.lengths.clamp(min=1e-12)
        wanted_gradient = self.perceptual_share * scale[1] * gradients[1]
        wanted_gradient = wanted_gradient + rise * self.adversarial_share * scale[2] * gradients[2]
        self.steps += 1
        told = (results.float() * wanted_gradient).sum()
        values["sharpness"] = told - told.detach()
        if self.discriminator is not None:
            values["discriminator"] = discriminator_loss(self.discriminator, shown.detach(), real)
        return values
