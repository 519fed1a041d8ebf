"""Forward passes of a network over a training sample, for networks of pairs and of windows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from safa.data.dataset import Sample
from safa.metrics import false_detail
from safa.network.config import Scale
from safa.network.flow_block import branch_weights
from safa.network.safa import Safa
from safa.network.synthesis import FrameState, PairState
from safa.training.adversarial import Sharpness
from safa.training.basicvsr import BasicVSR
from safa.training.config import TrainConfig
from safa.training.losses import PIXEL_LOSSES, Perceptual, flow_error, frequency, imbalance, lattices, to_low_resolution


def encode(network: Safa, sample: Sample) -> tuple[Tensor | None, PairState]:
    """Encode a batch of samples.

    Returns:
        The network's enlarged input frames ``B,N,3,4h,4w`` of a network with propagation, None otherwise; and the pair
        of frames that the sample's time lies between.
    """
    if network.propagation is None:
        return None, encode_first(network, sample)
    assert sample.prior is not None  # such a network asks for it
    assert sample.motion is not None
    flows = [(both[:, 0], both[:, 1]) for both in sample.prior.unbind(dim=1)]
    states = network.encode_window(list(sample.frames.unbind(dim=1)), flows)
    enlarged = torch.stack([state.enlarged for state in states], dim=1)
    features = torch.stack([state.features for state in states], dim=1)
    batch = torch.arange(len(sample.pair), device=sample.pair.device)
    first, second = (
        FrameState(enlarged[batch, number], features[batch, number]) for number in (sample.pair, sample.pair + 1)
    )
    return enlarged, network.encode_pair(first, second, sample.motion.unbind(dim=1))


def encode_first(network: Safa, sample: Sample) -> PairState:
    """Encode the first two frames of each sample as a pair, whatever the network."""
    prior = None if sample.prior is None else (sample.prior[:, 0, 0], sample.prior[:, 0, 1])
    return network.encode(sample.frames[:, 0], sample.frames[:, 1], prior)


def synthesize_all(network: Safa, sample: Sample) -> tuple[Tensor, Tensor]:
    """The network's pictures of all input frames ``B,N,3,4h,4w`` and of the time between ``B,3,4h,4w``."""
    enlarged, pair = encode(network, sample)
    between = network.synthesize(pair, sample.t).image
    if enlarged is None:
        enlarged = torch.stack([network.synthesize(pair, t).image for t in (0.0, 1.0)], dim=1)
    return enlarged, between


# The network together with its loss.

SHARE = "scale_share_"
"""Values named so, then the block, "_" and the index of a scale, say how often that block took that scale, 0..1."""
# Part of the running mean of a block's choices that one batch leaves: about 20 batches are remembered.
MEMORY = 0.95

Term = tuple[float, Tensor]
"""A weight and what it counts."""


class Objective(nn.Module):
    """One call is one training step's forward pass.

    Args:
        network: is trained.
        config: which terms count how much.
        teacher: network to learn flow from where the exact flow is not known.
        perceptual: features for the perceptual term.
        picture_teachers: networks to learn pictures of the input frames of windows from.
    """

    def __init__(
        self,
        network: Safa,
        config: TrainConfig,
        teacher: Safa | None = None,
        perceptual: Perceptual | None = None,
        picture_teachers: Sequence[BasicVSR] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        shares = config.perceptual_share, config.adversarial_share, config.feature_adversarial_share
        self.sharpness = Sharpness(perceptual, *shares) if any(shares) else None
        patterns = ("lattices", config.lattice_loss, lattices), ("false_detail", config.false_detail_loss, false_detail)
        # What results should not have more of than the truth: name, weight and term.
        self.patterns = [pattern for pattern in patterns if pattern[1]]
        # In tuples, so that they are no submodules: they are not trained, averaged or shared between devices.
        self._fixed = (teacher, perceptual)
        self._picture_teachers = tuple(picture_teachers)
        scales = network.config.scales
        wanted = torch.tensor(config.scale_shares or [1.0] * len(scales))
        wanted = wanted / wanted.sum()
        self.costs: Tensor
        self.wanted: Tensor
        self.shares: Tensor
        self.register_buffer("costs", torch.tensor([scale**2 for scale in scales]), persistent=False)
        self.register_buffer("wanted", wanted, persistent=False)
        # Running mean of each block's probabilities, part of the run's state: one batch says little about a block.
        self.register_buffer("shares", wanted.repeat(network.config.blocks, 1), persistent=False)
        if config.checkpointing:
            recompute_activations(network)

    def forward(self, sample: Sample, pick: Tensor) -> dict[str, Tensor]:
        """Losses of a batch.

        Args:
            pick: ``B``: truth 0, 1 (time t) or 2 where one time per pair is compared; windows do without.
        """
        enlarged, pair = encode(self.network, sample)
        scale = self._draw_scales()
        if enlarged is not None:
            taught, taught_between = self._taught(sample)
            inputs = self._compare(enlarged.flatten(0, 1), sample.truths.flatten(0, 1), taught)
            between, made = self._at(pair, sample.t, sample.between, None, scale, taught_between)
            total = _sum(inputs) + self.config.between_loss * between.pop("loss")
            sharp = self._sharpness(enlarged, made, sample)
            total = total + sharp.get("sharpness", 0.0) + sharp.get("discriminator", 0.0)
            for name, weight, _ in self.patterns:
                total = total + weight * sharp[name]
            return {
                "loss": total,
                **{f"inputs_{name}": term for name, (_, term) in inputs.items()},
                **between,
                **sharp,
            }
        guide = self._guide(sample)
        times = torch.stack((torch.zeros_like(sample.t), sample.t, torch.ones_like(sample.t)))  # 3,B
        truths = torch.stack((sample.truths[:, 0], sample.between, sample.truths[:, 1]))  # 3,B,3,4h,4w
        batch = torch.arange(len(pick), device=pick.device)
        picks = [pick] if self.config.times == "one" else [torch.full_like(pick, k) for k in range(3)]
        parts = []
        for which in picks:
            t = times[which, batch]
            exact = None if sample.flow is None else self._wanted_flow(sample.flow[batch, which], guide, t)
            parts.append(self._at(pair, t, truths[which, batch], exact, scale)[0])
        # Losses of several times add up, as the authors' do; shares are an average.
        return {
            name: torch.stack([part[name] for part in parts]).sum() / (len(parts) if name.startswith(SHARE) else 1)
            for name in parts[0]
        }

    @torch.no_grad()
    def _taught(self, sample: Sample) -> tuple[Tensor | None, Tensor | None]:
        """The teacher's pictures of the input frames, ``B*N,3,4h,4w``, and between, ``B,3,4h,4w``, if there are any.

        Teachers look at clean frames even where the network looks at degraded ones.
        """
        if sample.taught is not None:
            return sample.taught[0].flatten(0, 1), sample.taught[1]
        teachers = self._picture_teachers
        if not teachers:
            return None, None
        teacher, mirrored = teachers[int(torch.randint(len(teachers), ()))], bool(torch.rand(()) < 0.5)
        seen = sample.frames if sample.clean is None else sample.clean
        frames = seen.flip(-1) if mirrored else seen
        pictures: Tensor = teacher(frames)
        return (pictures.flip(-1) if mirrored else pictures).flatten(0, 1), None

    def _sharpness(self, enlarged: Tensor, made: Tensor, sample: Sample) -> dict[str, Tensor]:
        """Return the sharpness terms of the frame between and the two around it."""
        if self.sharpness is None and not self.patterns:
            return {}
        batch = torch.arange(len(sample.t), device=sample.t.device)
        ends = [(frames[batch, sample.pair], frames[batch, sample.pair + 1]) for frames in (enlarged, sample.truths)]
        results, truths = (
            torch.stack((before.float(), middle.float(), after.float()))
            for (before, after), middle in zip(ends, (made, sample.between), strict=True)
        )
        values = {} if self.sharpness is None else self.sharpness(results, truths)
        return values | {name: term(results.flatten(0, 1), truths.flatten(0, 1)) for name, _, term in self.patterns}

    def _at(
        self,
        pair: PairState,
        t: Tensor,
        truth: Tensor,
        flow: Tensor | None,
        scale: Scale,
        taught: Tensor | None = None,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms about one time of each sample, and the pictures; ``flow`` is the wanted one, where it is known."""
        config = self.config
        result = self.network.synthesize(pair, t, scale)
        terms = self._compare(result.image, truth, taught)
        if result.fused is not None and config.fused_loss:
            terms["fused"] = config.fused_loss, _sum(self._pixels(result.fused, truth, taught))
        if config.flow_loss and flow is not None:
            terms["flow"] = config.flow_loss, flow_error(result.flow, flow)
        shares: dict[str, Tensor] = {}
        if result.probability.shape[-1]:
            share = branch_weights(result.probability.flatten(0, 1)).unflatten(0, result.probability.shape[:2])
            terms["cost"] = config.scale_cost, (share * self.costs).sum(dim=2).mean()
            terms["imbalance"] = config.scale_balance, imbalance(self._running(share.mean(dim=0)), self.wanted)
            taken = F.one_hot(result.scale, len(self.costs)).float().mean(dim=0)  # blocks,K
            shares = {f"{SHARE}{k}_{s}": taken[k, s] for k in range(taken.shape[0]) for s in range(taken.shape[1])}
        values = {"loss": _sum(terms), **{name: term for name, (_, term) in terms.items()}, **shares}
        return values, result.image

    def _pixels(self, image: Tensor, truth: Tensor, taught: Tensor | None) -> dict[str, Term]:
        """Return the distance of pictures ``B,3,H,W`` to the truth and to the teacher's."""
        loss = PIXEL_LOSSES[self.config.loss]
        terms: dict[str, Term] = {self.config.loss: (self.config.truth_loss, loss(image, truth))}
        if taught is not None and self.config.distillation_loss:
            terms["distillation"] = self.config.distillation_loss, loss(image, taught)
        return terms

    def _compare(self, image: Tensor, truth: Tensor, taught: Tensor | None = None) -> dict[str, Term]:
        """Return the terms of pictures ``B,3,H,W`` against the truth and the teacher's pictures."""
        config = self.config
        terms = self._pixels(image, truth, taught)
        if config.frequency_loss:
            terms["frequency"] = config.frequency_loss, frequency(image, truth)
        if config.perceptual_loss and self._fixed[1] is not None:
            terms["perceptual"] = config.perceptual_loss, self._fixed[1](image, truth)
        return terms

    def _running(self, share: Tensor) -> Tensor:
        """The running mean of each block's ``share`` ``blocks,K``, with the gradient of this batch's."""
        fresh = MEMORY * self.shares + (1 - MEMORY) * share.detach()
        self.shares.copy_(torch.where(fresh.isfinite(), fresh, self.shares))
        return self.shares.clone() + share - share.detach()

    def _draw_scales(self) -> Scale:
        """Draw each block's scale for this step; None leaves it to the selector, or to the one fixed scale."""
        config, network = self.config, self.config.network
        if config.scale_choice == "selector":
            return None
        if float(torch.rand(())) < config.pattern_share:
            return config.scale_pattern
        return torch.randint(len(network.scales), (network.blocks,)).tolist()

    @torch.no_grad()
    def _guide(self, sample: Sample) -> PairState | None:
        """Return the teacher's view of the pair; None if nothing is to be learnt from it."""
        teacher = self._fixed[0]
        if teacher is None or sample.flow is None or not bool(sample.flow.isnan().any()):
            return None
        return encode_first(teacher, sample)

    @torch.no_grad()
    def _wanted_flow(self, exact: Tensor, guide: PairState | None, t: Tensor) -> Tensor:
        """Return the exact flow ``B,4,h,w``, or the teacher's where that is NaN."""
        teacher = self._fixed[0]
        if teacher is None or guide is None:
            return exact
        taught = to_low_resolution(teacher.synthesize(guide, t).flow, exact.shape[-1])
        return torch.where(exact.isnan(), taught, exact)


def _sum(terms: dict[str, Term]) -> Tensor:
    return torch.stack([weight * term.float() for weight, term in terms.values()]).sum()


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
    if network.propagation is not None:
        wrap(network.propagation.backward_pass, "forward")
        wrap(network.propagation.forward_pass, "forward")


def keep_features(network: Safa) -> None:
    """Leave everything as it is that a frame of a window gets before it is one of a pair."""
    for part in (network.extractor, network.propagation):
        if part is not None:
            part.requires_grad_(False)


def fuse_operations(network: Safa) -> None:
    """Compile the chains of residual blocks that most of a training step is spent in.

    PReLU and what is added and multiplied around convolutions take a third of a step on a CPU. Chains alone are
    compiled: all the rest gains little, and what is drawn at random around them is not for a compiler.
    """
    chains = []
    if network.propagation is not None:
        chains += [network.propagation.backward_pass.body, network.propagation.forward_pass.body]
    if network.decoder is not None:
        chains.append(network.decoder.body)
    for chain in chains:
        chain.compile(dynamic=False)
