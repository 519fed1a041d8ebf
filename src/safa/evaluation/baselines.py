"""Two-frame methods behind one interface: simple ones to compare with, and the network itself.

A method takes two low-resolution frames ``1,3,h,w`` in [0, 1] and times in [0, 1], and yields one ``1,3,4h,4w`` in
[0, 1] for each time, in order. It is given all times of a pair at once, so that what does not depend on time is
computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from safa.engine.images import Array
from safa.errors import SafaError
from safa.network.config import SCALE
from safa.network.operations import bicubic_upsample, pad_to_multiple, warp
from safa.network.prior import classical_flow_pair, flow_from_time
from safa.network.safa import Safa
from safa.upscaler.state_cache import EncodedWindow
from safa.upscaler.tiling import PairTime
from safa.upscaler.upscaler import Upscaler
from safa.video.schedule.windows import Span

Window_ = TypeVar("Window_")

FrameBetween = Callable[[Tensor, Tensor, float], Tensor]
"""Two inputs and t to the frame at t, all ``1,3,H,W`` in [0, 1]."""
Interpolate = Callable[[Tensor, Tensor, Sequence[float]], Iterator[Tensor]]
Stream = Callable[[Sequence[Tensor], int, Sequence[float]], Iterator[Tensor]]


@dataclass
class Usage:
    """Time and memory that another program has used."""

    seconds: float = 0.0
    """Wall time."""
    frames: int = 0
    processor_seconds: float | None = None
    """Time of all its threads; None where the system does not tell."""
    peak_bytes: int | None = None
    """The most that it held."""


@dataclass(frozen=True)
class Method:
    """A way to get from two low-resolution frames to large ones at any time."""

    name: str
    interpolate: Interpolate
    """``(frame0, frame1, times)`` -> one picture for each time; see the module's text."""
    parameters: int | None = 0
    """Number of trained values; None where it cannot be known."""
    device: str = "cpu"
    """Where ``interpolate`` computes; what it yields may stay there."""
    stream: Stream | None = None
    """``(inputs, place, times)`` for a method that looks along the stream: all inputs of the sequence, and which of
    them the pair begins with; it is measured instead of ``interpolate``."""
    pairs: int = 1
    """Consecutive pairs that ``stream`` computes most of its work for at once."""
    any_time: bool = True
    """Whether it makes pictures at any time, not in the middle alone."""
    usage: Usage | None = None
    """Of a method that is another program: what it has taken so far. Its operations cannot be counted."""
    operations_elsewhere: Callable[[], float] = lambda: 0.0
    """Floating-point operations done so far outside of PyTorch, 2 a multiply-add."""
    licence: str = ""
    """Of its code and weights, where it is known."""


class MethodFailed(SafaError):
    """A method did not do what it was asked for; the message names it and says why. The others can go on."""


def hold(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
    """The nearer of the two bicubic frames; the first one half way."""
    enlarged0, enlarged1 = _bicubic(frame0), _bicubic(frame1)
    for t in times:
        yield enlarged0 if t <= 0.5 else enlarged1


def blend(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
    """Both bicubic frames mixed, (1 - t) of the first and t of the second."""
    enlarged0, enlarged1 = _bicubic(frame0), _bicubic(frame1)
    for t in times:
        yield torch.lerp(enlarged0, enlarged1, t)


def classical(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
    """Interpolate without learning: DIS flow both ways between the bicubic frames, both warped to t and mixed.

    Flow to t follows Super SloMo (see ``safa.network.prior``).
    """
    enlarged0, enlarged1 = _bicubic(frame0), _bicubic(frame1)
    forward, backward = classical_flow_pair(enlarged0, enlarged1)
    for t in times:
        to_0, to_1 = flow_from_time(forward, backward, torch.full((len(frame0),), t))
        yield torch.lerp(warp(enlarged0, to_0), warp(enlarged1, to_1), t)


BASELINES = (
    Method("bicubic + hold", hold),
    Method("bicubic + blending", blend),
    Method("bicubic + DIS flow", classical),
)
"""What every evaluation is compared with."""


def network_method(network: Safa, name: str) -> Method:
    """``network`` where it is, in evaluation mode, given two frames; they are padded by edge replication, results
    cropped.
    """
    network.eval()
    device = next(network.parameters()).device

    @torch.inference_mode()
    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        height, width = frame0.shape[-2:]
        first, second = (pad_to_multiple(frame.to(device), network.config.multiple) for frame in (frame0, frame1))
        pair = network.encode(first, second)
        for t in times:
            yield network.synthesize(pair, t).image[..., : SCALE * height, : SCALE * width]

    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Method(name, interpolate, parameters, str(device), licence="MIT")


def stream_method(upscaler: Upscaler, name: str) -> Method:
    """A network with propagation, given the whole stream, in windows as in a video."""

    def join(frames: Sequence[Array]) -> EncodedWindow:
        return upscaler.window([upscaler.encode(frame) for frame in frames])

    pairs = network_method(upscaler.checkpoint.network, name)
    stream = along_stream(upscaler.span, join, upscaler.pictures)
    return replace(pairs, stream=stream, pairs=upscaler.span.length)


def along_stream(
    span: Span,
    join: Callable[[Sequence[Array]], Window_],
    pictures: Callable[[Window_, Sequence[PairTime]], Iterator[Array]],
) -> Stream:
    """Return a stream method for a network with propagation, which gets the same windows as of a video.

    Args:
        span: of the windows.
        join: frames ``h,w,3`` in [0, 1] to a window of them.
        pictures: what is asked for of a window, in that order.
    """
    known: list[tuple[Sequence[Tensor], int, Window_]] = []

    def stream(inputs: Sequence[Tensor], place: int, times: Sequence[float]) -> Iterator[Tensor]:
        first, last = span.reach(place)
        first = max(0, first)
        if not known or known[0][0] is not inputs or known[0][1] != first:
            window = join([one[0].permute(1, 2, 0).numpy() for one in inputs[first : last + 1]])
            known[:] = [(inputs, first, window)]
        for picture in pictures(known[0][2], [(place - first, t) for t in times]):
            yield torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)

    return stream


def _bicubic(frame: Tensor) -> Tensor:
    return bicubic_upsample(frame).clamp(0, 1)
