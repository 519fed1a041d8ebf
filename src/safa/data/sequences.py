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
from typing import Literal, Protocol

from safa.data.scene import Image
from safa.engine.images import Array, to_8_bits
from safa.errors import SafaError
from safa.network.config import SCALE
from safa.video.file_source import VideoReader
from safa.video.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from safa.video.folder_source import numbered_pictures
from safa.video.pictures import load_picture


class FrameSequence(Protocol):
    """Consecutive frames of one scene."""

    @property
    def name(self) -> str:
        """Unique in its data set."""

    def count(self) -> int:
        """Number of frames."""

    def read(self, windows: Sequence[range]) -> Iterator[tuple[Image, ...]]:
        """Yield the frames of each of ``windows``, whose first and last frames both ascend."""

    def frames(self) -> Iterator[Image]:
        """Yield all frames in order, one at a time."""


@dataclass(frozen=True)
class Pictures:
    """A sequence of picture files in the order of their frames."""

    name: str
    paths: tuple[Path, ...]

    def count(self) -> int:
        """Number of frames."""
        return len(self.paths)

    def read(self, windows: Sequence[range]) -> Iterator[tuple[Image, ...]]:
        """Yield the frames of each of ``windows``; raises SafaError for a damaged picture."""
        for window in windows:
            paths = [self.paths[index] for index in window]
            yield _of_one_size([_truth(load_picture(path)) for path in paths], str(paths[0].parent))

    def frames(self) -> Iterator[Image]:
        """Yield all pictures in order; raises SafaError for a damaged one."""
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
        """Yield the frames of each of ``windows``, in one pass over the file."""
        expected = deque(windows)
        recent: deque[Image] = deque(maxlen=max((len(window) for window in windows), default=0))
        for index, frame in enumerate(self.frames()):
            recent.append(frame)
            while expected and index == expected[0][-1]:
                yield tuple(recent)[-len(expected.popleft()) :]
            if not expected:
                return

    def frames(self) -> Iterator[Image]:
        """Yield all frames in order, in one pass over the file."""
        with VideoReader(self.path) as reader:
            for frame in reader.frames():
                yield _truth(frame.image)


def find_pictures(folder: Path) -> tuple[Path, ...]:
    """Return the picture files directly in ``folder``, in the order of ``numbered_pictures``."""
    return tuple(path for _, path in numbered_pictures(folder))


def _truth(picture: Array) -> Image:
    """Convert to 8 bits and crop to whole low-resolution pixels."""
    height, width = picture.shape[:2]
    return to_8_bits(picture[: height - height % SCALE, : width - width % SCALE])


def _of_one_size(frames: list[Image], folder: str) -> tuple[Image, ...]:
    if len({frame.shape for frame in frames}) != 1:
        raise SafaError(f"The pictures in {folder} differ in size; the frames of a sequence must be equally large.")
    return tuple(frames)


# Directory layouts of published data sets: folders of numbered frames, and lists that select some of them.

Subset = Literal["train", "test"]
Names = list[str] | None
"""Names of the sequences to take; None for all."""


def folders(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/<sequence>/<frame>``: Vid4, and GoPro and Adobe240 as VideoINR lays them out."""
    if names is None:
        names = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and find_pictures(folder))
    return [_pictures(name, root / name) for name in names]


def video_inr(root: Path, names: Names, part: Subset) -> list[FrameSequence]:
    """VideoINR's script makes the folders ``train`` and ``test``; published copies are with and without them."""
    return folders(root / part if (root / part).is_dir() else root, names)


def vimeo90k(root: Path, names: Names, part: Subset) -> list[FrameSequence]:
    """``ROOT/sequences/00001/0001/im1.png`` to ``im7.png`` with lists of ``00001/0001``."""
    if names is None:
        names = read_names(root / f"sep_{part}list.txt")
    require([root / "sequences" / name for name in names])
    return [_pictures(name, root / "sequences" / name) for name in names]


def reds(root: Path, names: Names, part: Subset) -> list[FrameSequence]:
    """``ROOT/train/train_sharp/000/00000000.png``; the validation clips, ``ROOT/val/val_sharp``, serve as tests."""
    name = "train" if part == "train" else "val"
    inner = root / name / f"{name}_sharp"
    return folders(inner if inner.is_dir() else root, names)


def footage(path: Path, names: Names) -> list[FrameSequence]:
    """A video file; or a folder: its frames, or the folders of frames and the videos below it."""
    if path.is_file() or find_pictures(path):
        if names is not None:
            raise SafaError(f"{path} is one sequence; a list of names is for a folder that holds several.")
        return [Video(path.stem, path) if path.is_file() else _pictures(path.resolve().name, path)]
    folders = {file.parent for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES}
    found: dict[str, FrameSequence] = {}
    for folder in sorted(folders):
        name = folder.relative_to(path).as_posix()
        found[name] = Pictures(name, find_pictures(folder))
    for clip in sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES):
        name = clip.relative_to(path).as_posix()
        found[name] = Video(name, clip)
    if names is None:
        return list(found.values())
    require([path / name for name in names])
    unusable = [name for name in names if name not in found]
    if unusable:
        raise SafaError(f"{path / unusable[0]} is in the list of names, but is neither a video nor a folder of frames.")
    return [found[name] for name in names]


def _pictures(name: str, folder: Path) -> Pictures:
    """Raises SafaError where ``folder`` is missing or holds no pictures."""
    require([folder])
    pictures = find_pictures(folder) if folder.is_dir() else ()
    if not pictures:
        raise SafaError(f"The data set is not complete: {folder} is no folder of pictures.")
    return Pictures(name, pictures)


def read_names(path: Path) -> list[str]:
    """Read a list of names, one a line. Raises SafaError."""
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise SafaError(f"The list of sequences {path} cannot be read: {error.strerror}.") from error


def require(paths: list[Path]) -> None:
    """Raises SafaError naming the first of ``paths`` that is not there."""
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise SafaError(
            f"The data set is not complete: {missing[0]} is missing"
            + (f", and {len(missing) - 1} more." if len(missing) > 1 else ".")
        )
