"""Memory in bytes: of the machine, of this process, and what a network will need."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from safa.network.config import SCALE, SafaConfig

# Main memory of the machine, the container and this process, in bytes.

MIB = 1 << 20
GIB = 1 << 30

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def total() -> int:
    """Return the memory of the machine, or the container's limit if that is lower."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _limits())])


def available() -> int:
    """Return the memory that can be allocated now without swapping, within the container's limit."""
    free = psutil.virtual_memory().available
    return max(0, min([free, *(limit - used for limit, used in _limits())]))


def resident() -> int:
    """Return the resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    """Return the largest resident memory of this process since ``reset_peak``; 0 outside Linux."""
    try:
        lines = (PROC / "self" / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, ValueError, StopIteration):
        return 0


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
    """Format bytes as ``--memory`` takes them, rounded up: "1.4G", "300M"."""
    if count >= GIB:
        return f"{-(-count * 10 // GIB) / 10:g}G"
    return f"{-(-count // MIB)}M"


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


# Estimate of a network's working memory from its settings, in bytes per pixel of the input frames.

FLOAT = 4
OUTPUT = SCALE * SCALE
"""Output pixels for each input pixel."""


def native_bytes(config: SafaConfig, held: int = 2) -> int:
    """Estimate for the native engine: the sizes of its workspace's slots (``native/layers.h``) and its states.

    Args:
        held: frames in a window.
    """

    def padded(channels: int) -> int:
        return -(-channels // 16) * 16

    paper = config.grid == "paper"
    grid = 4 if paper else 1  # feature pixels for each input pixel
    c, stem = padded(config.channels), padded(config.stem_channels)
    stages = _stages(config)
    levels = [(grid / 4 ** (k + 1), padded(config.stem_channels << k)) for k in range(stages)]
    widest = max([area * width for area, width in levels], default=0)
    encoder = grid * stem + max(4, levels[0][0] * stem if levels else 0) + 3 * widest
    encoder += sum(area * (width + c) for area, width in levels)
    unpacked = 8 * (OUTPUT if paper else 1)
    flow = grid * (32 if paper else 16) + 4 + unpacked
    blocks = 3 * grid * c
    decoder = 0 if config.fusion == "image" else 2 * c + 4 * OUTPUT
    if not config.propagation and config.fusion != "image":
        decoder += 4 * padded(config.channels // 2)
    if config.propagation:
        decoder += 4 * padded(config.enlarger_channels) + (c if config.joined_passes else 0)
    # A window's frames, the flow both ways, what the frames around make of it, features of all and backward states;
    # one forward state and the next.
    window = held * (3 + 10 + 2 * c) + 2 * c + 16 if config.propagation else 0
    frame = 4 * OUTPUT + grid * c + 3
    still = 0 if config.flow_prior == "dis" else sum(scale**2 for scale in config.scales)
    pair = grid * c * (1 + still) + 10
    result = 3 * OUTPUT + 5 * (OUTPUT if paper else 1)
    frames = 2 * frame
    return round(FLOAT * (encoder + flow + blocks + decoder + frames + window + pair + result))


def torch_bytes(config: SafaConfig, held: int = 2) -> int:
    """Rough estimate for PyTorch in float32: its kernels' own buffers differ between versions and devices.

    Args:
        held: frames in a window.
    """
    paper = config.grid == "paper"
    grid = 4 if paper else 1
    c = config.channels
    state = OUTPUT if paper else 1
    frame = 3 * OUTPUT + grid * c + 3
    block = grid * (3 * (3 * c + 7) + 3 * c) + 12 * state  # the input's parts, joined, and reordered for the kernels
    fusion = (4 + 1 + 3 + 3 + 2 + 6) * OUTPUT
    decoder = 0 if config.fusion == "image" else 2 * grid * (2 * c + 1) + 8 * c + (12 + 3 + 3) * OUTPUT
    if config.enlarger_channels:
        decoder += 2 * 4 * config.enlarger_channels
    # A window's frames, the flow both ways, what the frames around make of it, features before and after
    # propagation; only the latter stay.
    window = held * (3 + 10 + 2 * c + 1) if config.propagation else 0
    encoder = 4 * grid * config.stem_channels + 2 * grid * c
    frames = 2 * frame + grid * c
    return round(FLOAT * (frames + window + 6 + max(encoder, block, fusion, 6 * OUTPUT + decoder)))


def _stages(config: SafaConfig) -> int:
    return {"stem": 0, "stage1": 1, "stage2": 2, "stage3": 3, "bottleneck": 2}[config.extractor]
