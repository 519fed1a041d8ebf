"""Choice of the engine that runs a network."""

from __future__ import annotations

from importlib.util import find_spec

from safa.checkpoint import Checkpoint
from safa.engine import library
from safa.engine.base import Engine
from safa.engine.comparison import check_device
from safa.engine.device import ONNX_DEVICES, PRECISIONS, is_cuda
from safa.engine.native import NativeEngine
from safa.engine.onnx import OnnxEngine
from safa.errors import SafaError, needs_pytorch

ENGINES = ("auto", "torch", "native", "onnx")


def pick_engine(
    name: str, checkpoint: Checkpoint, device: str = "cpu", precision: str = "float32", threads: int | None = None
) -> Engine:
    """Return the engine called ``name`` for a network.

    Args:
        name: "torch", "native", "onnx" or "auto": onnx on a device that ONNX Runtime alone can use, native on a CPU
            where it was built, torch otherwise.
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
            check_device(engine, checkpoint)
        return engine
    obstacle = _obstacle(device, precision)
    if name == "native" and obstacle:
        raise SafaError(f"The native engine cannot be used: {obstacle}")
    if name == "auto" and not obstacle:
        name = "native"
    if name == "native":
        chosen = library.native_precision() if precision == "auto" else precision
        return NativeEngine(checkpoint.config, checkpoint.tensors, threads, precision=chosen)
    with needs_pytorch("The engine 'torch'" if not obstacle else f"There is no native engine ({obstacle}) The other"):
        from safa.engine.torch import TorchEngine
    if precision == "auto":
        precision = "float16" if is_cuda(device) else "float32"
    return TorchEngine(checkpoint.network, device, precision, threads)


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
        if library.native_precision() == "bfloat16":
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
