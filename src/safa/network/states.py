"""Intermediate states of the network, and its result."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class FrameState:
    """State of one frame, shared by all pairs it is part of."""

    enlarged: Tensor
    """``B,3,4h,4w``: the frame enlarged, by bicubic interpolation or, with propagation, by the network."""
    features: Tensor
    """``B,c,Hf,Wf``: fused features on the feature grid."""


@dataclass
class PairState:
    """A pair ready to be asked for any time."""

    frame0: FrameState
    frame1: FrameState
    hidden: Tensor
    """``B,c,Hf,Wf``: first hidden state."""
    prior: tuple[Tensor, ...] | None
    """Classical flow 0->1 and 1->0 in input pixels and, where known, its acceleration, each ``B,2,h,w``; None without
    a flow prior."""


@dataclass
class Synthesis:
    """One synthesised time with everything the network decided on the way."""

    image: Tensor
    """``B,3,4h,4w`` in [0, 1]."""
    fused: Tensor | None
    """``B,3,4h,4w``: the image fusion alone; None with feature fusion only."""
    flow: Tensor
    """``B,4,Hs,Ws``: t->0 (x, y) and t->1 (x, y) in pixels of the flow state's grid."""
    mask: Tensor
    """``B,1,Hs,Ws``: share of frame 0 in the image fusion, 0..1."""
    scale: Tensor
    """``B,blocks`` long: index into ``SafaConfig.scales`` used by each block (in training: the one drawn)."""
    logit: Tensor
    """``B,blocks,K-1``: the selector's logits, nan for a block whose scale was given; an empty last axis where the
    selector decided nothing."""

    @property
    def probability(self) -> Tensor:
        """``B,blocks,K-1``: the selector's probabilities, as ``logit``."""
        return torch.sigmoid(self.logit)
