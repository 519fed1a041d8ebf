"""The native engine: SAFA on the CPU in C++ (``native/``), called through ctypes.

Activations are NHWC float32 with channels padded to a multiple of 16. They live in PyTorch tensors, which own the
memory; everything between them lives in a workspace that the context keeps from call to call.
"""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from safa.engine import library
from safa.engine.images import Array, store
from safa.engine.memory_estimate import native_bytes
from safa.errors import SafaError
from safa.network.config import Region, SafaConfig, Scale
from safa.network.operations import SCALE
from safa.network.safa import Safa
from safa.network.states import Synthesis

CHANNEL_STEP = 16


@dataclass
class NativeFrame:
    """An encoded frame."""

    height: int
    width: int
    picture: Tensor
    """``4h,4w,4``: enlarged by bicubic interpolation, RGB and an unused channel."""
    features: Tensor
    """``Hf,Wf,c padded``."""


@dataclass
class CarriedFrame:
    """A frame of an encoded window, not yet enlarged."""

    frame: Tensor
    """``1,3,h,w`` float32."""
    features: Tensor
    """``h,w,c padded``."""


@dataclass
class NativePair:
    """Two joined frames."""

    frame0: NativeFrame
    frame1: NativeFrame
    hidden: Tensor
    """``Hf,Wf,c padded``."""
    prior: tuple[Tensor, Tensor] | None
    """Each ``1,2,h,w``, contiguous."""
    still: list[Tensor]
    """Without ``prior``: what the first block's stem makes of the pair at each scale, for all times."""
    prepared: ctypes.Array[c_int32]
    """Which of ``still`` have been computed."""


class NativeEngine:
    """Runs ``network``'s parameters as they are now; later changes to it have no effect.

    Args:
        threads: how many threads to use; None for as many as PyTorch uses.
        build: one of ``library.BUILDS``; None for the best that this processor can run.

    Raises:
        SafaError: the engine was not built or cannot be loaded.
    """

    name = "native"

    def __init__(self, network: Safa, threads: int | None = None, build: str | None = None) -> None:
        self.build = build or library.usable_builds()[0]
        self.config = network.config
        self.device = torch.device("cpu")
        self._library = library.load(self.build)
        self._context = _create(self._library, network)
        self._close = weakref.finalize(self, self._library.safa_destroy, self._context)
        self._lock = threading.Lock()
        self.set_threads(threads or torch.get_num_threads())

    def set_threads(self, threads: int) -> None:
        """Use this many threads from the next call on."""
        with self._lock:
            library.call(self._library.safa_set_threads, self._context, threads)

    @property
    def workspace_bytes(self) -> int:
        """Memory kept between calls."""
        return int(self._library.safa_workspace(self._context))

    def bytes_per_pixel(self, frames: int = 2) -> int:
        return native_bytes(self.config, frames)

    def release(self) -> None:
        with self._lock:
            self._library.safa_release_workspace(self._context)

    def take_seconds(self) -> dict[str, float]:
        """Seconds spent in each of ``library.STAGES`` since this was last called."""
        seconds = (c_double * len(library.STAGES))()
        with self._lock:
            self._library.safa_take_seconds(self._context, seconds)
        return dict(zip(library.STAGES, seconds, strict=True))

    def encode_frame(self, frame: Tensor) -> NativeFrame:
        frame = self._accepted(frame)
        height, width = frame.shape[2:]
        picture = torch.empty(SCALE * height, SCALE * width, 4)
        features = self._grid(height, width)
        self._run("safa_encode_frame", *_described(frame), picture.data_ptr(), features.data_ptr())
        return NativeFrame(height, width, picture, features)

    def encode_window(self, frames: Sequence[Tensor], flows: Sequence[tuple[Tensor, Tensor]]) -> list[CarriedFrame]:
        if not self.config.propagation:
            raise SafaError("This network looks at two frames only; take weights with propagation.")
        carried = []
        for frame in map(self._accepted, frames):
            carried.append(CarriedFrame(frame, self._grid(*frame.shape[2:])))
            self._run("safa_extract", *_described(frame), carried[-1].features.data_ptr())
        backward: list[Tensor] = []
        for place in reversed(range(len(carried))):
            state = self._grid(*carried[place].frame.shape[2:])
            known = (backward[-1], flows[place][0]) if backward else None
            self._carry((carried[place].features,), known, state, None)
            backward.append(state)
        forward: Tensor | None = None
        for place, frame_state in enumerate(carried):
            own = frame_state.features, backward.pop()
            known = (forward, flows[place - 1][1]) if forward is not None else None
            forward = self._grid(*frame_state.frame.shape[2:])
            self._carry(own, known, forward, own[1])
            frame_state.features = own[1]
        return carried

    def finish_frame(self, frame: CarriedFrame) -> NativeFrame:
        height, width = frame.frame.shape[2:]
        picture = torch.empty(SCALE * height, SCALE * width, 4)
        self._run("safa_finish_frame", *_described(frame.frame), frame.features.data_ptr(), picture.data_ptr())
        return NativeFrame(height, width, picture, frame.features)

    def picture(self, frame: NativeFrame) -> Tensor:
        image = torch.empty(SCALE * frame.height, SCALE * frame.width, 3)
        self._run("safa_show", frame.picture.data_ptr(), frame.height, frame.width, image.data_ptr())
        return image.permute(2, 0, 1).unsqueeze(0)

    def encode_pair(
        self, frame0: NativeFrame, frame1: NativeFrame, prior: tuple[Tensor, Tensor] | None = None
    ) -> NativePair:
        height, width = frame0.height, frame0.width
        if (frame1.height, frame1.width) != (height, width):
            raise SafaError(
                f"The two frames differ in size: {width}x{height} and {frame1.width}x{frame1.height} pixels."
            )
        if self.config.flow_prior == "none":
            prior = None
        elif prior is None:
            raise SafaError("This network starts from a classical flow: give encode_pair its prior.")
        elif any(flow.shape != (1, 2, height, width) for flow in prior):
            raise SafaError(f"The classical flow must have shape {(1, 2, height, width)}.")
        hidden = self._grid(height, width)
        features = frame0.features.data_ptr(), frame1.features.data_ptr()
        self._run("safa_encode_pair", height, width, *features, hidden.data_ptr())
        if prior is not None:
            forward, backward = (flow.detach().to("cpu", torch.float32).contiguous() for flow in prior)
            prior = forward, backward
        still: list[Tensor] = []
        if prior is None:
            rows, columns, channels = hidden.shape
            factors = [round(1 / scale) for scale in self.config.scales]
            still = [torch.empty(rows // factor, columns // factor, channels) for factor in factors]
        return NativePair(frame0, frame1, hidden, prior, still, (c_int32 * 4)())

    def synthesize(self, pair: NativePair, t: float, scale: Scale = None, region: Region | None = None) -> Synthesis:
        config = self.config
        forced = config.forced_scales(scale)
        height, width = pair.frame0.height, pair.frame0.width
        image = torch.empty(SCALE * height, SCALE * width, 3)
        state = SCALE if config.grid == "paper" else 1
        flow = torch.empty(1, 4, state * height, state * width)
        mask = torch.empty(1, 1, state * height, state * width)
        seen = library.Pair(height, width)
        for index, frame in enumerate((pair.frame0, pair.frame1)):
            seen.pictures[index] = frame.picture.data_ptr()
            seen.features[index] = frame.features.data_ptr()
            seen.prior[index] = pair.prior[index].data_ptr() if pair.prior is not None else None
        seen.hidden = pair.hidden.data_ptr()
        seen.still[: len(pair.still)] = [tensor.data_ptr() for tensor in pair.still]
        seen.prepared = pair.prepared
        seen.region[:] = region or (0, 0, height, width)
        result = library.Result(image.data_ptr(), None, flow.data_ptr(), mask.data_ptr())
        indices = (c_int32 * config.blocks)(*(-1 if index is None else index for index in forced))
        chosen = (c_int32 * config.blocks)()
        choices = len(config.scales) - 1 if None in forced else 0
        logits = torch.full((1, config.blocks, choices), math.nan)
        self._run(
            *("safa_synthesize", ctypes.byref(seen), t, indices),
            *(ctypes.byref(result), chosen, logits.data_ptr() if choices else None),
        )
        image = image.permute(2, 0, 1).unsqueeze(0)
        if config.propagation and t in (0, 1):  # an input frame has a picture of its own
            image = self.picture(pair.frame1 if t else pair.frame0)
        return Synthesis(
            image,
            None,
            flow,
            mask,
            torch.tensor([list(chosen)]),
            logits,
        )

    def store(self, image: Tensor, into: Array) -> None:
        size, (line, pixel, channel) = into.itemsize, into.strides
        _, apart, from_line, from_pixel = image.stride()
        if into.dtype not in (np.uint8, np.uint16) or (apart, from_pixel, channel) != (1, 3, size) or pixel < 3 * size:
            store(image, into)
            return
        target = into.ctypes.data, line // size, pixel // size, size
        self._run("safa_store", image.data_ptr(), *into.shape[:2], from_line, *target)

    def _grid(self, height: int, width: int) -> Tensor:
        factor = 2 if self.config.grid == "paper" else 1
        channels = -(-self.config.channels // CHANNEL_STEP) * CHANNEL_STEP
        return torch.empty(factor * height, factor * width, channels)

    def _accepted(self, frame: Tensor) -> Tensor:
        multiple = self.config.multiple
        if frame.shape[:2] != (1, 3) or frame.ndim != 4 or frame.shape[2] % multiple or frame.shape[3] % multiple:
            raise SafaError(
                f"A frame has shape {tuple(frame.shape)}; the native engine wants 1,3,height,width with sides that are "
                f"multiples of {multiple}."
            )
        return frame.detach().to("cpu", torch.float32)

    def _carry(
        self, own: tuple[Tensor, ...], neighbour: tuple[Tensor, Tensor] | None, state: Tensor, refined: Tensor | None
    ) -> None:
        """One step of a pass, see ``Step`` in ``native/propagation.h``."""
        step = library.Step(*state.shape[:2])
        for index, features in enumerate(own):
            step.own[index] = features.data_ptr()
        if neighbour is not None:
            flow = neighbour[1].detach().to("cpu", torch.float32).contiguous()
            step.state, step.flow = neighbour[0].data_ptr(), flow.data_ptr()
        self._run("safa_carry", ctypes.byref(step), state.data_ptr(), None if refined is None else refined.data_ptr())

    def _run(self, function: str, *arguments: object) -> None:
        with self._lock:
            library.call(getattr(self._library, function), self._context, *arguments)


def _described(frame: Tensor) -> tuple[object, ...]:
    """The address, height, width and steps of a frame ``1,3,h,w``."""
    return frame.data_ptr(), *frame.shape[2:], (c_int64 * 3)(*frame.stride()[1:])


def _settings(config: SafaConfig) -> library.Settings:
    stages = {"stem": 0, "stage1": 1, "stage2": 2, "stage3": 3, "bottleneck": 2}[config.extractor]
    factors = [round(1 / scale) for scale in config.scales]
    return library.Settings(
        paper_grid=config.grid == "paper",
        channels=config.channels,
        blocks=config.blocks,
        stages=stages,
        bottleneck=config.extractor == "bottleneck",
        stem_channels=config.stem_channels,
        image_fusion=config.fusion != "feature",
        feature_fusion=config.fusion != "image",
        scales=len(config.scales),
        factors=(c_int32 * 4)(*factors),
        fixed_scale=-1 if config.fixed_scale is None else config.fixed_scale,
        shared_branches=config.shared_branches,
        decoder_blocks=config.decoder_blocks,
        blend_prior=config.blend_prior,
        flow_prior=config.flow_prior != "none",
        propagation=config.propagation,
    )


def _create(native: ctypes.CDLL, network: Safa) -> int:
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    count = len(tensors)
    names = (ctypes.c_char_p * count)(*[name.encode() for name in tensors])
    data = (ctypes.c_void_p * count)(*[tensor.data_ptr() for tensor in tensors.values()])
    sizes = (c_int64 * count)(*[tensor.numel() for tensor in tensors.values()])
    message = ctypes.create_string_buffer(512)
    settings = _settings(network.config)
    context = native.safa_create(ctypes.byref(settings), count, names, data, sizes, message, len(message))
    if not context:
        raise SafaError(f"The native engine cannot take this network: {message.value.decode(errors='replace')}.")
    return int(context)
