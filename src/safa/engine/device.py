"""Which device a network runs on, and with which numbers.

Devices and number types are names here, as PyTorch has them: most of the package runs without PyTorch.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from safa.engine.process_memory import CGROUP
from safa.errors import SafaError, needs_pytorch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""What convolutions multiply; flow, warps and image fusion are always float32."""

CPU = "cpu"

# What is there where a GPU may be: NVIDIA's driver, AMD's, and Windows' own under WSL.
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


def pick_device(name: str) -> str:
    """The device called ``name``, or the best there is for "auto". Raises ``SafaError`` where it is not available."""
    if name == "auto":
        name = _best()
    if name == CPU:
        return name
    with needs_pytorch(f"The device '{name}'"):
        import torch
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise SafaError(
            f"The device '{name}' is not available here; use 'cpu', or 'auto' for the best there is."
        ) from error
    return str(device)


def is_cuda(device: str) -> bool:
    """Whether it is an NVIDIA or AMD GPU."""
    return device.partition(":")[0] == "cuda"


def synchronize(device: str) -> None:
    """Wait until a GPU has done what it was given; it works asynchronously."""
    if is_cuda(device):
        import torch

        torch.cuda.synchronize(device)


def processor_threads() -> int:
    """As many as there are processor cores for this process, or ``OMP_NUM_THREADS`` where that is set.

    Two threads of one core share its arithmetic units, so each core counts once. A container may be allowed less.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked):
        return int(asked)
    try:
        own = os.sched_getaffinity(0)
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
    topology = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    try:
        cores = len({Path(topology.format(number)).read_text() for number in own})
    except OSError:
        cores = len(own)
    return min(cores, _allowed_by_container())


def _allowed_by_container() -> int:
    """Processors' worth of time, rounded up, that the control group allows; many where it does not say."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
            if int(quota) > 0:  # version 2 says "max", version 1 -1 where there is no limit
                return -(-int(quota) // int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return sys.maxsize


def _best() -> str:
    """Loading PyTorch takes seconds, so it is only done where there may be a GPU for it."""
    possible = sys.platform in ("darwin", "win32") or any(map(os.path.exists, GPU_FILES))
    if not possible or find_spec("torch") is None:
        return CPU
    import torch

    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else CPU
