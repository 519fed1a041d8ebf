"""Runs an exported network: NumPy, OpenCV and ONNX Runtime (for .pt2 archives PyTorch) are all it takes.

A copy of this file lies in every exported folder, so it needs nothing else of the package it comes from. There:

    network = runpy.run_path("best-onnx/run.py")["Network"]()
    window = network.window(frames)  # consecutive frames of one scene, H,W,3 RGB
    window.at(3)                     # frame 3, four times as wide and high
    window.at(3, 0.5)                # half way between frames 3 and 4
"""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

LONGEST_SIDE = 32766
"""Longest side, in pixels, of frames for which OpenCV computes the classical flow."""

Array = NDArray[Any]
Run = Callable[..., Sequence[Any]]
"""``run(part name, *inputs)`` gives the part's outputs; arrays or tensors, whatever the runtime takes."""


class Steps:
    """Order in which the parts run, in any runtime: one window of any number of frames, to any time.

    Args:
        run: the parts.
        config: the network's settings, as "config" in model.json.
        frames: consecutive frames ``1,3,h,w`` float32 in [0, 1], sides multiples of the network's.
        flows: for a place, the classical flow from the frame there to the next, and from that back, each ``1,2,h,w``
            in pixels (of the last frame to itself); asked for only where the network uses it.
        motion: for a place, what ``motion_between`` makes of the flows there and around it, ``1,2,h,w`` each; asked for
            only where the network carries features along the window.
    """

    def __init__(
        self,
        run: Run,
        config: dict[str, Any],
        frames: Sequence[Any],
        flows: Callable[[int], Sequence[Any]],
        motion: Callable[[int], Sequence[Any]] | None = None,
    ) -> None:
        self._run, self._config, self._inputs, self._flows = run, config, frames, flows
        self._motion = motion or flows
        self._carried: list[Any] = []
        self._frames: dict[int, Sequence[Any]] = {}
        self._pair: tuple[int, Any] | None = None

    def frame(self, place: int) -> Sequence[Any]:
        """``enlarged`` and ``features`` of the frame at ``place``."""
        if place not in self._frames:
            # Only the neighbours are kept: enlarged frames are large.
            self._frames = {near: self._frames[near] for near in (place - 1, place + 1) if near in self._frames}
            if self._config["propagation"]:
                features = self._carry()[place]
                self._frames[place] = *self._run("finish", self._inputs[place], features), features
            else:
                self._frames[place] = self._run("encoder", self._inputs[place])
        return self._frames[place]

    def between(self, place: int, t: Any, scales: Sequence[int] | None = None) -> tuple[Any, list[int]]:
        """The image at time ``t`` between the frame at ``place`` and the next, and the scale of each block.

        Args:
            t: one float32 in [0, 1].
            scales: one index for each block; None follows the selector.
        """
        after = min(place + 1, len(self._inputs) - 1)
        (enlarged0, features0), (enlarged1, features1) = self.frame(place), self.frame(after)
        if self._pair is None or self._pair[0] != place:
            (hidden,) = self._run("pair", features0, features1)
            self._pair = place, hidden
        hidden = self._pair[1]
        prior: Sequence[Any] = ()
        if self._config["flow_prior"] == "dis":
            prior = self._motion(place) if self._config["propagation"] else self._flows(place)
        (flow,) = self._run("start", hidden, t, *prior)
        used = []
        for block in range(self._config["blocks"]):
            x, scale, *_ = self._run("selector", hidden, features0, features1, flow, t)
            used.append(int(scale[0]) if scales is None else scales[block])
            hidden, flow = self._run(f"block{block}_scale{used[-1]}", x, flow)
        carried = (hidden,) if self._config["propagation"] else ()
        (image,) = self._run("synthesis", enlarged0, enlarged1, features0, features1, *carried, flow, t)
        return image, used

    def _carry(self) -> list[Any]:
        """Features of all frames: once from the last to the first and once from the first to the last."""
        if self._carried:
            return self._carried
        own = [self._run("encoder", frame)[0] for frame in self._inputs]
        # The first frame of a pass has no neighbour: a state of zeros, from wherever, adds nothing.
        nothing, nowhere = 0 * own[0], 0 * self._inputs[0][:, :2]
        states: list[Any] = []
        for place in reversed(range(len(own))):
            state, forward = (states[-1], self._flows(place)[0]) if states else (nothing, nowhere)
            states += self._run("backward_step", own[place], state, forward)
        state, backward = nothing, nowhere
        for place, features in enumerate(own):
            if place:
                backward = self._flows(place - 1)[1]
            state, refined = self._run("forward_step", features, states.pop(), state, backward)
            self._carried.append(refined)
        return self._carried


class Graphs:
    """ONNX graphs in ONNX Runtime; one that is never asked for is never loaded."""

    def __init__(self, folder: str | Path, providers: Sequence[str] = ("CPUExecutionProvider",)) -> None:
        import onnxruntime

        self._folder, self._providers, self._session = Path(folder), list(providers), onnxruntime.InferenceSession
        self._sessions: dict[str, Any] = {}

    def __call__(self, name: str, *inputs: Array) -> Sequence[Array]:
        if name not in self._sessions:
            self._sessions[name] = self._session(str(self._folder / f"{name}.onnx"), providers=self._providers)
        session = self._sessions[name]
        names = [one.name for one in session.get_inputs()]
        return session.run(None, dict(zip(names, inputs, strict=True)))

    def put(self, array: Array) -> Array:
        return array

    def get(self, array: Array) -> Array:
        return array


class Archives:
    """``torch.export`` archives in PyTorch; one that is never asked for is never loaded."""

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        import torch
        from torch.export.passes import move_to_device_pass

        self._folder, self._device, self._torch, self._move = Path(folder), device, torch, move_to_device_pass
        self._modules: dict[str, Any] = {}

    def __call__(self, name: str, *inputs: Any) -> Sequence[Any]:
        if name not in self._modules:
            program = self._torch.export.load(self._folder / f"{name}.pt2")
            self._modules[name] = self._move(program, self._device).module()
        with self._torch.no_grad():
            return self._modules[name](*inputs)

    def put(self, array: Array) -> Any:
        return self._torch.from_numpy(array).to(self._device)

    def get(self, tensor: Any) -> Array:
        return tensor.cpu().numpy()


class Network:
    """An exported network.

    Args:
        folder: the exported folder; where this file lies if None.
        runtime: ``Graphs(folder, providers)`` or ``Archives(folder, device)``; on the CPU if None.
        flow: a module with the functions ``flow_both_ways`` and ``motion_between`` of the folder's flow.py; that one if
            None.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        runtime: Any = None,
        flow: Any = None,
    ) -> None:
        folder = Path(__file__).parent if folder is None else Path(folder)
        self.model: dict[str, Any] = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.runtime = runtime or (Graphs if self.model["kind"] == "onnx" else Archives)(folder)
        if flow is None and self.model["needs_flow"]:
            flow = SimpleNamespace(**runpy.run_path(str(folder / self.model["flow"])))
        self.flow = flow

    def window(self, frames: Sequence[Array]) -> FrameWindow:
        """Consecutive frames of one scene, ``H,W,3`` RGB, uint8, uint16 or floating point in [0, 1], all alike.

        A network with propagation looks at all of them for each picture, any other at the two next to it. How many
        of a longer stream belong together is "window" in model.json.

        Raises:
            ValueError: there is none, or they are something else.
        """
        return FrameWindow(self, frames)

    def between(self, frame0: Array, frame1: Array, times: Sequence[float]) -> list[Array]:
        """The pictures at ``times`` in [0, 1], given two frames: a window of two."""
        window = self.window([frame0, frame1])
        return [window.at(0, t) for t in times]


class FrameWindow:
    """Consecutive frames, between any two of which pictures can be made; from ``Network.window``."""

    def __init__(self, network: Network, frames: Sequence[Array]) -> None:
        if not frames:
            raise ValueError("A window must have at least one frame.")
        shape, self._type = frames[0].shape, frames[0].dtype
        if len(shape) != 3 or shape[2] != 3 or not (self._type in (np.uint8, np.uint16) or self._type.kind == "f"):
            raise ValueError(f"A frame is {shape} {self._type}; it must be height,width,3, 8 or 16 bits or in [0, 1].")
        if any(frame.shape != shape or frame.dtype != self._type for frame in frames):
            raise ValueError("The frames of a window must have one size and type.")
        if self._type.kind == "f" and not all(np.isfinite(frame).all() for frame in frames):
            raise ValueError("A frame has values that are infinite or no numbers; they must be in [0, 1].")
        if network.model["needs_flow"] and max(shape) > LONGEST_SIDE:
            raise ValueError(f"A frame is {shape}; this network takes at most {LONGEST_SIDE} pixels a side.")
        self._network, self._count, self._size = network, len(frames), shape[:2]
        self._white = np.iinfo(self._type).max if self._type.kind == "u" else 1
        self._low = [np.rint(np.clip(frame / self._white, 0, 1) * 255).astype(np.uint8) for frame in frames]
        self._known: dict[int, tuple[Array, Array]] = {}
        inputs = [self._put(np.asarray(frame, np.float32) / self._white) for frame in frames]
        self._steps = Steps(network.runtime, network.model["config"], inputs, self._flows, self._motion)

    def at(self, place: int, t: float = 0.0, scales: Sequence[int] | None = None) -> Array:
        """The picture at time ``t`` in [0, 1] between the frame at ``place`` and the next, ``4H,4W,3``, of the
        frames' type.

        Args:
            scales: index of the scale for each block; None leaves them to the network.

        Raises:
            ValueError: there is no such place or time.
        """
        if not 0 <= place < self._count or not 0 <= t <= 1:
            raise ValueError(f"Place {place} and time {t} are not in a window of {self._count} frames and [0, 1].")
        if self._network.model["config"]["propagation"] and t in (0, 1):
            image, _ = self._steps.frame(min(place + int(t), self._count - 1))
        else:
            image, _ = self._steps.between(place, self._network.runtime.put(np.array([t], np.float32)), scales)
        height, width = (side * self._network.model["enlargement"] for side in self._size)
        picture = np.clip(self._network.runtime.get(image)[0].transpose(1, 2, 0)[:height, :width], 0, 1) * self._white
        return (np.rint(picture) if self._white > 1 else picture).astype(self._type)

    def _flows(self, place: int) -> Sequence[Any]:
        return [self._put(flow) for flow in self._both_ways(place)]

    def _motion(self, place: int) -> Sequence[Any]:
        last = self._count - 1
        before, pair, after = (self._both_ways(k) if 0 <= k < last else None for k in (place - 1, place, place + 1))
        pair = pair or self._both_ways(place)  # of the last frame to itself
        return [self._put(flow) for flow in self._network.flow.motion_between(before, pair, after)]

    def _both_ways(self, place: int) -> tuple[Array, Array]:
        """Classical flow from the frame at ``place`` to the next and back, computed once."""
        if place not in self._known:
            first, second = self._low[place], self._low[min(place + 1, self._count - 1)]
            self._known[place] = self._network.flow.flow_both_ways(first, second)
        return self._known[place]

    def _put(self, array: Array) -> Any:
        """``H,W,C`` as the runtime's ``1,C,h,w`` float32: edges repeated at the right and bottom."""
        multiple = self._network.model["multiple"]
        sides = ((0, -array.shape[0] % multiple), (0, -array.shape[1] % multiple), (0, 0))
        padded = np.pad(array, sides, "edge").transpose(2, 0, 1)[None]
        return self._network.runtime.put(np.ascontiguousarray(padded, np.float32))
