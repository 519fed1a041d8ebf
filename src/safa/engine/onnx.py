"""The engine for any GPU: ONNX Runtime, with graphs that are shipped for each layout of networks.

The graphs (``graphs/LAYOUT/*.onnx``, written by ``scripts/make_graphs.py``) hold no weights. They get their tensors
from a weights file when they are loaded, so the same graphs serve every network of the layout and every strength of
detail.
"""

from __future__ import annotations

import importlib
import json
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safa.engine.base import Part, Rendering, ScaleChoice
from safa.engine.images import Array, max_value
from safa.engine.memory import torch_bytes
from safa.errors import OutOfMemory, SafaError
from safa.network.config import Region, SafaConfig, Scale
from safa.network.dis_flow import Flow
from safa.network.parameters import Tensors

GRAPHS = Path(__file__).parents[1] / "graphs"
LAYOUT = "layout.json"
BLOCK = "block."
"""Prefix, in graphs of flow blocks, of tensors that each block has of its own."""
EPSILON = 1e-5
"""Added to the variance in batch normalisation."""

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "dml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}
"""Execution providers of ONNX Runtime by the names of devices."""
PLUGINS = {"webgpu": "onnxruntime_ep_webgpu", "openvino": "onnxruntime_ep_openvino"}
"""Packages that add a provider to ONNX Runtime."""
OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate|bad_alloc|(not enough|insufficient) memory", re.IGNORECASE
)
"""Messages of providers for a lack of memory."""
KEPT_ON_DEVICE = ("cpu", "cuda", "dml", "webgpu")
"""Devices that results can stay on from one graph to the next."""


def folded(tensors: Tensors) -> dict[str, NDArray[np.float32]]:
    """Fold batch normalisation, and the strength of residual blocks, into the convolutions before them."""
    result = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    for name in tensors:
        if name.endswith(".running_mean"):
            norm = name.removesuffix(".running_mean")
            conv = re.sub(r"norm(\d)$", r"conv\1", norm) if "norm" in norm else norm.removesuffix("1") + "0"
            mean, variance, weight, bias = (
                result.pop(f"{norm}.{kind}").astype(np.float64)
                for kind in ("running_mean", "running_var", "weight", "bias")
            )
            factor = weight / np.sqrt(variance + EPSILON)
            result[f"{conv}.weight"] = (result[f"{conv}.weight"] * factor[:, None, None, None]).astype(np.float32)
            result[f"{conv}.bias"] = (bias - mean * factor).astype(np.float32)
        elif name.endswith(".beta"):
            beta, conv = result.pop(name).reshape(-1), name.removesuffix("beta") + "conv2"
            result[f"{conv}.weight"] = result[f"{conv}.weight"] * beta[:, None, None, None]
            result[f"{conv}.bias"] = result[f"{conv}.bias"] * beta
    return result


def find_layout(config: SafaConfig) -> Path:
    """Return the folder with the graphs of a layout.

    Raises:
        SafaError: no graphs are shipped for it.
    """
    for path in sorted(GRAPHS.glob(f"*/{LAYOUT}")):
        if SafaConfig.from_dict(json.loads(path.read_text(encoding="utf-8"))["config"]) == config:
            return path.parent
    raise SafaError(
        "The engine 'onnx' has graphs for the shipped networks' layouts only; use --engine native or torch."
    )


@cache
def _register_plugin(device: str) -> None:
    """Add the provider of an installed plug-in package to ONNX Runtime, once for the process."""
    import onnxruntime

    plugin = importlib.import_module(PLUGINS[device])
    onnxruntime.register_execution_provider_library(device, plugin.get_library_path())


def usable_devices() -> list[str]:
    """Return the devices, of ``PROVIDERS``, that ONNX Runtime can use here; none where it is not installed."""
    if find_spec("onnxruntime") is None:
        return []
    import onnxruntime

    built_in = onnxruntime.get_available_providers()
    names = [name for name, provider in PROVIDERS.items() if provider in built_in]
    return names + [name for name in PLUGINS if name not in names and plugin_devices(name)]


def plugin_devices(device: str) -> list[Any]:
    """Return the devices that a plug-in package finds; none where it is not installed or cannot be loaded."""
    if device not in PLUGINS or find_spec(PLUGINS[device]) is None:
        return []
    import onnxruntime

    try:
        _register_plugin(device)
        names = importlib.import_module(PLUGINS[device]).get_ep_name()
        return [one for one in onnxruntime.get_ep_devices() if one.ep_name == names]
    except Exception:  # whatever a driver or a loader raises: the device cannot be used
        return []


def onnx_availability() -> str:
    """Return which devices ONNX Runtime can use here, and what is missing for the others, in one line."""
    if find_spec("onnxruntime") is None:
        return "not installed (pip install onnxruntime onnxruntime-ep-webgpu)"
    usable = usable_devices()
    shown = [f"{name} ({_product(name)})" if name in PLUGINS else name for name in usable]
    missing = []
    for name, package in PLUGINS.items():
        if name not in usable:
            reason = "no GPU or driver that it can use" if find_spec(package) else f"needs {package.replace('_', '-')}"
            missing.append(f"{name}: {reason}")
    return ", ".join(shown) + (f"; not {'; not '.join(missing)}" if missing else "")


def _product(device: str) -> str:
    """Return the maker of a plug-in's first device and its number, as far as ONNX Runtime knows them."""
    found = plugin_devices(device)
    if not found:
        return "built in"
    hardware = found[0].device
    return f"{hardware.vendor or f'vendor {hardware.vendor_id:#06x}'} {hardware.device_id:#06x}"


def device_products(device: str) -> list[str]:
    """Return the makers, numbers and driver properties of a plug-in's devices; none for other devices."""
    found = [one.device for one in plugin_devices(device)]
    return [f"{one.vendor} {one.vendor_id} {one.device_id} {sorted(dict(one.metadata).items())}" for one in found]


@dataclass
class OnnxFrame:
    """An encoded frame."""

    frame: Any
    """``1,3,h,w``."""
    features: Any
    """``1,c,h,w``."""
    enlarged: Any = None
    """``1,3,4h,4w``; None until ``finish_frame``."""


@dataclass
class OnnxPair:
    """Two joined frames."""

    frame0: OnnxFrame
    frame1: OnnxFrame
    hidden: Any
    """``1,c,h,w``."""
    prior: tuple[Any, ...]
    """Classical flow there and back and its acceleration, ``1,2,h,w`` each."""


class OnnxEngine:
    """Runs the weights of a network with a shipped layout.

    Args:
        config, tensors: the network's, as in ``Checkpoint``.
        device: one of ``PROVIDERS``, with a number after a colon where there are several.
        threads: of ONNX Runtime on processors; None leaves them to it.

    Raises:
        SafaError: ONNX Runtime, the provider or the graphs are missing.
    """

    name = "onnx"
    precision = "float32"

    def __init__(self, config: SafaConfig, tensors: Tensors, device: str = "cpu", threads: int | None = None) -> None:
        if find_spec("onnxruntime") is None:
            raise SafaError("The engine 'onnx' needs the package onnxruntime; install it: pip install onnxruntime.")
        import onnxruntime

        self.config, self.device = config, device
        self._runtime, self._threads = onnxruntime, threads
        self._kind, _, number = device.partition(":")
        self._number = int(number or 0)
        self._plugged = plugin_devices(self._kind)
        if self._plugged and self._number >= len(self._plugged):
            last = len(self._plugged) - 1
            raise SafaError(f"There is no device '{device}' here: the last one is {self._kind}:{last}.")
        usable = usable_devices()
        if self._kind not in usable:
            found = ", ".join(usable) or "none"
            raise SafaError(f"ONNX Runtime cannot use the device '{device}' here; it can use: {found}.")
        folder = find_layout(config)
        self._tensors = folded(tensors)
        self._folder = folder
        self._needed = json.loads((folder / LAYOUT).read_text(encoding="utf-8"))["tensors"]
        self._sessions: dict[tuple[str, int], Any] = {}
        self._values: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.bytes_up = self.bytes_down = 0
        """Bytes copied to and from the device since the engine was made."""

    @property
    def arithmetic(self) -> str:
        return f"ONNX Runtime {self._runtime.__version__} {self.device}"

    def bytes_per_pixel(self, frames: int = 2) -> int:
        return torch_bytes(self.config, frames)

    def release(self) -> None:
        """Sessions keep little; there is nothing to give back."""

    def encode_frame(self, frame: NDArray[np.float32]) -> OnnxFrame:
        (carried,) = self.encode_window([frame], [])
        return self.finish_frame(carried)

    def encode_window(
        self, frames: Sequence[NDArray[np.float32]], flows: Sequence[tuple[Flow, Flow]]
    ) -> list[OnnxFrame]:
        inputs = [self._frame(frame) for frame in frames]
        moved = [(self._flow(towards), self._flow(back)) for towards, back in flows]
        own = [self._run("encoder", frame=frame)[0] for frame in inputs]
        states: list[Any] = []
        for index in reversed(range(len(own))):
            if not states:
                states += self._run("backward_first", own=own[index])
            else:
                states += self._run("backward_step", own=own[index], state=states[-1], forward=moved[index][0])
        state: Any = None
        result = []
        for index, features in enumerate(own):
            back = states.pop()
            if state is None:
                state, refined = self._run("forward_first", own=features, back=back)
            else:
                step = {"own": features, "back": back, "state": state, "backward": moved[index - 1][1]}
                state, refined = self._run("forward_step", **step)
            result.append(OnnxFrame(inputs[index], refined))
        return result

    def finish_frame(self, frame: OnnxFrame) -> OnnxFrame:
        (enlarged,) = self._run("finish", frame=frame.frame, features=frame.features)
        return OnnxFrame(frame.frame, frame.features, enlarged)

    def picture(self, frame: OnnxFrame) -> Any:
        return frame.enlarged

    def encode_pair(self, frame0: OnnxFrame, frame1: OnnxFrame, prior: tuple[Flow, ...] | None = None) -> OnnxPair:
        if prior is None:
            raise SafaError("This network starts from a classical flow: give encode_pair its prior.")
        flows = [*prior, np.zeros_like(prior[0])][:3]
        (hidden,) = self._run("pair", features0=frame0.features, features1=frame1.features)
        return OnnxPair(frame0, frame1, hidden, tuple(self._flow(flow) for flow in flows))

    def synthesize(self, pair: OnnxPair, t: float, scale: Scale = None, region: Region | None = None) -> Rendering:
        time = self._put(np.array([t], np.float32))
        forward, backward, acceleration = pair.prior
        (flow,) = self._run(
            "start", hidden=pair.hidden, t=time, forward=forward, backward=backward, acceleration=acceleration
        )
        hidden = pair.hidden
        height, width = hidden.shape()[2:]
        top, left, bottom, right = region or (0, 0, height, width)
        edges = {"start": np.array([top, left], np.int64), "end": np.array([bottom, right], np.int64)}
        seen = {name: self._put(value) for name, value in edges.items()}
        features = {"features0": pair.frame0.features, "features1": pair.frame1.features}
        scales, logits = [], []
        forced = self.config.forced_scales(scale)
        choices = len(self.config.scales) - 1 if None in forced else 0
        for block, index in enumerate(forced):
            x, logit = self._run("selector", hidden=hidden, flow=flow, t=time, **features, **seen)
            chosen = index
            if chosen is None:
                values = self._get(logit)[0]
                chosen = int(max((values <= 0) * np.arange(1, len(values) + 1)))
                logits.append(tuple(map(float, values)))
            else:
                logits.append((float("nan"),) * choices)
            scales.append(chosen)
            hidden, flow = self._run(f"block_scale{chosen}", block, x=x, flow=flow)
        enlarged = {"enlarged0": pair.frame0.enlarged, "enlarged1": pair.frame1.enlarged}
        (image,) = self._run("synthesis", hidden=hidden, flow=flow, t=time, **features, **enlarged)
        return Rendering(image, _Planes(flow, 0, 4), _Planes(flow, 4, 5), ScaleChoice(tuple(scales), tuple(logits)))

    def array(self, image: Any) -> NDArray[np.float32]:
        if isinstance(image, _Planes):
            values = self._get(image.flow)[0, image.first : image.last].transpose(1, 2, 0)
            return np.ascontiguousarray(1 / (1 + np.exp(-values)) if image.first else values)
        return np.ascontiguousarray(self._get(image)[0].transpose(1, 2, 0)).clip(0, 1)

    def store(self, image: Any, part: Part, into: Array) -> None:
        height, width = image.shape()[2:]
        rows, columns = (range(size)[one] for one, size in zip(part, (height, width), strict=True))
        bottom, right = rows.start + min(len(rows), into.shape[0]), columns.start + min(len(columns), into.shape[1])
        edges = {
            "start": self._put(np.array([rows.start, columns.start], np.int64)),
            "end": self._put(np.array([bottom, right], np.int64)),
        }
        white = max_value(into.dtype)
        count = (bottom - rows.start) * (right - columns.start) * 3
        bits = {255: 8, 65535: 16}.get(white, 32)
        whole = count % (32 // bits) == 0  # several values share a word of 32 bits
        (stored,) = self._run(f"store{bits if whole else 32}", image=image, **edges)
        shape = bottom - rows.start, right - columns.start, 3
        if bits == 32 or not whole:
            values = self._get(stored)[0]
            into[: shape[0], : shape[1]] = values if white == 1 else np.rint(values * np.float32(white))
        else:
            into[: shape[0], : shape[1]] = self._get(stored).view(into.dtype).reshape(shape)

    def _frame(self, frame: NDArray[np.float32]) -> Any:
        """Put a frame ``h,w,3`` on the device, as bytes where it holds no more than these."""
        scaled = frame * np.float32(255)
        whole = np.rint(scaled)
        if np.abs(whole / np.float32(255) - frame).max(initial=0) > 0:
            return self._run("frame32", picture=self._put(np.ascontiguousarray(frame)))[0]
        words = np.zeros((*frame.shape[:2], 4), np.uint8)
        words[..., :3] = whole
        return self._run("frame8", words=self._put(words.view(np.int32)[..., 0]))[0]

    def _flow(self, flow: Flow) -> Any:
        return self._put(np.ascontiguousarray(flow.transpose(2, 0, 1)[None], np.float32))

    def _put(self, array: NDArray[Any]) -> Any:
        """Return an array as a value of ONNX Runtime, on the device if values can stay there."""
        self.bytes_up += array.nbytes
        array = np.ascontiguousarray(array)
        if self._kind in KEPT_ON_DEVICE and self._kind != "cpu":
            return self._runtime.OrtValue.ortvalue_from_numpy(array, self._kind, self._number)
        return self._runtime.OrtValue.ortvalue_from_numpy(array)

    def _get(self, value: Any) -> NDArray[Any]:
        array: NDArray[Any] = value.numpy()
        self.bytes_down += array.nbytes
        return array

    def _run(self, graph: str, block: int = 0, **inputs: Any) -> list[Any]:
        """Run a graph; values stay on the device."""
        with self._lock:
            session = self._session(graph, block)
            binding = session.io_binding()
            for one in session.get_inputs():
                binding.bind_ortvalue_input(one.name, inputs[one.name])
            for one in session.get_outputs():
                if self._kind in KEPT_ON_DEVICE:
                    binding.bind_output(one.name, self._kind, self._number)
                else:
                    binding.bind_output(one.name)
            try:
                session.run_with_iobinding(binding)
            except Exception as error:
                if OUT_OF_MEMORY.search(str(error)):
                    raise OutOfMemory(f"The device '{self.device}' has too little memory for these frames.") from error
                raise SafaError(
                    f"The device '{self.device}' failed ({str(error).splitlines()[0][:200]}); the same command goes on "
                    "from what is finished, with --device cpu where the device is gone."
                ) from error
            return list(binding.get_outputs())

    def _session(self, graph: str, block: int) -> Any:
        key = graph, block if graph.startswith("block_") else 0
        if key not in self._sessions:
            options = self._runtime.SessionOptions()
            options.log_severity_level = 3
            if self._threads is not None:
                options.intra_op_num_threads = self._threads
            names, values = [], []
            for place, (name, shape) in self._needed[graph].items():
                own = name.replace(BLOCK, f"blocks.{key[1]}.") if name.startswith(BLOCK) else name
                names.append(place)
                values.append(self._tensor(own, shape))
            if names:
                options.add_external_initializers(names, values)
            self._sessions[key] = self._open(self._folder / f"{graph}.onnx", options)
        return self._sessions[key]

    def _open(self, path: Path, options: Any) -> Any:
        model = path.read_bytes()
        try:
            if self._plugged:
                options.add_provider_for_devices([self._plugged[self._number]], {})
                return self._runtime.InferenceSession(model, options)
            settings = {"device_id": str(self._number)} if self._kind in ("cuda", "dml", "migraphx") else {}
            return self._runtime.InferenceSession(model, options, providers=[(PROVIDERS[self._kind], settings)])
        except Exception as error:
            raise SafaError(
                f"The device '{self.device}' cannot run {path.stem}: {str(error).splitlines()[0][:200]}"
            ) from error

    def _tensor(self, name: str, shape: list[int]) -> Any:
        key = f"{name} {shape}"
        if key not in self._values:
            array = np.ascontiguousarray(self._tensors[name].reshape(shape))
            self._values[key] = self._runtime.OrtValue.ortvalue_from_numpy(array)
        return self._values[key]


@dataclass
class _Planes:
    """Some channels of a flow state, of which arrays are made when they are asked for."""

    flow: Any
    first: int
    last: int
