"""Footage to measure on and to train on: one sequence of frames, from picture files or from a video.

Frames are ``H,W,3`` RGB uint8, cropped at the right and at the bottom until both sides are multiples of 4; deeper
ones are rounded to 8 bits, transparency is left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from safa.data.scene import Image
from safa.engine.images import Array, to_8_bits
from safa.errors import SafaError
from safa.network.config import SCALE
from safa.video.read.folder import numbered_pictures
from safa.video.read.pictures import load_picture
from safa.video.read.reader import VideoReader


class FrameSequence(Protocol):
    """Consecutive frames of one scene."""

    @property
    def name(self) -> str:
        """Unique in its data set."""

    def count(self) -> int:
        """Number of frames."""

    def read(self, windows: Sequence[range]) -> Iterator[tuple[Image, ...]]:
        """The frames of each of ``windows``, whose first frames ascend, as do their last ones."""

    def frames(self) -> Iterator[Image]:
        """All frames in order, one at a time."""


@dataclass(frozen=True)
class Pictures:
    """A sequence of picture files in the order of their frames."""

    name: str
    paths: tuple[Path, ...]

    def count(self) -> int:
        """Number of frames."""
        return len(self.paths)

    def read(self, windows: Sequence[range]) -> Iterator[tuple[Image, ...]]:
        """The frames of each of ``windows``; raises SafaError for a damaged picture."""
        for window in windows:
            paths = [self.paths[index] for index in window]
            yield _of_one_size([_truth(load_picture(path)) for path in paths], str(paths[0].parent))

    def frames(self) -> Iterator[Image]:
        """All pictures in order; raises SafaError for a damaged one."""
        for path in self.paths:
            yield _truth(load_picture(path))


@dataclass(frozen=True)
class Video:
    """A sequence in a video file."""

    name: str
    path: Path

    def count(self) -> int:
        """Number of frames, by decoding all of them once: containers can be wrong about it."""
        return self._count

    @cached_property
    def _count(self) -> int:
        return sum(1 for _ in self.frames())

    def read(self, windows: Sequence[range]) -> Iterator[tuple[Image, ...]]:
        """The frames of each of ``windows``, in one pass over the file."""
        wanted = deque(windows)
        recent: deque[Image] = deque(maxlen=max((len(window) for window in windows), default=0))
        for index, frame in enumerate(self.frames()):
            recent.append(frame)
            while wanted and index == wanted[0][-1]:
                yield tuple(recent)[-len(wanted.popleft()) :]
            if not wanted:
                return

    def frames(self) -> Iterator[Image]:
        """All frames in order, in one pass over the file."""
        with VideoReader(self.path) as reader:
            for frame in reader.frames():
                yield _truth(frame.image)


def find_pictures(folder: Path) -> tuple[Path, ...]:
    """The picture files directly in ``folder``, in the order of ``numbered_pictures``."""
    return tuple(path for _, path in numbered_pictures(folder))


def _truth(picture: Array) -> Image:
    """Convert to 8 bits and crop to whole low-resolution pixels."""
    height, width = picture.shape[:2]
    return to_8_bits(picture[: height - height % SCALE, : width - width % SCALE])


def _of_one_size(frames: list[Image], folder: str) -> tuple[Image, ...]:
    if len({frame.shape for frame in frames}) != 1:
        raise SafaError(f"The pictures in {folder} differ in size; the frames of a sequence must be equally large.")
    return tuple(frames)
