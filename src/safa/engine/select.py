"""Choice of the engine that runs a network."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from safa.checkpoint import Checkpoint
from safa.engine import library
from safa.engine.base import Engine
from safa.engine.device import ONNX_DEVICES, PRECISIONS, is_cuda
from safa.engine.native import NativeEngine
from safa.engine.onnx import OnnxEngine
from safa.errors import SafaError, needs_pytorch

LARGEST_ERROR = 3 / 255
"""Most that a device's picture may differ from the native engine's."""
ENGINES = ("auto", "torch", "native", "onnx")


def pick_engine(
    name: str, checkpoint: Checkpoint, device: str = "cpu", precision: str = "float32", threads: int | None = None
) -> Engine:
    """The engine called ``name`` for a network.

    Args:
        name: "torch", "native" or "auto": native where it can run, that is on a CPU where it was built.
        checkpoint: the torch engine takes over its module and moves it to ``device``.
        precision: one of ``PRECISIONS``; "auto": half precision where the processor or GPU gains by it.
        threads: None for as many as there are cores. PyTorch's are the whole process's.

    Raises:
        SafaError: no such engine or precision, or it cannot run here.
    """
    if name not in ENGINES:
        raise SafaError(f"There is no engine '{name}'; use {', '.join(ENGINES)}.")
    if precision not in PRECISIONS:
        raise SafaError(f"There is no precision '{precision}'; use {', '.join(PRECISIONS)}.")
    if name == "onnx" or (name == "auto" and device.partition(":")[0] in ONNX_DEVICES):
        if precision not in ("auto", "float32"):
            raise SafaError(f"The engine 'onnx' computes in float32, not in {precision}.")
        engine = OnnxEngine(checkpoint.config, checkpoint.tensors, device, threads)
        if device != "cpu":
            _check(engine, checkpoint)
        return engine
    obstacle = _obstacle(device, precision)
    if name == "native" and obstacle:
        raise SafaError(f"The native engine cannot be used: {obstacle}")
    if name == "auto" and not obstacle:
        name = "native"
    if name == "native":
        chosen = native_precision() if precision == "auto" else precision
        return NativeEngine(checkpoint.config, checkpoint.tensors, threads, precision=chosen)
    with needs_pytorch("The engine 'torch'" if not obstacle else f"There is no native engine ({obstacle}) The other"):
        from safa.engine.torch import TorchEngine
    if precision == "auto":
        precision = "float16" if is_cuda(device) else "float32"
    return TorchEngine(checkpoint.network, device, precision, threads)


def _check(engine: Engine, checkpoint: Checkpoint) -> None:
    """Compare a device with the native engine on a small pair of frames, before any work.

    Raises:
        SafaError: its picture differs by more than ``LARGEST_ERROR``, or it fails.
    """
    try:
        reference = NativeEngine(checkpoint.config, checkpoint.tensors)
    except SafaError:
        return  # there is nothing to compare with
    random = np.random.default_rng(0)
    frames = [random.random((24, 32, 3), np.float32) for _ in range(2)]
    flows = tuple(random.normal(0, 1, (24, 32, 2)).astype(np.float32) for _ in range(2))
    pictures = []
    for each in (reference, engine):
        carried = each.encode_window(frames, [(flows[0], flows[1])])
        first, second = (each.finish_frame(frame) for frame in carried)
        rendering = each.synthesize(each.encode_pair(first, second, flows), 0.5, scale=0)
        pictures.append(np.clip(each.array(rendering.image), 0, 1))
    error = float(np.abs(pictures[0] - pictures[1]).max())
    if not error <= LARGEST_ERROR:
        raise SafaError(
            f"The device '{engine.device}' computes wrongly (by {255 * error:.0f} of 255 in a test picture) and is not "
            "used; take --device cpu, or try another driver."
        )


def native_precision() -> str:
    """Return the precision of "auto" for the native engine here. Raises ``SafaError`` where it was not built."""
    return "bfloat16" if library.usable_builds()[0] in library.BFLOAT16_BUILDS else "float32"


def availability() -> str:
    """Return which engines can be used here, and why others cannot, in one line."""
    torch = "torch" if find_spec("torch") is not None else "no torch (PyTorch is not installed)"
    try:
        return f"{torch}, native ({library.usable_builds()[0]})"
    except SafaError as error:
        return f"{torch}; not native: {error}"


def usual_precision() -> str:
    """Return the precision that "auto" means on this processor, and the reason, in a few words."""
    try:
        if native_precision() == "bfloat16":
            return "bfloat16 (the processor multiplies it)"
    except SafaError:
        return "float32 (there is no native engine)"
    return "float32 (the processor gains nothing by bfloat16)"


def _obstacle(device: str, precision: str) -> str:
    if device != "cpu":
        return f"it runs on the CPU, not on '{device}'."
    if precision == "float16":
        return "it computes in float32 or bfloat16, not in float16."
    try:
        library.usable_builds()
    except SafaError as error:
        return str(error)
    return ""
