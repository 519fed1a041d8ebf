"""How much memory a call needs beyond what was in use before it."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
_RESET_PEAK = "5"


def peak_bytes(call: Callable[[], None], device: torch.device) -> int | None:
    """Peak memory of ``call`` on ``device``; None where the system does not tell (CPUs outside Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return int(torch.cuda.max_memory_allocated(device) - before)
    if device.type != "cpu" or not _reset_peak():
        call()
        return None
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _reset_peak() -> bool:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps for later would hide what a call needs
        _CLEAR.write_text(_RESET_PEAK)
    except (OSError, AttributeError):
        return False
    return True


def _status(name: str) -> int:
    """A line of the kernel's own record of this process, in bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0
