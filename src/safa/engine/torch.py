"""The engine for any device that PyTorch knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safa.engine.base import Part, Rendering, ScaleChoice
from safa.engine.device import device_name, release_cache
from safa.engine.images import STRIP, Array, max_value
from safa.engine.memory import torch_bytes
from safa.network.config import Region, Scale
from safa.network.dis_flow import Flow
from safa.network.safa import Safa
from safa.network.synthesis import FrameState, PairState


class TorchEngine:
    """Runs ``network`` (moved to ``device``) with convolutions in ``precision``; flow stays float32.

    Args:
        threads: of PyTorch on processors from now on, for the whole process; None leaves them as they are.
    """

    name = "torch"

    def __init__(
        self, network: Safa, device: str = "cpu", precision: str = "float32", threads: int | None = None
    ) -> None:
        self.device, self.precision = device, precision
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.eval()
        self.config = network.config
        self._dtype = getattr(torch, precision)
        if threads is not None:
            torch.set_num_threads(threads)

    @property
    def arithmetic(self) -> str:
        processor = torch.backends.cpu.get_cpu_capability() if self.device == "cpu" else device_name(self.device)
        return f"PyTorch {torch.__version__} {processor}"

    def bytes_per_pixel(self, frames: int = 2) -> int:
        return torch_bytes(self.config, frames)

    def release(self) -> None:
        release_cache(self.device)

    def encode_frame(self, frame: NDArray[np.float32]) -> FrameState:
        with torch.inference_mode(), self._autocast():
            return self.network.encode_frame(self._frame(frame))

    def encode_window(self, frames: Sequence[NDArray[np.float32]], flows: Sequence[tuple[Flow, Flow]]) -> list[Any]:
        tensors = [self._frame(frame) for frame in frames]
        with torch.inference_mode(), self._autocast():
            features = self.network.carry(tensors, [(self._flow(a), self._flow(b)) for a, b in flows])
        return list(zip(tensors, features, strict=True))

    def finish_frame(self, frame: tuple[Tensor, Tensor]) -> FrameState:
        with torch.inference_mode(), self._autocast():
            return self.network.finish_frame(*frame)

    def picture(self, frame: FrameState) -> Tensor:
        return frame.enlarged.clamp(0, 1)

    def encode_pair(self, frame0: FrameState, frame1: FrameState, prior: tuple[Flow, ...] | None = None) -> PairState:
        flows = None if prior is None else tuple(map(self._flow, prior))
        with torch.inference_mode(), self._autocast():
            return self.network.encode_pair(frame0, frame1, flows)

    def synthesize(self, pair: PairState, t: float, scale: Scale = None, region: Region | None = None) -> Rendering:
        with torch.inference_mode(), self._autocast():
            made = self.network.synthesize(pair, float(t), scale, region)
        choice = ScaleChoice(tuple(made.scale[0].tolist()), tuple(map(tuple, made.logit[0].tolist())))
        return Rendering(made.image, made.flow, made.mask, choice)

    def array(self, image: Tensor) -> NDArray[np.float32]:
        return np.asarray(image[0].float().permute(1, 2, 0).cpu().numpy())

    def store(self, image: Tensor, part: Part, into: Array) -> None:
        white = max_value(into.dtype)
        image = image[0][:, part[0], part[1]]
        for top in range(0, into.shape[0], STRIP):
            lines = into[top : top + STRIP]
            strip = image[:, top : top + len(lines), : lines.shape[1]].permute(1, 2, 0)
            if white != 1:
                # PyTorch computes little with uint16, and copies of fewer bytes leave the device sooner.
                strip = (strip.float() * white).round().to(torch.uint8 if white == 255 else torch.int32)
            lines[:] = strip.cpu().numpy()

    def _frame(self, frame: NDArray[np.float32]) -> Tensor:
        return self._tensor(frame).contiguous(memory_format=torch.channels_last)

    def _flow(self, flow: Flow) -> Tensor:
        return self._tensor(flow).contiguous()

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        """``h,w,C`` -> ``1,C,h,w`` on the device."""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device).permute(2, 0, 1).unsqueeze(0)

    def _autocast(self) -> torch.autocast:
        kind = self.device.partition(":")[0]
        return torch.autocast(kind, self._dtype, enabled=self._dtype != torch.float32)
