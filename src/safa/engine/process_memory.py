"""Main memory of the machine, the container and this process, in bytes."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safa.engine import windows_memory

MIB = 1 << 20
GIB = 1 << 30

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
MACHINE, PROCESS = "meminfo", "self/status"
# Where the system does not tell.
USUAL = 8 * GIB


def total() -> int:
    """Return the memory of the machine, or the container's limit where that is lower."""
    physical = _kernel_line(MACHINE, "MemTotal") or _sysconf("SC_PHYS_PAGES") or windows_memory.machine_total() or USUAL
    return min([physical, *(limit for limit, _ in _limits())])


def available() -> int:
    """Return the memory that can be allocated now without swapping, within the container's limit where there is one."""
    free = _kernel_line(MACHINE, "MemAvailable") or _sysconf("SC_AVPHYS_PAGES") or windows_memory.machine_available()
    free = free or total() // 2
    return max(0, min([free, *(limit - used for limit, used in _limits())]))


def resident() -> int:
    """Return the resident memory of this process; 0 where the system does not tell."""
    try:
        return int((PROC / "self" / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        pass
    if sys.platform == "win32":
        return windows_memory.process_resident()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak() -> int:
    """The most this process has held since ``reset_peak``; 0 where the system does not tell."""
    return _kernel_line(PROCESS, "VmHWM")


def reset_peak() -> bool:
    """Forget the peak so far, and what the allocator keeps for later; False where the system does not offer it."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (PROC / "self" / "clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):
        return False
    return True


def give_back_early() -> None:
    """Make glibc return large blocks to the system when they are freed, not keep them for later: under a ceiling
    that counts. Elsewhere nothing happens.
    """
    _set_option(-3, 4 * MIB)  # M_MMAP_THRESHOLD; setting it also stops glibc from raising it


@contextmanager
def freed_is_kept() -> Iterator[None]:
    """Make glibc keep what is freed for the next time: a training step takes gigabytes and gives them back, and the
    system clears every page anew, up to half of a step's time. Elsewhere nothing happens.
    """
    _set_allocator(maps=0, kept=2**31 - 1, arenas=1)
    try:
        yield
    finally:
        # glibc's own limits, as large as it lets them grow.
        _set_allocator(maps=65536, kept=64 * MIB, arenas=0)
        _set_option(-3, 32 * MIB)  # M_MMAP_THRESHOLD
        with suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)


def _set_allocator(maps: int, kept: int, arenas: int) -> None:
    for option, value in ((-4, maps), (-1, kept), (-8, arenas)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX
        _set_option(option, value)


def _set_option(option: int, value: int) -> None:
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(option, value)


def readable(count: int) -> str:
    """For people, as ``--memory`` takes it, rounded up: "1.4G", "300M"."""
    if count >= GIB:
        return f"{-(-count * 10 // GIB) / 10:g}G"
    return f"{-(-count // MIB)}M"


def _kernel_line(file: str, name: str) -> int:
    """One of the kernel's own figures, which it writes in kilobytes; 0 where there is none."""
    try:
        for line in (PROC / file).read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def _sysconf(name: str) -> int:
    try:
        return max(0, os.sysconf(name) * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError, AttributeError):
        return 0


def _limits() -> Iterator[tuple[int, int]]:
    """(limit, use) of every control group that this process is in; file caches, which give way, are no use."""
    for folder, limit, use in _groups():
        try:
            stored = (folder / limit).read_text().strip()
            if stored == "max" or int(stored) >= 1 << 60:  # version 1 writes "no limit" as a huge number
                continue
            cached = 0
            for line in (folder / "memory.stat").read_text().splitlines():
                if line.startswith(("inactive_file ", "total_inactive_file ")):
                    cached = int(line.split()[1])
            yield int(stored), int((folder / use).read_text()) - cached
        except (OSError, ValueError):
            continue


def _groups() -> Iterator[tuple[Path, str, str]]:
    """Folder, file of the limit and file of the use, from this process's own group up to the root."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        path = Path(place.lstrip("/"))
        if not controllers:
            names, root = ("memory.max", "memory.current"), CGROUP
        elif "memory" in controllers.split(","):
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes"), CGROUP / "memory"
        else:
            continue
        for part in (path, *path.parents):
            yield root / part, *names
