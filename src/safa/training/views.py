"""Forward passes of a network over a training sample, for networks of pairs and of windows."""

from __future__ import annotations

import torch
from torch import Tensor

from safa.data.sample import Sample
from safa.network.safa import Safa
from safa.network.states import FrameState, PairState


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
