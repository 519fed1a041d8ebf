"""Main memory as Windows tells it. Everything in bytes; 0 on other systems, and where it does not tell."""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_size_t, c_uint32, c_uint64, c_void_p


class _Machine(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = [
        ("size", c_uint32),
        ("load", c_uint32),
        *((name, c_uint64) for name in ("total", "available", "page_total", "page_available")),
        *((name, c_uint64) for name in ("virtual_total", "virtual_available", "extended")),
    ]


class _Process(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS."""

    _fields_ = [
        ("size", c_uint32),
        ("faults", c_uint32),
        ("peak", c_size_t),
        ("resident", c_size_t),
        *((f"other{number}", c_size_t) for number in range(6)),
    ]


def machine_total() -> int:
    """Return the memory of the machine."""
    return int(_machine().total)


def machine_available() -> int:
    """Return the memory that can be allocated now without swapping."""
    return int(_machine().available)


def process_resident() -> int:
    """Return the resident memory of this process."""
    facts = _Process(size=ctypes.sizeof(_Process))
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.GetCurrentProcess.restype = c_void_p
        kernel.K32GetProcessMemoryInfo.argtypes = [c_void_p, POINTER(_Process), c_uint32]
        kernel.K32GetProcessMemoryInfo(kernel.GetCurrentProcess(), byref(facts), facts.size)
    return int(facts.resident)


def _machine() -> _Machine:
    facts = _Machine(size=ctypes.sizeof(_Machine))
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        kernel.GlobalMemoryStatusEx.argtypes = [POINTER(_Machine)]
        kernel.GlobalMemoryStatusEx(byref(facts))
    return facts
