"""Memory that a call needs beyond what was in use before it."""

from __future__ import annotations

from collections.abc import Callable

from safa.engine import process_memory as memory
from safa.engine.device import peak_allocated


def peak_bytes(call: Callable[[], None], device: str) -> int | None:
    """Peak memory of ``call`` on ``device``; None where the system does not tell (CPUs outside Linux)."""
    if device != "cpu":
        return peak_allocated(device, call)
    if not memory.reset_peak():
        call()
        return None
    before = memory.resident()
    call()
    return max(0, memory.peak() - before)
