"""What an upscaler needs of a network, whoever computes it: encode frames, join two, ask for any time between."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from safa.network.config import Region, SafaConfig, Scale
from safa.network.states import Synthesis
from safa.pixels import Array


class Engine(Protocol):
    """One way to run a SAFA network.

    States are opaque: what ``encode_frame`` returns goes into ``encode_pair`` of the same engine, and what that
    returns into ``synthesize``. Neither is changed, so a frame can serve both its pairs and a pair any number of times.
    """

    name: str
    config: SafaConfig
    device: torch.device

    @property
    def bytes_per_pixel(self) -> int:
        """About what a pair takes on ``device`` while it is synthesised, for each pixel of a frame (``footprint``)."""

    def release(self) -> None:
        """Give back the memory kept between calls; the next call takes it anew."""

    def encode_frame(self, frame: Tensor) -> Any:
        """Everything about a frame ``1,3,h,w`` float32 in [0, 1], sides multiples of ``config.multiple``."""

    def with_neighbours(self, frame: Any, neighbours: Iterable[tuple[Any, Tensor]]) -> Any:
        """An encoded frame with what its neighbours, given by ``encode_frame``, add to it.

        With each comes the classical flow from ``frame`` to it, ``1,2,h,w`` in pixels. For networks with
        ``neighbours``; what ``encode_pair`` wants of those is the result of this.
        """

    def encode_pair(self, frame0: Any, frame1: Any, prior: tuple[Tensor, Tensor] | None = None) -> Any:
        """Join two encoded frames; ``prior``: classical flow 0->1 and 1->0 in pixels, each ``1,2,h,w``."""

    def synthesize(self, pair: Any, t: float, scale: Scale = None, region: Region | None = None) -> Synthesis:
        """The frame at time ``t`` in [0, 1].

        ``scale``: what the selector may not decide; ``region``: what of the frame it looks at, all if None.

        An engine may leave ``Synthesis.fused`` None.
        """

    def store(self, image: Tensor, into: Array) -> None:
        """Write a part of a result's image into a picture's colours, see ``pixels.store``."""
