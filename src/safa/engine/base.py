"""Interface of an engine to the upscaler: encode frames, join two, synthesise any time between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from safa.engine.images import Array
from safa.network.config import Region, SafaConfig, Scale
from safa.network.dis_flow import Flow

Part = tuple[slice, slice]
"""Lines and columns of a picture."""


@dataclass(frozen=True)
class ScaleChoice:
    """Decisions of the selector: the scale of each block, and its logits (nan where the scale was given)."""

    scales: tuple[int, ...]
    logits: tuple[tuple[float, ...], ...]


@dataclass
class Rendering:
    """A frame at one time. Image, flow and mask are the engine's own; ``Engine.array`` makes arrays of them."""

    image: Any
    """``4h,4w,3`` in [0, 1]."""
    flow: Any
    """``Hs,Ws,4``: t->0 (x, y) and t->1 (x, y) in pixels of the flow state's grid."""
    mask: Any
    """``Hs,Ws,1``: share of frame 0 in the image fusion, 0..1."""
    choice: ScaleChoice


class Engine(Protocol):
    """One way to run a SAFA network.

    States are opaque: what ``encode_frame``, or ``encode_window`` and then ``finish_frame``, returns goes into
    ``encode_pair`` of the same engine, and what that returns into ``synthesize``. None is changed, so a frame can serve
    both its pairs and a pair any number of times.
    """

    name: str
    config: SafaConfig
    device: str
    precision: str
    """Number type of its convolutions, one of ``device.PRECISIONS`` but "auto"."""

    @property
    def arithmetic(self) -> str:
        """Build, libraries and processor that the results depend on: engines equal in these too give equal results."""

    def bytes_per_pixel(self, frames: int = 2) -> int:
        """Return the approximate bytes on ``device`` for each pixel of a frame to synthesise between two of so many
        frames (``memory_estimate``).
        """

    def release(self) -> None:
        """Give back the memory kept between calls; the next call takes it anew."""

    def encode_frame(self, frame: NDArray[np.float32]) -> Any:
        """Everything about a frame ``h,w,3`` in [0, 1], sides multiples of ``config.multiple``."""

    def encode_window(self, frames: Sequence[NDArray[np.float32]], flows: Sequence[tuple[Flow, Flow]]) -> list[Any]:
        """Consecutive frames encoded together, for networks with propagation.

        They still want ``finish_frame``: enlarged, a whole window would take as much memory again.

        Args:
            frames: ``h,w,3`` each.
            flows: from each frame to the next and back, one pair fewer than there are frames; ``h,w,2`` in pixels.
        """

    def finish_frame(self, frame: Any) -> Any:
        """One of the frames of ``encode_window``, enlarged."""

    def picture(self, frame: Any) -> Any:
        """The picture of a frame from ``finish_frame``, as ``Rendering.image``."""

    def encode_pair(self, frame0: Any, frame1: Any, prior: tuple[Flow, ...] | None = None) -> Any:
        """Join two encoded frames.

        ``prior``: classical flow 0->1 and 1->0 and, where known, its acceleration, each ``h,w,2`` in pixels.
        """

    def synthesize(self, pair: Any, t: float, scale: Scale = None, region: Region | None = None) -> Rendering:
        """The frame at time ``t`` in [0, 1].

        ``scale``: what the selector may not decide; ``region``: what of the frame it looks at, all if None.
        """

    def array(self, image: Any) -> NDArray[np.float32]:
        """Convert a rendering's picture to an array ``h,w,C``."""

    def store(self, image: Any, part: Part, into: Array) -> None:
        """Write a part of a rendering's image into an array, see ``images.store``."""
