"""Which engine runs a network, and which there are here."""

from __future__ import annotations

import torch

from safa.engine import library
from safa.engine.base import Engine
from safa.engine.native import NativeEngine
from safa.engine.torch import TorchEngine
from safa.errors import SafaError
from safa.network.safa import Safa

ENGINES = ("auto", "torch", "native")


def pick_engine(
    name: str, network: Safa, device: torch.device, dtype: torch.dtype = torch.float32, threads: int | None = None
) -> Engine:
    """The engine called ``name`` for ``network``.

    Args:
        name: "torch", "native" or "auto": native where it can run, that is on a CPU in float32 where it was built.
        network: taken over: the torch engine moves it to ``device``.
        threads: for the native engine; None for as many as PyTorch uses.

    Raises:
        SafaError: no such engine, or native where it cannot run.
    """
    if name not in ENGINES:
        raise SafaError(f"There is no engine '{name}'; use {', '.join(ENGINES)}.")
    obstacle = _obstacle(network, device, dtype)
    if name == "native" and obstacle:
        raise SafaError(f"The native engine cannot be used: {obstacle}")
    if name == "torch" or obstacle:
        return TorchEngine(network, device, dtype)
    return NativeEngine(network, threads)


def availability() -> str:
    """Which engines there are here, and why not, in one line."""
    try:
        return f"torch, native ({library.usable_builds()[0]})"
    except SafaError as error:
        return f"torch; not native: {error}"


def _obstacle(network: Safa, device: torch.device, dtype: torch.dtype) -> str:
    if device.type != "cpu":
        return f"it runs on the CPU, not on '{device}'."
    if dtype != torch.float32:
        return f"it computes in float32, not in {str(dtype).removeprefix('torch.')}."
    try:
        library.usable_builds()
    except SafaError as error:
        return str(error)
    return ""
