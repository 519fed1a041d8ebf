"""Which device a network runs on, and with which numbers."""

from __future__ import annotations

import torch

from safa.errors import SafaError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device called ``name``, or the best there is for "auto". Raises ``SafaError`` where it is not available."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SafaError(
            f"The device '{name}' is not available here; use 'cpu', or 'auto' for the best there is."
        ) from error
    return device


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, which works behind the program's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type for convolutions; "auto": half precision on CUDA. Raises ``SafaError`` for an unknown name."""
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise SafaError(f"There is no number type '{name}'; use auto, {', '.join(DTYPES)}.")
    return DTYPES[name]
