"""Devices that a network can run on, and the number types there.

Devices and number types are names here, as PyTorch has them: most of the package runs without PyTorch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from safa.engine import memory
from safa.engine.memory import CGROUP
from safa.errors import SafaError, needs_pytorch

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
"""Number types of convolutions; flow, warps and image fusion are always float32."""

CPU = "cpu"

ONNX_DEVICES = ("webgpu", "dml", "openvino", "coreml", "migraphx")
"""Devices that ONNX Runtime alone can use (``safa.engine.onnx``)."""

GPU_KINDS = ("cuda", "xpu", "mps")
"""NVIDIA's and AMD's, Intel's, and Apple's GPUs, as PyTorch calls them."""
# What is there where a GPU may be: NVIDIA's driver, AMD's, and Windows' own under WSL. Intel's driver is everywhere on
# Linux, but only PyTorch's build for it uses it.
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
INTEL_BUILD = "+xpu"


def pick_device(name: str) -> str:
    """Return the device called ``name``; for "auto" PyTorch's GPU if there is one, else "cpu".

    Raises:
        SafaError: it is not available.
    """
    if name == "auto":
        name = _best()
    if name == CPU or _kind(name) in ONNX_DEVICES:
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
    """Return whether ``device`` is an NVIDIA or AMD GPU."""
    return _kind(device) == "cuda"


def synchronize(device: str) -> None:
    """Wait until a GPU has finished its queued work."""
    if (gpu := _gpu_module(device)) is not None:
        gpu.synchronize(*_number(device))


def release_cache(device: str) -> None:
    """Free the GPU memory that PyTorch keeps for later allocations."""
    if (gpu := _gpu_module(device)) is not None:
        gpu.empty_cache()


def device_name(device: str) -> str:
    """Return the product name of a GPU, or ``device`` where PyTorch does not tell it."""
    gpu = _gpu_module(device)
    return str(gpu.get_device_name(device)) if gpu is not None and hasattr(gpu, "get_device_name") else device


def free_bytes(device: str) -> int | None:
    """Return the free bytes of a GPU with its own memory; None for the CPU and Apple's GPUs, which have none."""
    gpu = _gpu_module(device)
    if gpu is None or not hasattr(gpu, "memory_allocated"):
        return None
    if hasattr(gpu, "mem_get_info"):
        return int(gpu.mem_get_info(device)[0])
    return int(gpu.get_device_properties(device).total_memory - gpu.memory_allocated(device))


def peak_allocated(device: str, call: Callable[[], None]) -> int | None:
    """Run ``call``; return the bytes it needed on a GPU beyond what was allocated, None where that is not known."""
    gpu = _gpu_module(device)
    if gpu is None or not hasattr(gpu, "max_memory_allocated"):
        call()
        return None
    gpu.reset_peak_memory_stats(device)
    before = gpu.memory_allocated(device)
    call()
    synchronize(device)
    return int(gpu.max_memory_allocated(device) - before)


def processor_threads() -> int:
    """Return the number of processor cores for this process, or ``OMP_NUM_THREADS`` where that is set.

    Two threads of one core share its arithmetic units, so each core counts once. A container may be allowed less.
    """
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdigit() and int(requested):
        return int(requested)
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
    """Return the processor quota of the control group, rounded up; ``sys.maxsize`` without a quota."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((CGROUP / file).read_text() for file in files).split()
            if int(quota) > 0:  # version 2 says "max", version 1 -1 where there is no limit
                return -(-int(quota) // int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return sys.maxsize


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _number(device: str) -> tuple[str, ...]:
    """Return the device as an argument, for kinds of GPU of which there may be several."""
    return () if _kind(device) == "mps" else (device,)


def _gpu_module(device: str) -> ModuleType | None:
    """Return PyTorch's module for a kind of GPU; None for the CPU."""
    if _kind(device) not in GPU_KINDS:
        return None
    import torch

    return getattr(torch, _kind(device))


def _best() -> str:
    """Return PyTorch's GPU, or "cpu". Loading PyTorch takes seconds, so it is loaded only where a GPU is likely."""
    possible = sys.platform in ("darwin", "win32") or any(map(os.path.exists, GPU_FILES))
    if find_spec("torch") is None or not (possible or INTEL_BUILD in version("torch")):
        return CPU
    import torch

    return next((kind for kind in GPU_KINDS if getattr(torch, kind).is_available()), CPU)


def peak_bytes(call: Callable[[], None], device: str) -> int | None:
    """Return the peak bytes of ``call`` on ``device``; None for CPUs outside Linux, which do not report them."""
    if device != "cpu":
        return peak_allocated(device, call)
    if not memory.reset_peak():
        call()
        return None
    before = memory.resident()
    call()
    return max(0, memory.peak() - before)
