"""The training pack: one file with everything a training needs, opened at once and read by many processes.

It is a ZIP archive without compression, so any tool can look inside: ``index.json``, windows of a few consecutive
frames as H.264 at full colour resolution (``windows/*.h264``), and photographs as WebP (``stills/*.webp``). Windows
are decoded when they are drawn; photographs are held in memory.
"""

from __future__ import annotations

import heapq
import json
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np

from safa.data.clips import LEAST_FRAMES, Candidate, Reel, find_candidates
from safa.data.codec import decode_stream, encode_packets
from safa.data.graphics import draw_graphics
from safa.data.material import Material, Split, find_material, held_out_names
from safa.data.scene import Image, Scene
from safa.data.sequences import FrameSequence, folders, read_names, reds, video_inr, vimeo90k
from safa.data.synthetic import Film, Still, load_still
from safa.engine.images import to_8_bits
from safa.errors import SafaError
from safa.files import publish
from safa.video.pictures import load_picture

FORMAT = "safa-pack/1"
INDEX = "index.json"
MOVING = "photographs in motion"
# Pixels along a side of a WebP picture, at most.
WEBP_SIDE = 16383
# ZIP's local file header: fixed part, then name and extra field, whose lengths stand at its end.
_LOCAL_HEADER = struct.Struct("<26xHH")


@dataclass(frozen=True)
class PackedWindow:
    """A reel inside a pack."""

    path: Path
    name: str
    count: int
    offset: int
    """Position of its first byte in the file."""
    size: int
    """Bytes."""
    taught: tuple[int, int] | None = None
    """Position of the teacher's pictures in the file, and their bytes."""

    def pick(self, indices: Sequence[int]) -> list[Image]:
        """Return the frames with these numbers; frames after the last of them are not decoded."""
        return self._decode(self.offset, self.size, indices)

    def pick_taught(self, indices: Sequence[int]) -> list[Image] | None:
        """Return the teacher's pictures of these frames; None if there are none."""
        return None if self.taught is None else self._decode(*self.taught, indices)

    def _decode(self, offset: int, size: int, indices: Sequence[int]) -> list[Image]:
        with self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        try:
            frames = decode_stream(data, "h264", indices[-1] + 1)
        except av.FFmpegError:
            frames = []
        if len(frames) <= indices[-1]:
            raise SafaError(f"The pack {self.path} is damaged: {self.name} lacks frames; pack the data again.")
        return [frames[index] for index in indices]


def open_pack(path: Path) -> Material:
    """Open a pack. Raises SafaError when it is none, or damaged."""
    held: dict[str, tuple[list[Reel], list[Still], list[Reel]]] = {"train": ([], [], []), "held out": ([], [], [])}
    try:
        with zipfile.ZipFile(path) as archive:
            index = json.loads(archive.read(INDEX))
            if index.get("format") != FORMAT:
                raise SafaError(f"{path} is a pack of another version; pack the data again.")
            for entry in index["windows"]:
                place = _place(path, archive.getinfo(entry["file"]))
                taught = _place(path, archive.getinfo(entry["taught"])) if "taught" in entry else None
                window = PackedWindow(path, entry["name"], entry["frames"], *place, taught)
                reels, _, moving = held[entry["split"]]
                (moving if entry.get("moving") else reels).append(window)
            for entry in index["stills"]:
                image = cv2.imdecode(np.frombuffer(archive.read(entry["file"]), np.uint8), cv2.IMREAD_COLOR_RGB)
                held[entry["split"]][1].append(Still.from_image(entry["name"], np.asarray(image, np.uint8)))
    except OSError as error:
        raise SafaError(f"The pack {path} cannot be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, cv2.error) as error:
        raise SafaError(f"{path} is no training pack, or a damaged one; make one with 'safa pack'.") from error
    parts = (held[part] for part in ("train", "held out"))
    return Material(*(Split(tuple(reels), tuple(stills), tuple(moving)) for reels, stills, moving in parts))


class PackWriter:
    """Writes a pack; use as a context manager. The file appears, complete, when the block ends without an error.

    The same content gives the same bytes on every machine with the same encoder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        """Bytes of content so far."""
        self._temporary = path.with_name(f".{path.name}.part")
        self._windows: list[dict[str, Any]] = []
        self._stills: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        try:
            self._archive = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_STORED)
        except OSError as error:
            raise SafaError(f"The pack {self.path} cannot be written: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                index = {"format": FORMAT, "windows": self._windows, "stills": self._stills}
                self._write(INDEX, json.dumps(index, indent=1).encode())
            self._archive.close()
            if kind is None:
                publish(self._temporary, self.path)
        except OSError as problem:
            if kind is None:
                raise SafaError(f"The pack {self.path} cannot be written: {problem.strerror}.") from problem
        finally:
            self._temporary.unlink(missing_ok=True)

    def add_window(self, data: bytes, name: str, frames: int, taught: bytes | None = None, **facts: Any) -> None:
        """Add an encoded window of the clip ``name``, and the teacher's pictures of it; ``facts`` go into the index."""
        file = f"windows/{len(self._windows):05}.h264"
        entry = {"file": file, "name": name, "frames": frames, **facts}
        self._windows.append(entry)
        self._write(file, data)
        if taught is not None:
            entry["taught"] = f"taught/{len(self._windows) - 1:05}.h264"
            self._write(entry["taught"], taught)

    def add_still(self, data: bytes, name: str) -> None:
        """Add an encoded photograph."""
        file = f"stills/{len(self._stills):05}.webp"
        self._stills.append({"file": file, "name": name})
        self._write(file, data)

    def add_moving(self, data: bytes, taught: bytes | None, frames: int) -> None:
        """Add an encoded window of photographs in motion to those to train on."""
        self.add_window(data, MOVING, frames, taught, moving=True, split="train")

    def split(self, held_out: float, hold_out: Sequence[str] = ()) -> tuple[int, int, int, int]:
        """Keep a part of the clips and of the photographs for validation.

        Args:
            held_out, hold_out: as in ``PackSettings``.

        Returns:
            Windows to train on and held out, photographs to train on and held out.
        """
        counts = []
        for entries in ([entry for entry in self._windows if not entry.get("moving")], self._stills):
            names = {entry["name"] for entry in entries}
            if hold_out and entries is not self._stills:
                kept = {name for name in names if any(part in name for part in hold_out)}
            else:
                kept = held_out_names(names, held_out)
            for entry in entries:
                entry["split"] = "held out" if entry["name"] in kept else "train"
            apart = sum(entry["name"] in kept for entry in entries)
            counts += [len(entries) - apart, apart]
        return counts[0], counts[1], counts[2], counts[3]

    def _write(self, name: str, data: bytes) -> None:
        # The default date of ZipInfo is fixed, unlike the one that writing a file would take.
        self._archive.writestr(zipfile.ZipInfo(name), data)
        self.size += len(data)


def encode_window(frames: Sequence[Image], quality: int) -> bytes:
    """H.264 with full colour resolution; ``quality`` is x264's constant rate factor, lower is better."""
    return b"".join(encode_packets(frames, "h264", {"crf": str(quality), "preset": "medium"}, "444"))


def encode_still(image: Image, quality: int) -> bytes:
    """WebP of ``quality`` 1 to 100, higher is better; pictures larger than WebP can hold are reduced."""
    factor = min(1.0, WEBP_SIDE / max(image.shape[:2]))
    if factor < 1:
        image = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded, data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not encoded:
        raise SafaError(f"A picture of {image.shape[1]}x{image.shape[0]} cannot be written as WebP.")
    return bytes(data)


def _place(path: Path, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the offset and the size in bytes of an archive's stored member."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    return info.header_offset + _LOCAL_HEADER.size + name + extra, info.file_size


# Making a training pack from a folder with clips and photographs, or from a published data set.

LAYOUTS: dict[str, Callable[[Path, list[str] | None], list[FrameSequence]]] = {
    "adobe240": partial(video_inr, part="train"),
    "gopro": partial(video_inr, part="train"),
    "vimeo90k": partial(vimeo90k, part="train"),
    "reds": partial(reds, part="train"),
    "frames": folders,
}
"""Published data sets by name; "frames" is any folder of folders of frames."""

MEBIBYTE = 2**20
STILL_QUALITY = 90
# What a clip's best windows may take of the memory, in bytes, while they wait to be encoded.
MOST_WAITING = 2**29
# x264's rate factor of the teacher's pictures, since a student learns from differences of a few grey levels, and of
# windows made of photographs, which no codec has touched before.
FINE_QUALITY = 8
# Of the windows made of photographs.
MOVING_SEED = 1
# Bytes a pixel of a window takes, roughly, at the default quality.
TYPICAL_BYTES = 0.05


@dataclass(frozen=True)
class PackSettings:
    """Settings of a pack.

    Attributes:
        size: of the file in MiB, at most.
        side: of a window in pixels, a multiple of 8; patches of training are cut from windows, so it must hold the
            patch and a margin of 64 pixels on each side for networks that start from a classical flow.
        frames: consecutive frames of a window; 9 is what the paper trains on. Windows of N frames in training need
            2 N - 1, for the times between.
        quality: x264's constant rate factor of the windows, lower is better.
        stills: the part of the size that photographs may take, 0..1.
        held_out: the part of the clips and of the photographs that is kept for validation, 0..1.
        hold_out: the clips whose names contain one of these are kept for validation instead of a part drawn
            by name, so that they stay the same from one pack to the next.
        moving: number of windows made of photographs to train on, set in motion; they do not count for ``size``.
        graphics: probability of subtitles, titles and logos before such a window.
        motion_blur: probability of motion blur in such a window.
    """

    size: float = 56.0
    side: int = 384
    frames: int = 9
    quality: int = 17
    stills: float = 0.35
    held_out: float = 0.1
    hold_out: tuple[str, ...] = ()
    moving: int = 0
    graphics: float = 0.0
    motion_blur: float = 0.0

    def __post_init__(self) -> None:
        if not all(self.hold_out):
            raise SafaError("A name to hold out is empty, which every clip contains; give a part of a clip's name.")
        if self.moving < 0 or not (0 <= self.graphics <= 1 and 0 <= self.motion_blur <= 1):
            raise SafaError("The windows of photographs in motion are 0 or more, and what they show a share up to 1.")
        if self.side < 32 or self.side % 8:
            raise SafaError(f"The side of a window is {self.side}; it must be a multiple of 8 and at least 32.")
        if self.frames < LEAST_FRAMES:
            raise SafaError(f"A window has {self.frames} frames; it must have at least {LEAST_FRAMES}.")
        if not (0 <= self.held_out < 1 and 0 <= self.stills <= 1 and self.size > 0 and 0 <= self.quality <= 51):
            raise SafaError("The size, quality or shares of the pack are out of range; see 'safa pack --help'.")


@dataclass(frozen=True)
class PackProgress:
    """Reported after every clip and photograph."""

    done: int
    total: int
    name: str
    mebibytes: float


@dataclass(frozen=True)
class PackSummary:
    """Contents of a finished pack."""

    windows: int
    held_out_windows: int
    stills: int
    held_out_stills: int
    mebibytes: float
    moving: int = 0


Teacher = Callable[[Sequence[Image]], list[Image]]
"""Consecutive frames ``H,W,3`` in, its own pictures of them out, made of what a network would be shown of them."""


def pack(
    source: Path,
    output: Path,
    settings: PackSettings = PackSettings(),
    layout: str | None = None,
    names: Path | None = None,
    teacher: Teacher | None = None,
    on_progress: Callable[[PackProgress], None] | None = None,
) -> PackSummary:
    """Pack a folder.

    Args:
        source: folder with videos, folders of frames and photographs in any order; or a data set's root.
        output: file to write.
        layout: a name in ``LAYOUTS`` when ``source`` is a published data set.
        names: list of the sequences to take, one a line, for a ``layout``.
        teacher: its pictures of all windows are packed too; see ``distillation_loss`` of ``TrainConfig``.

    Raises:
        SafaError: no such layout or folder, nothing to pack, or a file that cannot be read or written.
    """
    sequences, stills = _find(source, layout, names)
    if not sequences and not stills:
        raise SafaError(f"The folder {source} holds neither video clips, folders of frames nor photographs.")
    for part in settings.hold_out:
        if not any(part in sequence.name for sequence in sequences):
            raise SafaError(f"No clip of {source} has '{part}' in its name, so it cannot be held out.")
    budget = settings.size * MEBIBYTE
    # Of more clips than windows fit, an even selection: an equal share for each would be too small for any window.
    affordable = max(1, int(budget / (TYPICAL_BYTES * settings.frames * settings.side**2)))
    if len(sequences) > affordable:
        chosen = {int((k + 0.5) * len(sequences) / affordable) for k in range(affordable)}
        sequences = [
            sequence
            for index, sequence in enumerate(sequences)
            if index in chosen or any(part in sequence.name for part in settings.hold_out)
        ]
    total = len(sequences) + len(stills) + settings.moving
    with PackWriter(output) as writer:

        def report(done: int, name: str) -> None:
            if on_progress is not None:
                on_progress(PackProgress(done, total, name, writer.size / MEBIBYTE))

        spent = 0
        still_budget = budget * (settings.stills if sequences else 1)
        kept_stills: dict[str, Path] = {}
        for index, path in enumerate(stills):
            data = encode_still(to_8_bits(load_picture(path)), STILL_QUALITY)
            if writer.size + len(data) <= still_budget * (index + 1) / len(stills):
                writer.add_still(data, path.name)
                kept_stills[path.name] = path
            report(index + 1, path.name)
        spent = writer.size
        for index, sequence in enumerate(sequences):
            # The index and the archive's directory take about 500 bytes a window, which 1 % leaves room for.
            allowance = (0.99 * budget - spent) / (len(sequences) - index)
            for candidate, data in _encoded(sequence, settings, allowance):
                spent += len(data)
                taught = None if teacher is None else encode_window(teacher(candidate.frames), FINE_QUALITY)
                facts = {
                    "start": candidate.start,
                    "place": [candidate.left, candidate.top],
                    "sharpness": round(candidate.sharpness, 2),
                    "change": round(candidate.change, 2),
                }
                writer.add_window(data, sequence.name, len(candidate.frames), taught, **facts)
            report(len(stills) + index + 1, sequence.name)
        moving = 0
        if settings.moving:
            apart = held_out_names(kept_stills, settings.held_out)
            material = tuple(load_still(path) for name, path in kept_stills.items() if name not in apart)
            if not material:
                raise SafaError(f"There are no photographs in {source} to set in motion.")
            for moving, frames in enumerate(_moving(material, settings), 1):
                taught = None if teacher is None else encode_window(teacher(frames), FINE_QUALITY)
                writer.add_moving(encode_window(frames, min(settings.quality, FINE_QUALITY)), taught, len(frames))
                report(len(stills) + len(sequences) + moving, MOVING)
        counts = writer.split(settings.held_out, settings.hold_out)
        if not counts[0] and not counts[2]:
            raise SafaError(f"Nothing in {source} is sharp and moves, or fits into {settings.size:g} MiB.")
    return PackSummary(*counts, mebibytes=output.stat().st_size / MEBIBYTE, moving=moving)


def _moving(stills: tuple[Still, ...], settings: PackSettings) -> Iterator[list[Image]]:
    """Windows of ``settings.frames`` frames, half as far apart in time as the input frames of a film."""
    for number in range(settings.moving):
        rng = np.random.Generator(np.random.Philox(key=(MOVING_SEED, number)))
        film = Film(stills, settings.side, (settings.frames + 1) // 2, rng, settings.motion_blur)
        frames = [film.frame(k / 2) for k in range(settings.frames)]
        if rng.random() < settings.graphics:
            frames = draw_graphics(Scene(frames, frames[0], 0.5), rng).frames
        yield frames


def _find(source: Path, layout: str | None, names: Path | None) -> tuple[list[FrameSequence], list[Path]]:
    if layout is None:
        if names is not None:
            raise SafaError("A list of names needs the layout of the data set, such as --layout adobe240.")
        return find_material(source)
    if layout not in LAYOUTS:
        raise SafaError(f"There is no layout '{layout}'; it must be one of {', '.join(LAYOUTS)}.")
    if not source.is_dir():
        raise SafaError(f"There is no folder {source} with training data.")
    return LAYOUTS[layout](source, read_names(names) if names is not None else None), []


def _encoded(sequence: FrameSequence, settings: PackSettings, allowance: float) -> Iterator[tuple[Candidate, bytes]]:
    """Yield a clip's windows, the best first, until ``allowance`` bytes are used."""
    best: list[tuple[float, int, Candidate]] = []
    most = max(1, MOST_WAITING // (settings.frames * settings.side**2 * 3))
    for number, candidate in enumerate(find_candidates(sequence, settings.frames, settings.side)):
        heapq.heappush(best, (candidate.score, -number, candidate))
        if len(best) > most:
            heapq.heappop(best)
    for _, _, candidate in sorted(best, reverse=True):
        data = encode_window(candidate.frames, settings.quality)
        if len(data) > allowance:
            return
        allowance -= len(data)
        yield candidate, data
