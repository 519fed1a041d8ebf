"""BasicVSR (Chan et al., CVPR 2021), the published network that ours learn from; it sees a window of frames.

SPyNet (Ranjan and Black, 2017) estimates the flow between neighbouring frames; a backward and a forward pass of 30
residual blocks each carry features along the window; both are joined and enlarged by two pixel shuffles. Frames are RGB
``B,N,3,h,w`` in [0, 1] of at least 2 frames and any size; results are ``B,N,3,4h,4w``, not clamped.

``scripts/teacher_weights.py`` makes the weight files from a published package.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from safa.data.scene import Image, reduce_quarter
from safa.errors import SafaError
from safa.network.config import SCALE
from safa.network.features import IMAGENET_DEVIATION, IMAGENET_MEAN
from safa.network.operations import resize_bilinear, warp
from safa.network.parameters import renamed

CHANNELS = 64
BLOCKS = 30
FLOW_LEVELS = 6
# SPyNet's coarsest level is 1/32 of the frame.
FLOW_MULTIPLE = 2 ** (FLOW_LEVELS - 1)
SLOPE = 0.1


@dataclass(frozen=True)
class WindowFeatures:
    """States of both passes, ``B,64,h,w`` for each frame, and the frames' features made of them."""

    backward: list[Tensor]
    forward: list[Tensor]
    joined: list[Tensor]


class FlowLevel(nn.Module):
    """Change of the flow at one level of SPyNet: reference, warped neighbour and flow ``B,8,h,w`` -> ``B,2,h,w``."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 32, 64, 32, 16, 2)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 7, padding=3) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)


class SpyNet(nn.Module):
    """Flow from a reference frame to its neighbour, coarse to fine."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(FlowLevel() for _ in range(FLOW_LEVELS))
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, reference: Tensor, neighbour: Tensor) -> Tensor:
        """``B,3,h,w`` in [0, 1] each -> ``B,2,h,w`` in pixels, x then y."""
        height, width = reference.shape[-2:]
        size = tuple(-(-side // FLOW_MULTIPLE) * FLOW_MULTIPLE for side in (height, width))
        pyramids = [self._pyramid(frame, size) for frame in (reference, neighbour)]
        flow = torch.zeros_like(pyramids[0][-1][:, :2])
        for number, (level, own, other) in enumerate(
            zip(self.levels, reversed(pyramids[0]), reversed(pyramids[1]), strict=True)
        ):
            if number:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat((own, warp(other, flow), flow), dim=1))
        flow = F.interpolate(flow, size=(height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / size[1], height / size[0]]).view(1, 2, 1, 1)

    def _pyramid(self, frame: Tensor, size: tuple[int, ...]) -> list[Tensor]:
        resized = F.interpolate(frame, size=size, mode="bilinear", align_corners=False)
        levels = [(resized - self.mean) / self.deviation]
        for _ in range(FLOW_LEVELS - 1):
            levels.append(F.avg_pool2d(levels[-1], 2))
        return levels


class TrunkBlock(nn.Module):
    """``x + conv(ReLU(conv(x)))``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.conv2 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class Trunk(nn.Module):
    """One step of a pass: frame ``B,3,h,w`` and carried state ``B,64,h,w`` -> the frame's state ``B,64,h,w``."""

    def __init__(self) -> None:
        super().__init__()
        self.join = nn.Conv2d(3 + CHANNELS, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(TrunkBlock() for _ in range(BLOCKS))

    def forward(self, frame: Tensor, state: Tensor) -> Tensor:
        x = F.leaky_relu(self.join(torch.cat((frame, state.to(frame.dtype)), dim=1)), SLOPE)
        for block in self.blocks:
            x = block(x)
        return x


class BasicVSR(nn.Module):
    """The network. See the module's text for shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = SpyNet()
        self.backward_trunk = Trunk()
        self.forward_trunk = Trunk()
        self.fusion = nn.Conv2d(2 * CHANNELS, CHANNELS, 1)
        self.upsample1 = nn.Conv2d(CHANNELS, 4 * CHANNELS, 3, padding=1)
        self.upsample2 = nn.Conv2d(CHANNELS, 4 * CHANNELS, 3, padding=1)
        self.refine = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.head = nn.Conv2d(CHANNELS, 3, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        """Enlarge all frames of a window."""
        features = self.features(frames)
        pictures = [self.decode(frame, own) for frame, own in zip(frames.unbind(dim=1), features.joined, strict=True)]
        return torch.stack(pictures, dim=1)

    def features(self, frames: Tensor) -> WindowFeatures:
        """States and features of all frames of a window."""
        first, second = frames[:, :-1], frames[:, 1:]
        count = first.shape[:2]
        with torch.autocast(frames.device.type, enabled=False):
            to_next = self.flow(first.flatten(0, 1), second.flatten(0, 1)).unflatten(0, count)
            to_previous = self.flow(second.flatten(0, 1), first.flatten(0, 1)).unflatten(0, count)
        windows = list(frames.unbind(dim=1))
        backward = self._run(self.backward_trunk, windows[::-1], list(to_next.unbind(dim=1))[::-1])[::-1]
        forward = self._run(self.forward_trunk, windows, list(to_previous.unbind(dim=1)))
        joined = [
            F.leaky_relu(self.fusion(torch.cat(both, dim=1)), SLOPE) for both in zip(backward, forward, strict=True)
        ]
        return WindowFeatures(backward, forward, joined)

    def decode(self, frame: Tensor, features: Tensor) -> Tensor:
        """Enlarge a frame ``B,3,h,w`` with its features ``B,64,h,w``."""
        x = F.leaky_relu(F.pixel_shuffle(self.upsample1(features), 2), SLOPE)
        x = F.leaky_relu(F.pixel_shuffle(self.upsample2(x), 2), SLOPE)
        x = self.head(F.leaky_relu(self.refine(x), SLOPE))
        return x.float() + resize_bilinear(frame.float(), SCALE)

    @staticmethod
    def _run(trunk: Trunk, frames: list[Tensor], flows: list[Tensor]) -> list[Tensor]:
        """States of frames in the order of a pass; ``flows`` lead from a frame to the one before it in that order."""
        batch, _, height, width = frames[0].shape
        states = [trunk(frames[0], frames[0].new_zeros(batch, CHANNELS, height, width))]
        for frame, flow in zip(frames[1:], flows, strict=True):
            states.append(trunk(frame, _warp_zero_padded(states[-1], flow)))
        return states


def load_basicvsr(path: Path) -> BasicVSR:
    """Load a weight file made by ``scripts/teacher_weights.py``, ready for inference in float32.

    Raises:
        SafaError: no such file, or other tensors in it.
    """
    network = BasicVSR()
    try:
        network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    except (OSError, SafetensorError) as error:
        raise SafaError(f"The teacher's weights {path} are not a readable safetensors file.") from error
    except RuntimeError as error:
        raise SafaError(
            f"{path} does not hold the tensors of BasicVSR; make it with scripts/teacher_weights.py."
        ) from error
    return network.eval().requires_grad_(False)


class BasicVSRTeacher:
    """Pictures of frames as enlarged from a quarter of their size: the mean of one or more teachers'.

    Args:
        paths: weight files made by ``scripts/teacher_weights.py``.
        device: where they are computed; in bfloat16 where the processor multiplies it.
    """

    def __init__(self, paths: Sequence[Path], device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.networks = [
            load_basicvsr(path).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            for path in paths
        ]
        self.half = self.device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()

    @torch.no_grad()
    def __call__(self, frames: Sequence[Image]) -> list[Image]:
        """``H,W,3`` uint8 in and out; sides must be multiples of 4."""
        reduced = np.stack([reduce_quarter(frame) for frame in frames])
        window = torch.from_numpy(reduced).to(self.device).permute(0, 3, 1, 2)[None].float() / 255
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            pictures = torch.stack([network(window)[0] for network in self.networks]).mean(dim=0)
        rounded = (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [np.ascontiguousarray(picture) for picture in rounded]


def is_basicvsr(path: Path) -> bool:
    """Return whether ``path`` is a weight file for ``load_basicvsr``, by its tensors' names."""
    try:
        with safe_open(str(path), "pt") as file:
            return "backward_trunk.join.weight" in file.keys()  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError):
        return False


def read_release(file: BinaryIO | Path) -> dict[str, Tensor]:
    """Read a pickled state of the published network and return its tensors by our names.

    Raises:
        SafaError: it holds other tensors.
    """
    state = torch.load(file, map_location="cpu", weights_only=True)
    state = state.get("params", state)
    tensors = {_our_name(name): value.contiguous() for name, value in state.items() if name not in _UNUSED}
    if {name: value.shape for name, value in tensors.items()} != {
        name: value.shape for name, value in BasicVSR().state_dict().items()
    }:
        raise SafaError("The weights are not those of BasicVSR with 64 channels and 30 blocks.")
    return tensors


# The names of the release and ours; its sequences count activations as layers.
_RELEASED = [
    (r"spynet\.basic_module\.(\d)\.basic_module\.([02468])\.", r"flow.levels.\1.layers.\2."),
    (r"(backward|forward)_trunk\.main\.0\.", r"\1_trunk.join."),
    (r"(backward|forward)_trunk\.main\.2\.(\d+)\.", r"\1_trunk.blocks.\2."),
    (r"upconv(\d)\.", r"upsample\1."),
    (r"conv_hr\.", r"refine."),
    (r"conv_last\.", r"head."),
]
_UNUSED = {"spynet.mean", "spynet.std"}


def _our_name(name: str) -> str:
    parts = renamed(name, _RELEASED).split(".")
    if parts[0] == "flow":
        parts[4] = str(int(parts[4]) // 2)
    return ".".join(parts)


def _warp_zero_padded(state: Tensor, flow: Tensor) -> Tensor:
    """Backward warp, bilinear, zero outside of the frame, as the published network was trained with."""
    height, width = state.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=torch.float32) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=torch.float32).unsqueeze(1) + flow[:, 1]
    grid = torch.stack((2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1), dim=-1)
    with torch.autocast(state.device.type, enabled=False):
        warped = F.grid_sample(state.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return warped.to(state.dtype)
