"""The data sets of the literature in the folder layouts they are published in, and any footage of one's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safa.data.clips import find_clips
from safa.errors import SafaError
from safa.evaluation.sequences import PICTURE_SUFFIXES, FrameSequence, Pictures, Video, find_pictures

MOST_TIMES = 16


@dataclass(frozen=True)
class Dataset:
    """Sequences and the factor by which their frame rate is to be multiplied."""

    name: str
    sequences: tuple[FrameSequence, ...]
    factor: int
    """k: of k + 1 consecutive frames the first and the last are inputs."""

    def __post_init__(self) -> None:
        if not 2 <= self.factor <= MOST_TIMES:
            raise SafaError(f"The time factor is {self.factor}; it must be 2 to {MOST_TIMES}.")


def open_dataset(name: str, root: Path | None = None, factor: int | None = None, names: Path | None = None) -> Dataset:
    """A data set by its name, or any footage.

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
    find, published = LAYOUTS.get(name, (_footage, 2))
    if root is None or not root.exists():
        raise SafaError(f"The data set {name} needs the folder that holds it; there is none at {root}.")
    sequences = find(root, _read_names(names) if names is not None else None)
    if not sequences:
        raise SafaError(f"There are no sequences of frames for {name} in {root}.")
    return Dataset(name if name in LAYOUTS else root.resolve().name, tuple(sequences), factor or published)


Names = list[str] | None


def _folders(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/<sequence>/<frame>``: Vid4, and GoPro and Adobe240 as VideoINR lays them out."""
    if names is None:
        names = sorted(folder.name for folder in root.iterdir() if folder.is_dir() and find_pictures(folder))
    _require([root / name for name in names])
    return [Pictures(name, find_pictures(root / name)) for name in names]


def _video_inr(root: Path, names: Names) -> list[FrameSequence]:
    """VideoINR's script puts the test clips into a folder ``test``; published copies are with and without it."""
    return _folders(root / "test" if (root / "test").is_dir() else root, names)


def _vimeo90k(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/sequences/00001/0001/im1.png`` to ``im7.png`` with a list of ``00001/0001``."""
    if names is None:
        names = _read_names(root / "sep_testlist.txt")
    _require([root / "sequences" / name for name in names])
    return [Pictures(name, find_pictures(root / "sequences" / name)) for name in names]


def _ucf101(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/<number>/frame_00.png, frame_01_gt.png, frame_02.png``, as DVF and its successors share it."""
    if names is None:
        names = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    files = ("frame_00.png", "frame_01_gt.png", "frame_02.png")
    triplets = {name: tuple(root / name / file for file in files) for name in names}
    _require([path for triplet in triplets.values() for path in triplet])
    return [Pictures(name, triplet) for name, triplet in triplets.items()]


def _middlebury(root: Path, names: Names) -> list[FrameSequence]:
    """``ROOT/other-data/<name>/frame10.png, frame11.png`` and ``ROOT/other-gt-interp/<name>/frame10i11.png``."""
    inputs, truths = root / "other-data", root / "other-gt-interp"
    _require([inputs, truths])
    if names is None:
        names = sorted(folder.name for folder in truths.iterdir() if folder.is_dir())
    triplets = {
        name: (inputs / name / "frame10.png", truths / name / "frame10i11.png", inputs / name / "frame11.png")
        for name in names
    }
    _require([path for triplet in triplets.values() for path in triplet])
    return [Pictures(name, triplet) for name, triplet in triplets.items()]


def _footage(path: Path, names: Names) -> list[FrameSequence]:
    """A video file; or a folder: its frames, or the folders of frames and the videos below it."""
    if path.is_file():
        return [Video(path.stem, path)]
    if find_pictures(path):
        return [Pictures(path.resolve().name, find_pictures(path))]
    folders = {file.parent for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES}
    found: dict[str, FrameSequence] = {}
    for folder in sorted(folders):
        name = folder.relative_to(path).as_posix()
        found[name] = Pictures(name, find_pictures(folder))
    for clip in find_clips(path):
        name = clip.relative_to(path).as_posix()
        found[name] = Video(name, clip)
    if names is None:
        return list(found.values())
    _require([path / name for name in names])
    return [found[name] for name in names if name in found]


LAYOUTS: dict[str, tuple[Callable[[Path, Names], list[FrameSequence]], int]] = {
    "vid4": (_folders, 2),
    "gopro": (_video_inr, 8),
    "adobe240": (_video_inr, 8),
    "vimeo90k": (_vimeo90k, 2),
    "ucf101": (_ucf101, 2),
    "middlebury": (_middlebury, 2),
}
"""How each named data set lies on disk, and the time factor it is published for."""


def _read_names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise SafaError(f"The list of sequences {path} cannot be read: {error.strerror}.") from error


def _require(paths: list[Path]) -> None:
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise SafaError(
            f"The data set is not complete: {missing[0]} is missing"
            + (f", and {len(missing) - 1} more." if len(missing) > 1 else ".")
        )
