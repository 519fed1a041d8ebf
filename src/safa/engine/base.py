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
    """Scale of each block as chosen by the selector, and the selector's logits (nan where the scale was forced)."""

    scales: tuple[int, ...]
    logits: tuple[tuple[float, ...], ...]


@dataclass
class Rendering:
    """Synthesised frame. Image, flow and mask are in the engine's own form; ``Engine.array`` converts them."""

    image: Any
    """``4h,4w,3`` in [0, 1]."""
    flow: Any
    """``Hs,Ws,4``: t->0 (x, y) and t->1 (x, y) in pixels of the flow state's grid."""
    mask: Any
    """``Hs,Ws,1``: weight of frame 0 in the image fusion, in [0, 1]."""
    choice: ScaleChoice


class Engine(Protocol):
    """Backend that runs a SAFA network.

    States are opaque. Encoded frames, from ``encode_frame`` or from ``encode_window`` and ``finish_frame``, are the
    inputs of ``encode_pair`` of the same engine, whose result is the input of ``synthesize``. No call changes them, so
    a frame can be used for both of its pairs, and a pair for any number of times.
    """

    name: str
    config: SafaConfig
    device: str
    precision: str
    """Number type of the convolutions: one of ``device.PRECISIONS`` except "auto"."""

    @property
    def arithmetic(self) -> str:
        """Build, libraries and processor that the results depend on. Engines that agree in them give equal results."""

    def bytes_per_pixel(self, frames: int = 2) -> int:
        """Return the approximate bytes on ``device`` per pixel of an input frame.

        Args:
            frames: number of frames whose states are held at once.
        """

    def release(self) -> None:
        """Free the memory kept between calls; the next call allocates it again."""

    def encode_frame(self, frame: NDArray[np.float32]) -> Any:
        """Encode a frame ``h,w,3`` in [0, 1], whose sides are multiples of ``config.multiple``."""

    def encode_window(self, frames: Sequence[NDArray[np.float32]], flows: Sequence[tuple[Flow, Flow]]) -> list[Any]:
        """Encode consecutive frames together, for networks with propagation.

        Each needs ``finish_frame`` before it is used: enlarged, a whole window would take twice the memory.

        Args:
            frames: ``h,w,3`` each.
            flows: from each frame to the next and back, one pair fewer than there are frames; ``h,w,2`` in pixels.
        """

    def finish_frame(self, frame: Any) -> Any:
        """Enlarge one of the frames of ``encode_window``."""

    def picture(self, frame: Any) -> Any:
        """Return the picture of a frame from ``finish_frame``, in the form of ``Rendering.image``."""

    def encode_pair(self, frame0: Any, frame1: Any, prior: tuple[Flow, ...] | None = None) -> Any:
        """Join two encoded frames.

        Args:
            frame0, frame1: from ``encode_frame`` or ``finish_frame``.
            prior: classical flow 0->1 and 1->0 and, if known, its acceleration, each ``h,w,2`` in pixels.
        """

    def synthesize(self, pair: Any, t: float, scale: Scale = None, region: Region | None = None) -> Rendering:
        """Synthesise the frame at time ``t`` in [0, 1].

        Args:
            pair: from ``encode_pair``.
            scale: forced scale of the blocks; None to let the selector choose.
            region: part of the frame that the selector looks at; None for all of it.
        """

    def array(self, image: Any) -> NDArray[np.float32]:
        """Convert the image, flow or mask of a rendering to an array ``h,w,C``."""

    def store(self, image: Any, part: Part, into: Array) -> None:
        """Write a part of a rendering's image into an array (``images.store``)."""
