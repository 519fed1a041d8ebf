"""Pictures of a job's result: before and after, the pictures between two, and a looping animation of them."""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safa.engine.images import to_8_bits
from safa.errors import SafaError
from safa.jobs.job import engine_of
from safa.jobs.pipeline import Progress
from safa.upscaler.upscaler import Upscaler
from safa.video.files import atomic_write
from safa.video.read.folder import open_reader
from safa.video.read.pictures import bicubic, load_picture, save_picture, two_moments

# Widest picture that the page shows, in pixels.
SHOWN = 1600
LOOP_SHOWN = 960
# How long the looping picture takes one way, and the shortest time of one frame, in milliseconds.
ONE_WAY = 1200
SHORTEST = 40


def save_stills(source: Path, output: Path, slow: Fraction, place: Path) -> None:
    """``before.webp`` and ``after.webp`` of a video's middle, turned as players show the source; none where the two
    cannot be compared.
    """
    try:
        both = two_moments(source, output, slow=slow)
        with open_reader(source) as reader:  # not the result's: some containers cannot hold a rotation
            rotation = reader.info.rotation
    except SafaError:
        return
    for name, picture in zip(("before", "after"), both, strict=True):
        _save_webp(np.rot90(picture, rotation // 90), place / f"{name}.webp")


def make_between(
    place: Path, pictures: int, count: int, upscaler: Upscaler, tell: Callable[[Progress], None]
) -> dict[str, Any]:
    """``count`` pictures from the first input to the last of one or two, enlarged; what the same network made is kept.

    Writes ``pictures/NN.png``, and of more than one ``result.zip`` and ``loop.webp``, there and back.
    """
    first = load_picture(place / "input")
    second = load_picture(place / "input2") if pictures == 2 else first
    if first.shape != second.shape or first.dtype != second.dtype:
        first, second = to_8_bits(first), to_8_bits(second)  # one with transparency or more bits, one without
    folder = place / "pictures"
    maker = f"{upscaler.checkpoint.sha256} {engine_of(upscaler)}\n"
    _keep_only(folder, maker)
    files = [folder / f"{number:02d}.png" for number in range(count)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    pair = upscaler.pair(upscaler.encode(first), upscaler.encode(second)) if missing else None
    began = time.monotonic()
    for done, number in enumerate(missing, 1):
        assert pair is not None
        save_picture(upscaler.at(pair, number / (count - 1) if count > 1 else 0.0), files[number])
        speed = done / max(1e-9, time.monotonic() - began)
        tell(Progress(count - len(missing) + done, count, speed, (len(missing) - done) / speed))
    after = to_8_bits(load_picture(files[0]))
    height, width = after.shape[:2]
    _save_webp(bicubic(to_8_bits(first), (height, width)), place / "before.webp")
    _save_webp(after, place / "after.webp")
    result = files[0]
    if count > 1:
        result = place / "result.zip"
        with atomic_write(result) as temporary:
            _zip(files, temporary)
        with atomic_write(place / "loop.webp") as temporary:
            _loop(files, temporary)
    return {
        "file": str(result.relative_to(place)),
        "width": width,
        "height": height,
        "frames": count,
        "bytes": result.stat().st_size,
        "resumed": count - len(missing),
    }


def _keep_only(folder: Path, maker: str) -> None:
    """Make the folder, or delete its content where other weights or another engine made it."""
    note = folder / "made-with.txt"
    if folder.exists() and not (note.is_file() and note.read_text() == maker):
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    with atomic_write(note) as temporary:
        temporary.write_text(maker)


def _loop(files: list[Path], path: Path) -> None:
    """The pictures forwards and backwards, as an endless loop."""
    there_and_back = [*files, *files[-2:0:-1]]

    def frames() -> Iterator[Image.Image]:
        for file in there_and_back:
            yield Image.fromarray(_fit(to_8_bits(load_picture(file)), LOOP_SHOWN))

    pictures = frames()
    duration = max(SHORTEST, ONE_WAY // max(1, len(files) - 1))
    first = next(pictures)
    first.save(path, "WEBP", save_all=True, append_images=pictures, duration=duration, loop=0, quality=85, method=2)


def _zip(files: list[Path], path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # stored: PNG does not get smaller
        for file in files:
            archive.write(file, file.name)


def _save_webp(picture: NDArray[np.uint8], path: Path) -> None:
    shown = Image.fromarray(_fit(picture, SHOWN))
    with atomic_write(path) as temporary:
        shown.save(temporary, "WEBP", quality=90, method=2)


def _fit(picture: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """At most that many pixels wide."""
    height, width = picture.shape[:2]
    if width <= most:
        return np.ascontiguousarray(picture)
    size = (most, max(1, round(height * most / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
