"""Comparison of GPUs that ONNX Runtime can use with the native engine: pictures before any work, and speed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from safa.checkpoint import Checkpoint
from safa.engine import library
from safa.engine.base import Engine
from safa.engine.device import CPU, ONNX_DEVICES
from safa.engine.native import NativeEngine
from safa.engine.onnx import OnnxEngine, device_products, find_layout, usable_devices
from safa.errors import SafaError
from safa.files import write_json

LARGEST_ERROR = 3 / 255
"""Most that a device's picture may differ from the native engine's."""
CHECKED_SIZE = 24, 32
"""Lines and columns of the frames whose pictures are compared."""
TIMED_SIZES = (96, 96), (184, 320)
"""Lines and columns of the frames that are timed, one size after the other while the device is not far slower."""
FAR_SLOWER = 4.0
"""Times the native engine's time at which larger frames are not tried."""
PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-ep-webgpu",
    "onnxruntime-ep-openvino",
)
"""Packages whose versions a remembered choice depends on."""


@dataclass(frozen=True)
class DeviceChoice:
    """Result of comparing devices.

    Attributes:
        device: the fastest one, "cpu" for the native engine.
        reason: the measured times, and why devices were not used, as one line of text.
    """

    device: str
    reason: str


def choose_device(checkpoint: Checkpoint, threads: int | None = None) -> DeviceChoice | None:
    """Return the faster of the native engine and the GPUs that ONNX Runtime can use, as measured on small frames.

    The choice is remembered for this machine, the installed packages, the devices and the network's layout.

    Args:
        threads: of the native engine; None for as many as there are cores.

    Returns:
        None where there is nothing to compare: no such device, no graphs for the layout, or no native engine.
    """
    devices = [name for name in usable_devices() if name in ONNX_DEVICES]
    if not devices:
        return None
    try:
        layout = find_layout(checkpoint.config).name
        reference = NativeEngine(checkpoint.config, checkpoint.tensors, threads, precision=library.native_precision())
    except SafaError:
        return None
    key = _key(layout, reference, devices)
    choices = _remembered()
    if key in choices:
        with suppress(TypeError):  # written by another version
            return DeviceChoice(**choices[key])
    choice = _measure(checkpoint, reference, devices)
    with suppress(OSError):  # nothing is lost but the time of measuring again
        _cache_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_cache_file(), choices | {key: asdict(choice)})
    return choice


def check_device(engine: Engine, checkpoint: Checkpoint) -> None:
    """Compare a device with the native engine on a small pair of frames.

    Raises:
        SafaError: its picture differs by more than ``LARGEST_ERROR``, or it fails.
    """
    try:
        reference = NativeEngine(checkpoint.config, checkpoint.tensors)
    except SafaError:
        return  # there is nothing to compare with
    error = float(np.abs(_middle_picture(reference, CHECKED_SIZE) - _middle_picture(engine, CHECKED_SIZE)).max())
    if not error <= LARGEST_ERROR:
        raise SafaError(
            f"The device '{engine.device}' computes wrongly (by {255 * error:.0f} of 255 in a test picture) and is not "
            "used; take --device cpu, or try another driver."
        )


def _measure(checkpoint: Checkpoint, reference: Engine, devices: list[str]) -> DeviceChoice:
    """Time each device at ``TIMED_SIZES``; a device that fails or computes wrongly is left out."""
    native = {size: _seconds(reference, size) for size in TIMED_SIZES}
    last = TIMED_SIZES[-1]
    best, fastest = CPU, native[last]
    measured, unused = [], []
    for device in devices:
        try:
            engine = OnnxEngine(checkpoint.config, checkpoint.tensors, device)
            check_device(engine, checkpoint)
            for size in TIMED_SIZES:
                seconds = _seconds(engine, size)
                if seconds > FAR_SLOWER * native[size]:
                    measured.append(f"{device} {seconds / native[size]:.0f} times the processor's time")
                    break
            else:
                measured.append(f"{device} {seconds:.2g} s a frame")
                if seconds < fastest:
                    best, fastest = device, seconds
        except SafaError as error:
            unused.append(f"{device} is not used: {error}")
    times = ", ".join([f"the processor needs {native[last]:.2g} s a frame of {last[1]}x{last[0]}", *measured])
    return DeviceChoice(best, "; ".join([f"{best}: {times}", *unused]))


def _seconds(engine: Engine, size: tuple[int, int]) -> float:
    """Seconds for a pair of frames and one picture between them, the shorter of two after a first."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        _middle_picture(engine, size)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _middle_picture(engine: Engine, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the picture half-way between two random frames, ``4h,4w,3`` in [0, 1]."""
    random = np.random.default_rng(0)
    frames = [random.random((*size, 3), np.float32) for _ in range(2)]
    flows = tuple(random.normal(0, 1, (*size, 2)).astype(np.float32) for _ in range(2))
    first, second = (engine.finish_frame(frame) for frame in engine.encode_window(frames, [(flows[0], flows[1])]))
    rendering = engine.synthesize(engine.encode_pair(first, second, flows), 0.5, scale=0)
    return np.clip(engine.array(rendering.image), 0, 1)


def _key(layout: str, reference: Engine, devices: list[str]) -> str:
    """Digest of all that a choice depends on."""
    packages = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            packages[package] = version(package)
    products = [(device, *device_products(device)) for device in devices]
    facts = [layout, reference.arithmetic, os.cpu_count(), packages, products]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _cache_file() -> Path:
    """Path of the remembered choices, in the user's cache folder."""
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        folder = str(Path.home() / "Library" / "Caches")
    else:
        folder = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(folder) / "safa" / "devices.json"


def _remembered() -> dict[str, dict[str, str]]:
    """Return the choices of earlier runs; none where the file is missing or damaged."""
    try:
        choices = json.loads(_cache_file().read_text())
    except (OSError, ValueError):
        return {}
    return choices if isinstance(choices, dict) else {}
