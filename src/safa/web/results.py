"""Results of jobs: an enlarged video, pictures between two, or a second with every network; and what the page shows of
them, stills of before and after, a loop of pictures and a thumbnail.
"""

from __future__ import annotations

import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from safa.engine.images import to_8_bits
from safa.errors import JournalMismatch, SafaError
from safa.files import atomic_write
from safa.jobs.pipeline import Progress
from safa.jobs.preview import PreviewedNetwork, PreviewOptions, preview
from safa.jobs.report import is_finished
from safa.jobs.upscale import upscale
from safa.jobs.weights_selection import compared_weights
from safa.options import AUTO
from safa.upscaler.upscaler import Upscaler, engine_of
from safa.video.file_source import VideoReader
from safa.video.folder_source import open_reader
from safa.video.journal import kept_segments
from safa.video.pictures import bicubic, load_picture, save_picture, two_moments
from safa.web.jobs import WebJob
from safa.web.options import FORMATS

# Widest still and loop that the page shows, and largest thumbnail of a sheet, in pixels.
STILL_WIDTH, LOOP_WIDTH, THUMBNAIL_HEIGHT = 1600, 960, 320
# How long the loop takes one way, and the shortest time of one picture, in milliseconds.
ONE_WAY = 1200
SHORTEST = 40
# The trial's picture of all networks.
SHEET = "result.png"

OnProgress = Callable[[Progress], None]


def video_result(job: WebJob, folder: Path) -> Path:
    """Return where the result of a job with a clip is written."""
    return folder / f"result{FORMATS[job.options.format].suffix}"


def kept_parts(job: WebJob, folder: Path) -> int:
    """Count what a job that is started again would find of its result: segments of a video, or pictures."""
    if job.is_trial:
        return 0
    if job.kind == "video":
        return kept_segments(video_result(job, folder))
    return sum(1 for _ in (folder / "pictures").glob("*.png"))


def make_video(job: WebJob, folder: Path, upscaler: Upscaler, on_progress: OnProgress) -> dict[str, Any]:
    """Write the result beside the input, or read its properties where it was finished before the server ended.

    Returns:
        The job's ``result``, with the number of frames that were kept from an earlier run as ``resumed``.
    """
    source, output = folder / "input", video_result(job, folder)
    settings = job.options.upscale_settings()
    if is_finished(output):
        resumed = 1
    else:
        warnings: list[str] = []
        options: dict[str, Any] = {"settings": settings, "upscaler": upscaler, "overwrite": True}
        options |= {"on_progress": on_progress, "on_warning": warnings.append}
        try:
            report = upscale(source, output, **options)
        except JournalMismatch:  # the weights or the program have changed since; frames of both must not be mixed
            warnings.clear()
            report = upscale(source, output, restart=True, **options)
        if not report.verification.ok:
            raise SafaError(f"The result failed its check: {'; '.join(report.verification.failures())}")
        job.warnings = [without_paths(text, job, folder) for text in (*warnings, *report.problems)]
        resumed = report.resumed_frames
    with VideoReader(output) as reader:
        info = reader.info
    save_stills(source, output, settings.slow, folder)
    width, height = info.displayed_size
    return {
        "file": output.name,
        "width": width,
        "height": height,
        "frames": info.frames or job.plan.frames,
        "rate": f"{float(job.plan.rate):.4g}",
        "bytes": output.stat().st_size,
        "resumed": resumed,
    }


def without_paths(text: str, job: WebJob, folder: Path) -> str:
    """Return a sentence with the uploaded file's name in place of paths on this server."""
    name = job.names[0] if job.names else "the upload"
    text = text.replace(str(folder / "input"), name).replace(str(folder), "this job")
    return text[:1].upper() + text[1:]


def make_trial(
    job: WebJob, folder: Path, weights: Mapping[str, str], computing: Mapping[str, str], on_progress: OnProgress
) -> dict[str, Any]:
    """Write a second with every network side by side, as a clip and a sheet beside the input.

    Args:
        computing: device, engine and precision.
        on_progress: called after every network; may raise to stop.
    """
    # With "auto", all weights that could be chosen.
    names = {name: name for name in compared_weights()} if AUTO in weights.values() else weights
    done = 0

    def count(_: PreviewedNetwork) -> None:
        nonlocal done
        done += 1
        on_progress(Progress(done, len(names), 0.0, None))

    on_progress(Progress(0, len(names), 0.0, None))
    made = preview(
        folder / "input",
        folder / SHEET,
        job.options.upscale_settings().changed(**computing),
        PreviewOptions(weights=list(names.values()), suffix=FORMATS[job.options.format].suffix, overwrite=True),
        count,
    )
    _save_thumbnail(made.sheet, folder / "after.webp")
    with VideoReader(made.clip) as reader:
        info = reader.info
    return {
        "file": made.clip.name,
        "width": info.width,
        "height": info.height,
        "frames": info.frames or 0,
        "bytes": made.clip.stat().st_size,
        "note": made.note,
        "networks": [[name, tried.summary()] for name, tried in zip(names, made.tried, strict=True)],
    }


def save_stills(source: Path, output: Path, slow: Fraction, folder: Path) -> None:
    """Save ``before.webp`` and ``after.webp`` of a video's middle, rotated as players show the source; none where the
    two cannot be compared.
    """
    try:
        both = two_moments(source, output, slow=slow)
        with open_reader(source) as reader:  # not the result's: some containers cannot hold a rotation
            rotation = reader.info.rotation
    except SafaError:
        return
    for name, picture in zip(("before", "after"), both, strict=True):
        _save_webp(np.rot90(picture, rotation // 90), folder / f"{name}.webp")


def make_between(
    folder: Path, pictures: int, count: int, upscaler: Upscaler, on_progress: OnProgress
) -> dict[str, Any]:
    """Make ``count`` pictures from the first input to the last of one or two, enlarged; keep those that the same
    network has made already.

    Writes ``pictures/NN.png``, and of more than one ``result.zip`` and ``loop.webp``, there and back.
    """
    first = load_picture(folder / "input")
    second = load_picture(folder / "input2") if pictures == 2 else first
    if first.shape != second.shape or first.dtype != second.dtype:
        first, second = to_8_bits(first), to_8_bits(second)  # one with transparency or more bits, one without
    output = folder / "pictures"
    maker = f"{upscaler.checkpoint.sha256} {engine_of(upscaler)}\n"
    _keep_only(output, maker)
    files = [output / f"{number:02d}.png" for number in range(count)]
    missing = [number for number, file in enumerate(files) if not file.exists()]
    pair = upscaler.pair(upscaler.encode(first), upscaler.encode(second)) if missing else None
    began = time.monotonic()
    for done, number in enumerate(missing, 1):
        assert pair is not None
        save_picture(upscaler.at(pair, number / (count - 1) if count > 1 else 0.0), files[number])
        speed = done / max(1e-9, time.monotonic() - began)
        on_progress(Progress(count - len(missing) + done, count, speed, (len(missing) - done) / speed))
    after = to_8_bits(load_picture(files[0]))
    height, width = after.shape[:2]
    _save_webp(bicubic(to_8_bits(first), (height, width)), folder / "before.webp")
    _save_webp(after, folder / "after.webp")
    result = files[0]
    if count > 1:
        result = folder / "result.zip"
        with atomic_write(result) as temporary:
            _zip(files, temporary)
        with atomic_write(folder / "loop.webp") as temporary:
            _loop(files, temporary)
    return {
        "file": str(result.relative_to(folder)),
        "width": width,
        "height": height,
        "frames": count,
        "bytes": result.stat().st_size,
        "resumed": count - len(missing),
    }


def _keep_only(folder: Path, maker: str) -> None:
    """Make the folder, or empty it where its pictures are of other weights or another engine."""
    note = folder / "made-with.txt"
    if folder.exists() and not (note.is_file() and note.read_text() == maker):
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    with atomic_write(note) as temporary:
        temporary.write_text(maker)


def _loop(files: list[Path], path: Path) -> None:
    """Save the pictures forwards and backwards as an endless loop."""
    there_and_back = [*files, *files[-2:0:-1]]

    def frames() -> Iterator[Image.Image]:
        for file in there_and_back:
            yield Image.fromarray(_fit(to_8_bits(load_picture(file)), LOOP_WIDTH))

    pictures = frames()
    duration = max(SHORTEST, ONE_WAY // max(1, len(files) - 1))
    first = next(pictures)
    first.save(path, "WEBP", save_all=True, append_images=pictures, duration=duration, loop=0, quality=85, method=2)


def _zip(files: list[Path], path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # stored: PNG does not get smaller
        for file in files:
            archive.write(file, file.name)


def _save_webp(picture: NDArray[np.uint8], path: Path) -> None:
    shown = Image.fromarray(_fit(picture, STILL_WIDTH))
    with atomic_write(path) as temporary:
        shown.save(temporary, "WEBP", quality=90, method=2)


def _fit(picture: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Reduce a picture to at most ``most`` pixels in width."""
    height, width = picture.shape[:2]
    if width <= most:
        return np.ascontiguousarray(picture)
    size = (most, max(1, round(height * most / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _save_thumbnail(sheet: Path, path: Path) -> None:
    small = Image.fromarray(load_picture(sheet))
    small.thumbnail((2 * THUMBNAIL_HEIGHT, THUMBNAIL_HEIGHT))
    small.save(path, "WEBP", quality=85)
