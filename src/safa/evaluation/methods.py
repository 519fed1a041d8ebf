"""Two-frame methods behind one interface: simple ones to compare with, and the network itself.

A method takes two low-resolution frames ``1,3,h,w`` in [0, 1] and times in [0, 1], and yields one ``1,3,4h,4w`` in
[0, 1] for each time, in order. It is given all times of a pair at once, so that what does not depend on time is
computed once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from safa.engine.images import Array
from safa.errors import SafaError
from safa.export.export import FORMAT, read_card
from safa.export.standalone_runtime import FrameWindow, Graphs, Network
from safa.network import dis_flow
from safa.network.config import SCALE, SafaConfig
from safa.network.operations import bicubic_upsample, pad_to_multiple, warp
from safa.network.prior import classical_flow_pair, flow_from_time
from safa.network.safa import Safa
from safa.upscaler.state_cache import EncodedWindow
from safa.upscaler.tiling import PairTime
from safa.upscaler.upscaler import Upscaler
from safa.video.windows import Span

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
    """Device of ``interpolate``; its results may stay there."""
    stream: Stream | None = None
    """``(inputs, place, times)`` for a method that looks along the stream: all inputs of the sequence, and which of
    them the pair begins with; it is measured instead of ``interpolate``."""
    pairs: int = 1
    """Consecutive pairs that ``stream`` computes most of its work for at once."""
    any_time: bool = True
    """True for a method that makes pictures at any time, not in the middle alone."""
    usage: Usage | None = None
    """Costs so far of a method that is another program, whose operations cannot be counted."""
    operations_elsewhere: Callable[[], float] = lambda: 0.0
    """Floating-point operations done so far outside of PyTorch, 2 a multiply-add."""
    licence: str = ""
    """Licence of its code and weights, where it is known."""


class MethodFailed(SafaError):
    """A method did not do what it was asked for; the message names it and says why. The others can go on."""


def hold(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
    """Return the nearer of the two bicubic frames; the first one half-way."""
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
"""Methods that every evaluation is compared with."""


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
    """Return a method that gives a network with propagation the whole stream, in windows as in a video."""

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


# A user's own two-frame model, in ONNX or TorchScript, as a method to compare with.


def model_method(path: Path, multiple: int = 32) -> Method:
    """The model in a file ``.onnx`` (needs the package onnxruntime) or ``.pt``, ``.pth``, ``.ts`` (TorchScript).

    Args:
        multiple: frames are padded by edge replication until both sides are multiples of it.

    Raises:
        SafaError: no such file, another kind of file, a part of an exported network, onnxruntime is missing, or its
            inputs are others.
    """
    if not path.is_file():
        raise SafaError(f"There is no model {path}.")
    card = read_card(path.parent)
    if card is not None and path.name in card.get("parts", ()):
        raise SafaError(f"{path} is one part of an exported network; give the folder, {path.parent}.")
    if path.suffix == ".onnx":
        run, takes_time, parameters = _onnx(path)
    elif path.suffix in {".pt", ".pth", ".ts"}:
        run, takes_time, parameters = _torchscript(path)
    else:
        raise SafaError(f"{path} is not a model this can run; give an .onnx file, or TorchScript as .pt, .pth or .ts.")

    @torch.inference_mode()
    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        height, width = frame0.shape[-2:]
        padded0, padded1 = pad_to_multiple(frame0, multiple), pad_to_multiple(frame1, multiple)
        for t in times:
            if takes_time or t == 0.5:
                picture = run(padded0, padded1, t)
            elif t in (0, 1):
                picture = (padded0, padded1)[int(t)]
            else:
                raise SafaError(f"{path} takes no time: it can be measured at a time factor of 2 only.")
            if picture.shape[-2:] == padded0.shape[-2:]:
                picture = bicubic_upsample(picture)
            yield picture[..., : SCALE * height, : SCALE * width].clamp(0, 1)

    return Method(path.stem, interpolate, parameters, any_time=takes_time)


def _torchscript(path: Path) -> tuple[FrameBetween, bool, int | None]:
    try:
        model = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise SafaError(f"{path} is not a TorchScript model (a plain state dict cannot be run).") from error
    arguments = model.forward.schema.arguments[1:]
    _check_inputs(path, [argument.name for argument in arguments])
    wants_tensor = len(arguments) > 2 and isinstance(arguments[2].type, torch.TensorType)

    def run(frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        time = [torch.full((1, 1, 1, 1), t) if wants_tensor else t][: len(arguments) - 2]
        return _first(model(frame0, frame1, *time))

    return run, len(arguments) > 2, sum(parameter.numel() for parameter in model.parameters())


def _onnx(path: Path) -> tuple[FrameBetween, bool, int | None]:
    if importlib.util.find_spec("onnxruntime") is None:
        raise SafaError(f"Running {path} needs the package onnxruntime; install it.")
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base of its errors
        raise SafaError(f"{path} is not an ONNX model that can be run here.") from error
    inputs = session.get_inputs()
    _check_inputs(path, [one.name for one in inputs])

    def run(frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        feed: dict[str, Any] = {one.name: frame.numpy() for one, frame in zip(inputs, (frame0, frame1), strict=False)}
        if len(inputs) > 2:
            shape = inputs[2].shape
            # A map of times has sides of its own; a broadcast one has ones.
            sides = frame0.shape[-2:] if len(shape) == 4 and shape[-1] != 1 else (1, 1)
            full = (1, 1, *sides) if len(shape) == 4 else (1,) * len(shape)
            feed[inputs[2].name] = np.full(full, t, np.float32)
        return torch.from_numpy(session.run(None, feed)[0])

    return run, len(inputs) > 2, None


def _check_inputs(path: Path, names: list[str]) -> None:
    if len(names) not in (2, 3):
        raise SafaError(f"{path} has the inputs {', '.join(names)}; it must have two frames and perhaps a time.")


def _first(output: Any) -> Tensor:
    picture: Tensor = output[0] if isinstance(output, (tuple, list)) else output
    return picture


# A folder that ``safa export`` made as a method to compare with, run as its users run it.


def exported_methods(folder: Path) -> list[Method]:
    """The network in an exported folder, most telling first: given the stream, where it looks along it, and given two
    frames.

    Raises:
        SafaError: the folder is something else, incomplete, or holds archives instead of ONNX graphs; or onnxruntime
            is missing.
    """
    card = read_card(folder)
    if card is None:
        raise SafaError(f"{folder} was not made by 'safa export'; give weights, an ONNX model or an exported folder.")
    if card["format"] != FORMAT:
        raise SafaError(f"{folder} has the format {card['format']}, this version reads {FORMAT}; export it again.")
    if card.get("kind") != "onnx":
        raise SafaError(
            f"{folder} holds torch.export archives, which are not measured because loading one may run code that it "
            "holds; measure the weights themselves, or export them with --format onnx."
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise SafaError(f"Running {folder} needs the package onnxruntime; install it.")
    try:
        missing = [name for name in card["parts"] if not (folder / name).is_file()]
        config, span = SafaConfig.from_dict(card["config"]), Span(card["window"]["length"], card["window"]["margin"])
        network = Network(folder, _Graphs(folder), dis_flow)
        if (card["multiple"], card["enlargement"]) != (config.multiple, SCALE):
            raise ValueError("sizes")
    except (KeyError, TypeError, ValueError) as error:
        raise SafaError(f"{folder / 'model.json'} is damaged; export the network again.") from error
    if missing:
        raise SafaError(f"{folder} has no {missing[0]}; export the network again.")

    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        first, second = (frame[0].permute(1, 2, 0).numpy() for frame in (frame0, frame1))
        window = network.window([first, second])
        for t in times:
            yield torch.from_numpy(window.at(0, t)).permute(2, 0, 1).unsqueeze(0)

    name = folder.resolve().name
    if not config.propagation:
        return [Method(name, interpolate, None)]

    def pictures(window: FrameWindow, requests: Sequence[tuple[int, float]]) -> Iterator[Array]:
        return (window.at(place, t) for place, t in requests)

    stream = along_stream(span, network.window, pictures)
    return [
        Method(name, interpolate, None, stream=stream, pairs=span.length),
        Method(f"{name}, 2 frames", interpolate, None),
    ]


class _Graphs(Graphs):
    """Graphs whose errors are this package's."""

    def __call__(self, name: str, *inputs: np.ndarray) -> Sequence[Any]:
        try:
            return super().__call__(name, *inputs)
        except Exception as error:  # onnxruntime has no common base of its errors
            raise SafaError(f"The graph {name}.onnx cannot be run here; export the network again.") from error
