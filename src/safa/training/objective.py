"""The network together with its loss."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from safa.data.dataset import Sample
from safa.network.safa import Safa
from safa.network.selector import branch_weights
from safa.network.states import PairState
from safa.training.config import TrainConfig
from safa.training.losses import PIXEL_LOSSES, Perceptual, flow_error, frequency, imbalance, to_low_resolution

SHARE = "scale_share_"
"""Values of this name and the index of a scale say how often that scale was drawn, 0..1."""


class Objective(nn.Module):
    """One call is one training step's forward pass.

    Args:
        network: is trained.
        config: which terms count how much.
        teacher: network whose flow is imitated where the exact flow is not known.
        perceptual: features for the perceptual term.
    """

    def __init__(
        self, network: Safa, config: TrainConfig, teacher: Safa | None = None, perceptual: Perceptual | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        # In a tuple, so that they are no submodules: they are not trained, averaged or shared between devices.
        self._fixed = (teacher, perceptual)
        self.costs: Tensor
        self.register_buffer("costs", torch.tensor([scale**2 for scale in network.config.scales]), persistent=False)
        if config.checkpointing:
            recompute_activations(network)

    def forward(self, sample: Sample, pick: Tensor) -> dict[str, Tensor]:
        """Losses of a batch; ``pick`` ``B`` chooses truth 0, 1 (time t) or 2 when one time per sample is compared."""
        pair = self.network.encode(sample.frame0, sample.frame1, sample.prior)
        guide = self._guide(sample)
        times = torch.stack((torch.zeros_like(sample.t), sample.t, torch.ones_like(sample.t)))  # 3,B
        batch = torch.arange(len(pick), device=pick.device)
        picks = [pick] if self.config.times == "one" else [torch.full_like(pick, k) for k in range(3)]
        parts = [self._at(pair, guide, sample, times[which, batch], (batch, which)) for which in picks]
        # Losses of several times add up, as the authors' do; shares are an average.
        return {
            name: torch.stack([part[name] for part in parts]).sum() / (len(parts) if name.startswith(SHARE) else 1)
            for name in parts[0]
        }

    def _at(
        self, pair: PairState, guide: PairState | None, sample: Sample, t: Tensor, which: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        config, truth = self.config, sample.targets[which]
        result = self.network.synthesize(pair, t)
        pixels = PIXEL_LOSSES[config.loss]
        terms: dict[str, tuple[float, Tensor]] = {config.loss: (1.0, pixels(result.image, truth))}
        if result.fused is not None and config.fused_loss:
            terms["fused"] = config.fused_loss, pixels(result.fused, truth)
        if config.frequency_loss:
            terms["frequency"] = config.frequency_loss, frequency(result.image, truth)
        if config.perceptual_loss and self._fixed[1] is not None:
            terms["perceptual"] = config.perceptual_loss, self._fixed[1](result.image, truth)
        if config.flow_loss and sample.flow is not None:
            wanted = self._wanted_flow(sample.flow[which], guide, t)
            terms["flow"] = config.flow_loss, flow_error(result.flow, wanted)
        shares: dict[str, Tensor] = {}
        if result.probability.shape[-1]:
            share = branch_weights(result.probability.flatten(0, 1))  # B*blocks,K
            terms["cost"] = config.scale_cost, (share * self.costs).sum(dim=1).mean()
            terms["imbalance"] = config.scale_balance, imbalance(share)
            shares = {f"{SHARE}{k}": (result.scale == k).float().mean() for k in range(len(self.costs))}
        total = torch.stack([weight * term.float() for weight, term in terms.values()]).sum()
        return {"loss": total, **{name: term for name, (_, term) in terms.items()}, **shares}

    @torch.no_grad()
    def _guide(self, sample: Sample) -> PairState | None:
        """The teacher's view of the pair; None where nothing is to be learnt from it."""
        teacher = self._fixed[0]
        if teacher is None or sample.flow is None or not bool(sample.flow.isnan().any()):
            return None
        return teacher.encode(sample.frame0, sample.frame1, sample.prior)

    @torch.no_grad()
    def _wanted_flow(self, exact: Tensor, guide: PairState | None, t: Tensor) -> Tensor:
        """The exact flow ``B,4,h,w``, and the teacher's where that is NaN."""
        teacher = self._fixed[0]
        if teacher is None or guide is None:
            return exact
        taught = to_low_resolution(teacher.synthesize(guide, t).flow, exact.shape[-1])
        return torch.where(exact.isnan(), taught, exact)


def recompute_activations(network: Safa) -> None:
    """Gradient checkpointing: the activations inside the extractor, each block and the decoder are not kept.

    The scale is drawn outside of these parts, so computing them twice gives the same values.
    """

    def wrap(module: Any, method: str) -> None:
        setattr(module, method, partial(checkpoint, getattr(module, method), use_reentrant=False))

    wrap(network.extractor, "forward")
    for block in network.blocks:
        wrap(block, "at_scale")
    if network.decoder is not None:
        wrap(network.decoder, "forward")
