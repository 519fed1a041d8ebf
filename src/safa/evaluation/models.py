"""A user's own two-frame model, in ONNX or TorchScript, as a method to compare with.

What a model must look like: inputs ``frame0`` and ``frame1``, ``1,3,h,w`` float32 RGB in [0, 1], in this order; then,
unless it only knows the middle, the time in [0, 1], as a number, or as a tensor of rank 0, 1 or 4 (``1,1,1,1`` is
spread to ``1,1,h,w`` where the model's input says so). Its first output is ``1,3,4h,4w``; or ``1,3,h,w``, which is
then enlarged by bicubic interpolation: that is how a frame interpolator is compared.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safa.errors import SafaError
from safa.evaluation.baselines import FrameBetween, Method
from safa.export.folder import read_card
from safa.network.config import SCALE
from safa.network.operations import bicubic_upsample, pad_to_multiple


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
        model = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
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
