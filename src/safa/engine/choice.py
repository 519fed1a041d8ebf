"""Which engine runs a network, and which there are here."""

from __future__ import annotations

from importlib.util import find_spec

from safa.checkpoint import Checkpoint
from safa.engine import library
from safa.engine.base import Engine
from safa.engine.native import NativeEngine
from safa.errors import SafaError, needs_pytorch

ENGINES = ("auto", "torch", "native")


def pick_engine(
    name: str, checkpoint: Checkpoint, device: str = "cpu", dtype: str = "float32", threads: int | None = None
) -> Engine:
    """The engine called ``name`` for a network.

    Args:
        name: "torch", "native" or "auto": native where it can run, that is on a CPU in float32 where it was built.
        checkpoint: the torch engine takes over its module and moves it to ``device``.
        threads: None for as many as there are cores. PyTorch's are the whole process's.

    Raises:
        SafaError: no such engine, or it cannot run here.
    """
    if name not in ENGINES:
        raise SafaError(f"There is no engine '{name}'; use {', '.join(ENGINES)}.")
    obstacle = _obstacle(device, dtype)
    if name == "native" and obstacle:
        raise SafaError(f"The native engine cannot be used: {obstacle}")
    if name == "auto" and not obstacle:
        name = "native"
    if name == "native":
        return NativeEngine(checkpoint.config, checkpoint.tensors, threads)
    with needs_pytorch("The engine 'torch'" if not obstacle else f"There is no native engine ({obstacle}) The other"):
        from safa.engine.torch import TorchEngine
    return TorchEngine(checkpoint.network, device, dtype, threads)


def availability() -> str:
    """Which engines there are here, and why not, in one line."""
    torch = "torch" if find_spec("torch") is not None else "no torch (PyTorch is not installed)"
    try:
        return f"{torch}, native ({library.usable_builds()[0]})"
    except SafaError as error:
        return f"{torch}; not native: {error}"


def _obstacle(device: str, dtype: str) -> str:
    if device != "cpu":
        return f"it runs on the CPU, not on '{device}'."
    if dtype != "float32":
        return f"it computes in float32, not in {dtype}."
    try:
        library.usable_builds()
    except SafaError as error:
        return str(error)
    return ""
