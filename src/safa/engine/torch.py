"""The engine that is always there: PyTorch, on any device it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from safa.engine.images import Array, store
from safa.engine.memory_estimate import torch_bytes
from safa.network.config import Region, Scale
from safa.network.safa import Safa
from safa.network.states import FrameState, PairState, Synthesis


class TorchEngine:
    """Runs ``network`` (moved to ``device``) with convolutions in ``dtype``; flow stays float32."""

    name = "torch"

    def __init__(self, network: Safa, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.device = device
        self.dtype = dtype
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval()
        self.config = network.config

    def bytes_per_pixel(self, frames: int = 2) -> int:
        return torch_bytes(self.config, frames)

    def release(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def encode_frame(self, frame: Tensor) -> FrameState:
        frame = frame.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), self._autocast():
            return self.network.encode_frame(frame)

    def encode_window(self, frames: Sequence[Tensor], flows: Sequence[tuple[Tensor, Tensor]]) -> list[Any]:
        frames = [frame.to(self.device).contiguous(memory_format=torch.channels_last) for frame in frames]
        with torch.inference_mode(), self._autocast():
            features = self.network.carry(frames, flows)
        return list(zip(frames, features, strict=True))

    def finish_frame(self, frame: tuple[Tensor, Tensor]) -> FrameState:
        with torch.inference_mode(), self._autocast():
            return self.network.finish_frame(*frame)

    def picture(self, frame: FrameState) -> Tensor:
        return frame.enlarged.clamp(0, 1)

    def encode_pair(
        self, frame0: FrameState, frame1: FrameState, prior: tuple[Tensor, Tensor] | None = None
    ) -> PairState:
        with torch.inference_mode(), self._autocast():
            return self.network.encode_pair(frame0, frame1, prior)

    def synthesize(self, pair: PairState, t: float, scale: Scale = None, region: Region | None = None) -> Synthesis:
        with torch.inference_mode(), self._autocast():
            return self.network.synthesize(pair, float(t), scale, region)

    def store(self, image: Tensor, into: Array) -> None:
        store(image, into)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)
