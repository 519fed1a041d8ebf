"""Directory layouts of published data sets: folders of numbered frames, and lists that select some of them.

Evaluation and training read the same trees; they differ in the part of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from safa.data.sequences import FrameSequence, Pictures, Video, find_pictures
from safa.errors import SafaError
from safa.video.names import PICTURE_SUFFIXES, VIDEO_SUFFIXES

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
    """One name a line. Raises SafaError."""
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
