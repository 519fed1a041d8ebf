"""The native engine: SAFA on the CPU in C++ (``native/``), called through ctypes.

Activations are NHWC float32 with channels padded to a multiple of 16. They live in NumPy arrays, which own the memory;
everything between them lives in a workspace that the context keeps from call to call.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import weakref
from collections.abc import Sequence
from ctypes import c_double, c_int32, c_int64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safa.engine import library
from safa.engine.base import Part, Rendering, ScaleChoice
from safa.engine.device import processor_threads
from safa.engine.images import Array, store
from safa.engine.memory import native_bytes
from safa.errors import OutOfMemory, SafaError
from safa.network.config import SCALE, Region, SafaConfig, Scale
from safa.network.dis_flow import Flow
from safa.network.parameters import Tensors

CHANNEL_STEP = 16
ALIGNMENT = 64
"""Bytes: of a cache line, and of the widest vectors, which are slow across two."""

Floats = NDArray[np.float32]


@dataclass
class NativeFrame:
    """An encoded frame."""

    height: int
    width: int
    picture: Floats
    """``4h,4w,4``: enlarged by bicubic interpolation, RGB and an unused channel."""
    features: Floats
    """``Hf,Wf,c padded``."""


@dataclass
class CarriedFrame:
    """A frame of an encoded window, not yet enlarged."""

    frame: Floats
    """``h,w,3``."""
    features: Floats
    """``h,w,c padded``."""


@dataclass
class NativePair:
    """Two joined frames."""

    frame0: NativeFrame
    frame1: NativeFrame
    hidden: Floats
    """``Hf,Wf,c padded``."""
    prior: tuple[Floats, ...] | None
    """Two or three, each ``2,h,w``, contiguous."""
    still: list[Floats]
    """Without ``prior``: what the first block's stem makes of the pair at each scale, for all times."""
    prepared: ctypes.Array[c_int32]
    """Which of ``still`` have been computed."""


class NativeEngine:
    """Runs a network's weights as they are now; later changes to them have no effect.

    Args:
        config, tensors: the network's, as in ``Checkpoint``.
        threads: how many threads to use; None for as many as there are cores.
        build: one of ``library.BUILDS``; None for the best that this processor can run.
        precision: "bfloat16" rounds what 3x3 convolutions multiply, except those that give flow and pictures; sums,
            warps, image fusion and all else stay "float32". Any build can, but only ``library.BFLOAT16_BUILDS`` are
            faster with it.

    Raises:
        SafaError: the engine was not built or cannot be loaded.
    """

    name = "native"
    device = "cpu"

    def __init__(
        self,
        config: SafaConfig,
        tensors: Tensors,
        threads: int | None = None,
        build: str | None = None,
        precision: str = "float32",
    ) -> None:
        self.build = build or library.usable_builds()[0]
        self.config, self.precision = config, precision
        self._library = library.load(self.build)
        self._context = _create(self._library, config, tensors, precision)
        self._close = weakref.finalize(self, self._library.safa_destroy, self._context)
        self._close.atexit = False  # a thread may still compute; the memory goes with the process
        self._lock = threading.Lock()
        self._is_broken = False
        _ENGINES.add(self)
        if threads is None:
            self._use(processor_threads())
        else:
            self.set_threads(threads)

    def set_threads(self, threads: int) -> None:
        """Use this many threads from the next call on. Raises ``SafaError`` where the system does not allow them."""
        there = self._use(threads)
        if there < threads:
            raise SafaError(f"The system allows only {there} of {threads} threads; ask for fewer.")

    def _use(self, threads: int) -> int:
        """Use at most this many threads, and tell how many they are."""
        with self._lock:
            library.call(self._library.safa_set_threads, self._context, threads)
            return int(self._library.safa_threads(self._context))

    @property
    def arithmetic(self) -> str:
        return library.arithmetic(self.build, self.precision)

    @property
    def workspace_bytes(self) -> int:
        """Memory kept between calls."""
        with self._lock:
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

    def encode_frame(self, frame: Floats) -> NativeFrame:
        frame = self._accepted(frame)
        height, width = frame.shape[:2]
        picture = _empty(SCALE * height, SCALE * width, 4)
        features = self._grid(height, width)
        self._run("safa_encode_frame", *_described(frame), picture.ctypes.data, features.ctypes.data)
        return NativeFrame(height, width, picture, features)

    def encode_window(self, frames: Sequence[Floats], flows: Sequence[tuple[Flow, Flow]]) -> list[CarriedFrame]:
        if not self.config.propagation:
            raise SafaError("This network looks at two frames only; take weights with propagation.")
        if len({frame.shape for frame in frames}) > 1 or len(flows) < len(frames) - 1:
            raise SafaError("The frames of a window must have one size, and flow between each two of them.")
        if any(flow.shape != (*frames[0].shape[:2], 2) for both in flows for flow in both):
            raise SafaError(f"The classical flow must have shape {(*frames[0].shape[:2], 2)}.")
        carried = []
        for frame in map(self._accepted, frames):
            carried.append(CarriedFrame(frame, self._grid(*frame.shape[:2])))
            self._run("safa_extract", *_described(frame), carried[-1].features.ctypes.data)
        backward: list[Floats] = []
        for place in reversed(range(len(carried))):
            state = self._grid(*carried[place].frame.shape[:2])
            known = (backward[-1], flows[place][0]) if backward else None
            self._carry((carried[place].features,), known, state, None)
            backward.append(state)
        forward: Floats | None = None
        for place, frame_state in enumerate(carried):
            own = frame_state.features, backward.pop()
            known = (forward, flows[place - 1][1]) if forward is not None else None
            forward = self._grid(*frame_state.frame.shape[:2])
            self._carry(own, known, forward, own[1])
            frame_state.features = own[1]
        return carried

    def finish_frame(self, frame: CarriedFrame) -> NativeFrame:
        height, width = frame.frame.shape[:2]
        picture = _empty(SCALE * height, SCALE * width, 4)
        self._run("safa_finish_frame", *_described(frame.frame), frame.features.ctypes.data, picture.ctypes.data)
        return NativeFrame(height, width, picture, frame.features)

    def picture(self, frame: NativeFrame) -> Floats:
        image = _empty(SCALE * frame.height, SCALE * frame.width, 3)
        self._run("safa_show", frame.picture.ctypes.data, frame.height, frame.width, image.ctypes.data)
        return image

    def encode_pair(
        self, frame0: NativeFrame, frame1: NativeFrame, prior: tuple[Flow, ...] | None = None
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
        elif any(flow.shape != (height, width, 2) for flow in prior):
            raise SafaError(f"The classical flow must have shape {(height, width, 2)}.")
        hidden = self._grid(height, width)
        features = frame0.features.ctypes.data, frame1.features.ctypes.data
        self._run("safa_encode_pair", height, width, *features, hidden.ctypes.data)
        planes = None if prior is None else tuple(map(_planes, prior))
        still: list[Floats] = []
        if planes is None:
            rows, columns, channels = hidden.shape
            factors = [round(1 / scale) for scale in self.config.scales]
            still = [_empty(rows // factor, columns // factor, channels) for factor in factors]
        return NativePair(frame0, frame1, hidden, planes, still, (c_int32 * 4)())

    def synthesize(self, pair: NativePair, t: float, scale: Scale = None, region: Region | None = None) -> Rendering:
        config = self.config
        forced = config.forced_scales(scale)
        height, width = pair.frame0.height, pair.frame0.width
        top, left, bottom, right = region or (0, 0, height, width)
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            raise SafaError(f"The region {region} does not lie in a frame of {width}x{height} pixels.")
        image = _empty(SCALE * height, SCALE * width, 3)
        state = SCALE if config.grid == "paper" else 1
        flow = _empty(4, state * height, state * width)
        mask = _empty(state * height, state * width, 1)
        seen = library.Pair(height, width)
        for index, frame in enumerate((pair.frame0, pair.frame1)):
            seen.pictures[index] = frame.picture.ctypes.data
            seen.features[index] = frame.features.ctypes.data
        for index, flow_planes in enumerate(pair.prior or ()):
            seen.prior[index] = flow_planes.ctypes.data
        seen.hidden = pair.hidden.ctypes.data
        seen.still[: len(pair.still)] = [tensor.ctypes.data for tensor in pair.still]
        seen.prepared = pair.prepared
        seen.region[:] = top, left, bottom, right
        result = library.Result(image.ctypes.data, None, flow.ctypes.data, mask.ctypes.data)
        indices = (c_int32 * config.blocks)(*(-1 if index is None else index for index in forced))
        chosen = (c_int32 * config.blocks)()
        choices = len(config.scales) - 1 if None in forced else 0
        logits = np.full((config.blocks, choices), np.nan, np.float32)
        self._run(
            *("safa_synthesize", ctypes.byref(seen), t, indices),
            *(ctypes.byref(result), chosen, logits.ctypes.data if choices else None),
        )
        if config.propagation and t in (0, 1):  # an input frame has a picture of its own
            image = self.picture(pair.frame1 if t else pair.frame0)
        choice = ScaleChoice(tuple(chosen), tuple(map(tuple, logits.tolist())))
        return Rendering(image, flow.transpose(1, 2, 0), mask, choice)

    def array(self, image: Floats) -> Floats:
        return image

    def store(self, image: Floats, part: Part, into: Array) -> None:
        image = image[part]
        size, (line, pixel, channel) = into.itemsize, into.strides
        from_line, *apart = (stride // image.itemsize for stride in image.strides)
        if (
            into.dtype not in (np.uint8, np.uint16)
            or not into.flags.writeable
            or into.shape[2] != 3
            or any(one > other for one, other in zip(into.shape, image.shape, strict=True))
            or apart != [3, 1]
            or channel != size
            or pixel < 3 * size
            or line % size
            or pixel % size
        ):
            store(image, into)
            return
        target = into.ctypes.data, line // size, pixel // size, size
        self._run("safa_store", image.ctypes.data, *into.shape[:2], from_line, *target)

    def _grid(self, height: int, width: int) -> Floats:
        factor = 2 if self.config.grid == "paper" else 1
        channels = -(-self.config.channels // CHANNEL_STEP) * CHANNEL_STEP
        return _empty(factor * height, factor * width, channels)

    def _accepted(self, frame: Floats) -> Floats:
        multiple = self.config.multiple
        sides = frame.shape[:2]
        if frame.ndim != 3 or frame.shape[2] != 3 or any(side < 1 or side % multiple for side in sides):
            raise SafaError(
                f"A frame has shape {frame.shape}; the native engine wants height,width,3 with sides that are "
                f"multiples of {multiple}."
            )
        frame = np.asarray(frame, np.float32)
        whole_steps = all(step % frame.itemsize == 0 for step in frame.strides)
        return frame if whole_steps and frame.flags.aligned else np.ascontiguousarray(frame)

    def _carry(
        self, own: tuple[Floats, ...], neighbour: tuple[Floats, Flow] | None, state: Floats, refined: Floats | None
    ) -> None:
        """Run one step of a pass, see ``Step`` in ``native/propagation.h``."""
        step = library.Step(*state.shape[:2])
        for index, features in enumerate(own):
            step.own[index] = features.ctypes.data
        if neighbour is not None:
            flow = _planes(neighbour[1])
            step.state, step.flow = neighbour[0].ctypes.data, flow.ctypes.data
        self._run("safa_carry", ctypes.byref(step), state.ctypes.data, None if refined is None else refined.ctypes.data)

    def _run(self, function: str, *arguments: object) -> None:
        if self._is_broken:
            raise SafaError("This process was forked while the native engine computed; load the weights again.")
        with self._lock:
            library.call(getattr(self._library, function), self._context, *arguments)


_ENGINES: weakref.WeakSet[NativeEngine] = weakref.WeakSet()


def _after_fork() -> None:
    """Reset locks in a forked child: the thread that held an engine's lock does not exist here, and what it was
    writing is half done.
    """
    for engine in _ENGINES:
        engine._is_broken = engine._is_broken or engine._lock.locked()
        engine._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _empty(*shape: int) -> Floats:
    """Return an aligned, uninitialised array."""
    count, spare = math.prod(shape), ALIGNMENT // 4
    room = np.empty(count + spare, np.float32)
    first = -room.ctypes.data % ALIGNMENT // 4
    return room[first : first + count].reshape(shape)


def _planes(flow: Flow) -> Floats:
    """``h,w,2`` -> ``2,h,w``."""
    return np.ascontiguousarray(flow.transpose(2, 0, 1), np.float32)


def _described(frame: Floats) -> tuple[object, ...]:
    """Return address, height, width and strides over channels, lines and pixels of a frame ``h,w,3``."""
    line, pixel, channel = (stride // frame.itemsize for stride in frame.strides)
    return frame.ctypes.data, *frame.shape[:2], (c_int64 * 3)(channel, line, pixel)


def _settings(config: SafaConfig, precision: str) -> library.Settings:
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
        joined_passes=config.joined_passes,
        enlarger_channels=config.enlarger_channels,
        bfloat16=precision == "bfloat16",
    )


def _create(native: ctypes.CDLL, config: SafaConfig, given: Tensors, precision: str) -> int:
    tensors = {name: np.ascontiguousarray(tensor, np.float32) for name, tensor in given.items()}
    count = len(tensors)
    names = (ctypes.c_char_p * count)(*[name.encode() for name in tensors])
    data = (ctypes.c_void_p * count)(*[tensor.ctypes.data for tensor in tensors.values()])
    sizes = (c_int64 * count)(*[tensor.size for tensor in tensors.values()])
    message, status = ctypes.create_string_buffer(512), ctypes.c_int()
    settings = _settings(config, precision)
    context = native.safa_create(
        *(ctypes.byref(settings), count, names, data, sizes), ctypes.byref(status), message, len(message)
    )
    if status.value == library.NO_MEMORY:
        raise OutOfMemory("There is not enough memory for this network.")
    if not context:
        raise SafaError(f"The native engine cannot take this network: {message.value.decode(errors='replace')}.")
    return int(context)
