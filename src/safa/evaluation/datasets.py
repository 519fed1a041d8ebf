"""The data sets of the literature in the folder layouts they are published in, and any footage of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from safa.data.sequences import (
    FrameSequence,
    Names,
    Pictures,
    folders,
    footage,
    read_names,
    require,
    video_inr,
    vimeo90k,
)
from safa.errors import SafaError
from safa.evaluation.protocols import Compression

MOST_TIMES = 16


@dataclass(frozen=True)
class Dataset:
    """Sequences and the factor by which their frame rate is to be multiplied."""

    name: str
    sequences: tuple[FrameSequence, ...]
    factor: int
    """k: of k + 1 consecutive frames the first and the last are inputs."""
    compression: Compression | None = None
    """Compression of the inputs."""

    def __post_init__(self) -> None:
        if not 2 <= self.factor <= MOST_TIMES:
            raise SafaError(f"The time factor is {self.factor}; it must be 2 to {MOST_TIMES}.")


def open_dataset(name: str, root: Path | None = None, factor: int | None = None, names: Path | None = None) -> Dataset:
    """Open a data set by its name, or any footage.

    Args:
        name: vid4, gopro, adobe240, vimeo90k, ucf101 or middlebury (with ``root``); or the path of a video file or
            of a folder with videos, with folders of frames, or with frames.
        root: the folder that holds the named data set.
        factor: time factor, 2 to 16; by default the one the data set is published for, 2 for footage.
        names: a text file with the names of the sequences to take, one a line; by default the list that comes with
            the data set (Vimeo-90K: sep_testlist.txt), or else all sequences.

    Raises:
        SafaError: no such data set or folder, names that are not in it, or nothing to measure on.
    """
    if name not in LAYOUTS:
        if not Path(name).exists():
            raise SafaError(
                f"There is no data set or footage '{name}': it is neither a file or folder nor one of "
                f"{', '.join(LAYOUTS)}."
            )
        root = Path(name)
    find, published = LAYOUTS.get(name, (footage, 2))
    if name in LAYOUTS and (root is None or not root.is_dir()):
        given = "give it with --data." if root is None else f"{root} is no folder."
        raise SafaError(f"The data set {name} needs the folder that holds it: {given}")
    assert root is not None
    sequences = find(root, read_names(names) if names is not None else None)
    if not sequences:
        raise SafaError(f"There are no sequences of frames for {name} in {root}.")
    return Dataset(
        name if name in LAYOUTS else root.resolve().name, tuple(sequences), published if factor is None else factor
    )


def _ucf101(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/<number>/frame_00.png, frame_01_gt.png, frame_02.png``, as DVF and its successors share it."""
    if names is None:
        names = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
    triplets = {name: tuple(root / name / file for file in files) for name in names}
    require([path for triplet in triplets.values() for path in triplet])
    return [Pictures(name, triplet) for name, triplet in triplets.items()]


def _middlebury(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/other-data/<name>/frame10.png, frame11.png`` and ``ROOT/other-gt-interp/<name>/frame10i11.png``."""
    inputs, truths = root / "other-data", root / "other-gt-interp"
    require([inputs, truths])
    if names is None:
        names = sorted(folder.name for folder in truths.iterdir() if folder.is_dir())
    triplets = {
        name: (inputs / name / "frame10.png", truths / name / "frame10i11.png", inputs / name / "frame11.png")
        for name in names
    }
    require([path for triplet in triplets.values() for path in triplet])
    return [Pictures(name, triplet) for name, triplet in triplets.items()]


LAYOUTS: dict[str, tuple[Callable[[Path, Names], list[FrameSequence]], int]] = {
    "vid4": (folders, 2),
    "gopro": (partial(video_inr, part="test"), 8),
    "adobe240": (partial(video_inr, part="test"), 8),
    "vimeo90k": (partial(vimeo90k, part="test"), 2),
    "ucf101": (_ucf101, 2),
    "middlebury": (_middlebury, 2),
}
"""Layout on disk of each named data set, and the time factor it is published for."""
