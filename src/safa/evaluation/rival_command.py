"""Other programs as methods to compare with: they are given a sequence's inputs, and what they make is read back.

A command has the places ``{input}``, a folder of numbered PNGs, or ``{input_video}``, the same as a video without loss;
``{output}``, an empty folder for numbered pictures or one video; and, where the program wants them, ``{times}``,
``{scale}`` and ``{fps}``, the frame rate of the result. The program runs once a sequence, in the current folder. Its
pictures are taken in the order of their numbers; the frames of its video by their times.
"""

from __future__ import annotations

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
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from torch import Tensor

from safa.data.scene import Image
from safa.data.sequences import find_pictures
from safa.engine.images import to_8_bits
from safa.errors import SafaError
from safa.evaluation.baselines import Method, MethodFailed, Usage
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import to_tensor
from safa.evaluation.video_metrics import RATE, write_lossless
from safa.network.config import SCALE
from safa.video.names import VIDEO_SUFFIXES
from safa.video.read.pictures import load_picture
from safa.video.read.reader import VideoReader

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
        wanted = f"--rival '{text}': give NAME=COMMAND with the places {{input}} or {{input_video}}, and {{output}}"
        places = _places_in(command)
        if not name.strip() or not words or "output" not in places or not places & {"input", "input_video"}:
            raise SafaError(f"{wanted}.")
        if places - set(PLACES):
            raise SafaError(f"{wanted}; there is no place {{{min(places - set(PLACES))}}}.")
        if shutil.which(words[0]) is None:
            raise SafaError(f"--rival {name.strip()}: there is no program '{words[0]}' that can be run.")
        return cls(name.strip(), words, timeout)

    @property
    def places(self) -> set[str]:
        """Those that the command has."""
        return _places_in(" ".join(self.words))

    def method(self, factor: int) -> Method:
        """The program as a method at a time factor; what it takes is in the method's ``usage``."""
        runs = _Runs(self, factor)

        def pair(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
            return runs.frames((frame0, frame1), 0, times)

        return Method(self.name, pair, None, stream=runs.frames, usage=runs.usage)


def _places_in(command: str) -> set[str]:
    """The names in braces."""
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
