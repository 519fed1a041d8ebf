"""Arrays in, arrays out: the network with everything around it that a user should not have to think about.

Device and number type are chosen here and nowhere else; so is padding. A frame is encoded once however many pairs and
times it takes part in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.engine import pick_engine
from safa.errors import SafaError
from safa.network.prior import classical_flow
from safa.network.safa import Synthesis
from safa.ops import SCALE, enlarge, pad_to_multiple

Array = NDArray[Any]
"""``H,W,3`` RGB or ``H,W,4`` RGBA; uint8, uint16 or floating point in [0, 1]."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class EncodedFrame:
    """A frame prepared for any pair it will be part of; made by ``Upscaler.encode``."""

    height: int
    width: int
    dtype: np.dtype[Any]
    low: NDArray[np.uint8]
    """``H,W,3``: what the classical flow sees."""
    state: Any
    """The engine's own."""
    alpha: Tensor | None
    """``1,1,4H,4W`` in [0, 1], enlarged, of a frame with transparency."""


@dataclass
class EncodedPair:
    """Two encoded frames joined; made by ``Upscaler.pair``."""

    first: EncodedFrame
    second: EncodedFrame
    state: Any
    """The engine's own."""


class Upscaler:
    """A network ready for use on one device.

    Args:
        checkpoint: from ``safa.load`` or ``load_checkpoint``.
        device: "cpu", "cuda", "cuda:1", "mps" or "auto" (the best there is).
        dtype: "float32", "bfloat16", "float16" or "auto" for the convolutions (flow is always float32).
        engine: "torch", "native" (this package's own, CPU and float32 only) or "auto" (native where it can).
        threads: of the native engine; all cores if None.

    Raises:
        SafaError: the device or number type is not available.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        dtype: str = "auto",
        engine: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.device = _pick_device(device)
        self.dtype = _pick_dtype(dtype, self.device)
        self.engine = pick_engine(engine, checkpoint.network, self.device, self.dtype, threads)
        self.config = self.engine.config

    # Convenient calls

    def between(self, frame0: Array, frame1: Array, times: Sequence[float]) -> list[Array]:
        """The frames at ``times`` (0 is ``frame0``, 1 is ``frame1``), four times as wide and high.

        Args:
            frame0, frame1: arrays of one size and type (see ``Array``), at least 1 x 1.
            times: each in [0, 1].

        Returns:
            One array per time, of the inputs' type and number of channels.
        """
        for t in times:
            if not 0 <= t <= 1:
                raise SafaError(f"The time {t} is outside [0, 1]; 0 is the first picture and 1 the second.")
        pair = self.pair(self.encode(frame0), self.encode(frame1))
        return [self.at(pair, t) for t in times]

    def stream(self, frames: Iterable[Array], rate: int = 2) -> Iterator[Array]:
        """Enlarge a stream and make it ``rate`` times smoother, lazily and in constant memory.

        n frames give ``(n - 1) * rate + 1``; a single frame gives one. Each frame is encoded once, and each frame on
        the boundary of two pairs is synthesised once.
        """
        if not isinstance(rate, int) or rate < 1:
            raise SafaError(f"The rate is {rate!r}; it must be a whole number of at least 1.")
        pair: EncodedPair | None = None
        previous: EncodedFrame | None = None
        for frame in frames:
            current = self.encode(frame)
            if previous is not None:
                pair = self.pair(previous, current)
                for step in range(rate):
                    yield self.at(pair, step / rate)
            previous = current
        if previous is not None:
            yield self.at(pair, 1.0) if pair is not None else self.at(self.pair(previous, previous), 0.0)

    # The steps, for callers with timelines of their own

    def encode(self, frame: Array) -> EncodedFrame:
        """Encode one frame. Raises ``SafaError`` for an array of another shape or type."""
        if frame.ndim != 3 or frame.shape[2] not in (3, 4) or not frame.shape[0] or not frame.shape[1]:
            raise SafaError(
                f"A frame has shape {frame.shape}; it must be height,width,3 (RGB) or height,width,4 (RGBA)."
            )
        peak = _peak(frame.dtype)
        height, width = frame.shape[:2]
        tensor = torch.from_numpy(np.ascontiguousarray(frame, dtype=np.float32)).to(self.device)
        tensor = tensor.permute(2, 0, 1).unsqueeze(0) / peak  # 1,3 or 4,H,W
        colour = tensor[:, :3]
        low = frame[:, :, :3] if peak == 255 else np.rint(np.clip(frame[:, :, :3] / peak, 0, 1) * 255).astype(np.uint8)
        state = self.engine.encode_frame(pad_to_multiple(colour, self.config.multiple))
        alpha = enlarge(tensor[:, 3:]).clamp(0, 1) if frame.shape[2] == 4 else None
        return EncodedFrame(height, width, frame.dtype, np.ascontiguousarray(low), state, alpha)

    def pair(self, first: EncodedFrame, second: EncodedFrame) -> EncodedPair:
        """Join two frames of one size and type; this is where the classical flow is computed, if it is used."""
        if (first.height, first.width, first.dtype) != (second.height, second.width, second.dtype):
            raise SafaError(
                f"The two frames differ: {first.width}x{first.height} {first.dtype} and "
                f"{second.width}x{second.height} {second.dtype}; they must have one size and type."
            )
        prior = None
        if self.config.flow_prior == "dis":
            both_ways = ((first, second), (second, first))
            prior_both = [self._padded_flow(classical_flow(a.low, b.low)) for a, b in both_ways]
            prior = (prior_both[0], prior_both[1])
        return EncodedPair(first, second, self.engine.encode_pair(first.state, second.state, prior))

    def at(self, pair: EncodedPair, t: float, scale: int | None = None) -> Array:
        """The frame at time ``t`` in [0, 1] as an array of the inputs' type."""
        result = self.details(pair, t, scale).image.float()
        if pair.first.alpha is not None and pair.second.alpha is not None:
            alpha = (1 - t) * pair.first.alpha + t * pair.second.alpha
            result = torch.cat((result, alpha), dim=1)
        array = result[0].permute(1, 2, 0)
        dtype = pair.first.dtype
        peak = _peak(dtype)
        if peak == 1:
            return array.cpu().numpy().astype(dtype)
        return (array * peak).round().to(torch.int32).cpu().numpy().astype(dtype)

    def details(self, pair: EncodedPair, t: float, scale: int | None = None) -> Synthesis:
        """Everything the network decided for time ``t``; the image is cropped to the output size, the rest padded."""
        result = self.engine.synthesize(pair.state, float(t), scale)
        result.image = result.image[:, :, : pair.first.height * SCALE, : pair.first.width * SCALE]
        return result

    def _padded_flow(self, flow: NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(flow).permute(2, 0, 1).unsqueeze(0).to(self.device)
        return pad_to_multiple(tensor, self.config.multiple)


def load(
    weights: str | Path = DEFAULT,
    device: str = "auto",
    dtype: str = "auto",
    engine: str = "auto",
    threads: int | None = None,
) -> Upscaler:
    """Load weights (a shipped name or a file) onto a device, ready for use; see ``Upscaler``."""
    return Upscaler(load_checkpoint(weights), device, dtype, engine, threads)


def _peak(dtype: np.dtype[Any]) -> int:
    if dtype == np.uint8:
        return 255
    if dtype == np.uint16:
        return 65535
    if np.issubdtype(dtype, np.floating):
        return 1
    raise SafaError(f"A frame has numbers of type {dtype}; it must be uint8, uint16 or floating point in [0, 1].")


def _pick_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SafaError(
            f"The device '{name}' is not available here; use 'cpu', or 'auto' for the best there is."
        ) from error
    return device


def _pick_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise SafaError(f"There is no number type '{name}'; use auto, {', '.join(DTYPES)}.")
    return DTYPES[name]
