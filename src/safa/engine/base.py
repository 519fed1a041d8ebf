"""What an upscaler needs of a network, whoever computes it: encode frames, join two, ask for any time between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from safa.engine.images import Array
from safa.network.config import Region, SafaConfig, Scale
from safa.network.states import Synthesis


class Engine(Protocol):
    """One way to run a SAFA network.

    States are opaque: what ``encode_frame``, or ``encode_window`` and then ``finish_frame``, returns goes into
    ``encode_pair`` of the same engine, and what that returns into ``synthesize``. None is changed, so a frame can serve
    both its pairs and a pair any number of times.
    """

    name: str
    config: SafaConfig
    device: torch.device

    def bytes_per_pixel(self, frames: int = 2) -> int:
        """About what it takes on ``device`` to synthesise between two of so many frames, for each pixel of a frame
        (``footprint``).
        """

    def release(self) -> None:
        """Give back the memory kept between calls; the next call takes it anew."""

    def encode_frame(self, frame: Tensor) -> Any:
        """Everything about a frame ``1,3,h,w`` float32 in [0, 1], sides multiples of ``config.multiple``."""

    def encode_window(self, frames: Sequence[Tensor], flows: Sequence[tuple[Tensor, Tensor]]) -> list[Any]:
        """Consecutive frames encoded together, for networks with propagation; arguments as ``Safa.encode_window``.

        They still want ``finish_frame``: enlarged, a whole window would take as much memory again.
        """

    def finish_frame(self, frame: Any) -> Any:
        """One of the frames of ``encode_window``, enlarged."""

    def picture(self, frame: Any) -> Tensor:
        """The picture ``1,3,4h,4w`` in [0, 1] of a frame from ``finish_frame``."""

    def encode_pair(self, frame0: Any, frame1: Any, prior: tuple[Tensor, Tensor] | None = None) -> Any:
        """Join two encoded frames; ``prior``: classical flow 0->1 and 1->0 in pixels, each ``1,2,h,w``."""

    def synthesize(self, pair: Any, t: float, scale: Scale = None, region: Region | None = None) -> Synthesis:
        """The frame at time ``t`` in [0, 1].

        ``scale``: what the selector may not decide; ``region``: what of the frame it looks at, all if None.

        An engine may leave ``Synthesis.fused`` None.
        """

    def store(self, image: Tensor, into: Array) -> None:
        """Write a part of a result's image into a picture's colours, see ``images.store``."""
