"""The training pack: one file with everything a training needs, opened at once and read by many processes.

It is a ZIP archive without compression, so any tool can look inside: ``index.json``, windows of a few consecutive
frames as H.264 at full colour resolution (``windows/*.h264``), and photographs as WebP (``stills/*.webp``). Windows
are decoded when they are drawn; photographs are held in memory.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import cv2
import numpy as np

from safa.data.clips import Reel
from safa.data.codec import decode_stream, encode_packets
from safa.data.material import Material, Split, held_out_names
from safa.data.scene import Image
from safa.data.stills import Still
from safa.errors import SafaError
from safa.video.files import publish

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
    """Of its first byte in the file."""
    size: int
    """Bytes."""
    taught: tuple[int, int] | None = None
    """Where the teacher's pictures begin in the file, and their bytes."""

    def pick(self, indices: Sequence[int]) -> list[Image]:
        """The frames with these numbers; those after the last of them are not decoded."""
        return self._decode(self.offset, self.size, indices)

    def pick_taught(self, indices: Sequence[int]) -> list[Image] | None:
        """The teacher's pictures of these frames; None where there are none."""
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

    def split(self, held_out: float) -> tuple[int, int, int, int]:
        """Keep a part of the clips and of the photographs for validation.

        Returns:
            Windows to train on and held out, photographs to train on and held out.
        """
        counts = []
        for entries in ([entry for entry in self._windows if not entry.get("moving")], self._stills):
            kept = held_out_names((entry["name"] for entry in entries), held_out)
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
