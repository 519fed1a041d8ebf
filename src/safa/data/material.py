"""Training material: reels and photographs, and a part of them held out for validation.

A folder is read as a whole at every start, which is good for a try; ``safa pack`` makes a pack of it, which opens at
once and takes little memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags
from PIL import Image as PillowImage

from safa.data.clips import Reel, load_clip
from safa.data.sequences import FrameSequence, Pictures, Video, find_pictures
from safa.data.synthetic import Still, load_still
from safa.errors import SafaError
from safa.video.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES

# From this Exif orientation on, rows and columns are exchanged.
TURNED = 5


@dataclass(frozen=True)
class Split:
    """Reels and photographs that are used together.

    Attributes:
        reels: of clips.
        moving: reels made of photographs in motion; where there are some they are used instead of ``stills``.
    """

    reels: tuple[Reel, ...] = ()
    stills: tuple[Still, ...] = ()
    moving: tuple[Reel, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.reels or self.stills or self.moving)


@dataclass(frozen=True)
class Material:
    """Material to train on and material held out for validation: whole clips and whole photographs."""

    train: Split
    held_out: Split


def held_out_names(names: Iterable[str], share: float) -> set[str]:
    """Names to keep apart: ``share`` of them, rounded, evenly spread over all in alphabetical order.

    Names of one source often begin alike, so this takes from many sources; it depends on nothing but the names.
    """
    ranked = sorted(set(names))
    count = round(share * len(ranked))
    return {ranked[int((k + 0.5) * len(ranked) / count)] for k in range(count)}


def find_material(folder: Path) -> tuple[list[FrameSequence], list[Path]]:
    """Videos and folders of frames below ``folder``, and its photographs.

    A folder's pictures are frames when they are numbered without gaps and equally large, otherwise photographs.
    """
    if not folder.is_dir():
        raise SafaError(f"There is no folder {folder} with training data.")
    # Hidden files, such as the "._clip.mp4" of macOS, are not footage.
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    sequences: list[FrameSequence] = [Video(path.relative_to(folder).as_posix(), path) for path in videos]
    stills: list[Path] = []
    for parent in sorted({path.parent for path in files if path.suffix.lower() in PICTURE_SUFFIXES}):
        pictures = find_pictures(parent)
        if _are_frames(pictures):
            sequences.append(Pictures(parent.relative_to(folder).as_posix(), pictures))
        else:
            stills += pictures
    return sequences, sorted(stills)


def load_folder(folder: Path, held_out: float) -> Material:
    """Hold a folder's clips and photographs in memory. Raises SafaError when there are none."""
    sequences, stills = find_material(folder)
    if not sequences and not stills:
        raise SafaError(f"The folder {folder} holds neither video clips nor photographs.")
    kept = held_out_names((s.name for s in sequences), held_out), held_out_names((p.name for p in stills), held_out)
    parts: dict[bool, tuple[list[Reel], list[Still]]] = {False: ([], []), True: ([], [])}
    for sequence in sequences:
        parts[sequence.name in kept[0]][0].append(load_clip(sequence))
    for path in stills:
        parts[path.name in kept[1]][1].append(load_still(path))
    return Material(*(Split(tuple(parts[part][0]), tuple(parts[part][1])) for part in (False, True)))


def _are_frames(paths: tuple[Path, ...]) -> bool:
    names = [re.fullmatch(r"(.*?)(\d+)", path.stem) for path in paths]
    if len(paths) < 3 or not all(names) or len({name[1] for name in names if name}) > 1:
        return False
    numbers = [int(name[2]) for name in names if name]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return False
    return len({_seen_size(path) for path in paths}) == 1


def _seen_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, from the head of its file. Raises SafaError for a damaged one."""
    try:
        with PillowImage.open(path) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= TURNED
            return picture.size[::-1] if turned else picture.size
    except (OSError, ValueError, PillowImage.DecompressionBombError) as error:
        raise SafaError(f"The picture {path} cannot be decoded; remove it from the training data.") from error
