"""An excerpt of a video made with several networks, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from safa.engine.images import Array, to_8_bits
from safa.errors import OutputError, SafaError
from safa.formatting import format_bytes, format_duration
from safa.jobs.batch import kept_suffix
from safa.jobs.comparison import Panels, write_clip, write_sheet
from safa.jobs.estimate import (
    Estimate,
    RenderedExcerpt,
    WholeFile,
    byte_ratio_in_frame,
    byte_ratio_in_time,
    estimate_from_excerpt,
    reading_seconds,
    warm_up,
)
from safa.jobs.plan import PIPE, Job, prepare_job
from safa.jobs.weights_selection import compared_weights, load_upscaler
from safa.options import UpscaleSettings
from safa.upscaler.upscaler import Upscaler
from safa.video.excerpt import liveliest_part, part_at
from safa.video.files import check_target
from safa.video.folder_source import open_reader
from safa.video.info import Frame, VideoInfo
from safa.video.pictures import bicubic
from safa.video.schedule import OutputTime, plan_windows

SECONDS = Fraction(5, 2)
"""Most seconds of the source that are shown."""

MOST_PIXELS = 24_000
"""Most pixels of a source frame that are shown: the middle of larger frames."""

MOST_FRAMES = 100
"""Most output frames that are made with each network."""

ENCODED_FRAMES = 48
"""Most output frames that are encoded to estimate the size of the file."""


@dataclass(frozen=True)
class PreviewedNetwork:
    """One network of a preview.

    Attributes:
        weights: their name.
        seconds: for making the excerpt.
        estimate: for the whole file; None if it cannot be estimated.
    """

    weights: str
    seconds: float
    estimate: Estimate | None

    def summary(self) -> str:
        """Return the estimate as text."""
        if self.estimate is None:
            return "the time for the whole file cannot be estimated"
        size = f" and {format_bytes(self.estimate.bytes)}" if self.estimate.bytes else ""
        return f"whole file: about {format_duration(self.estimate.seconds)}{size}"


@dataclass(frozen=True)
class Preview:
    """The files of a preview.

    Attributes:
        sheet: PNG with the results side by side.
        clip: MP4 of the same.
        start, seconds: which part of the source is shown.
        note: which part of its frames is shown, as text.
        tried: the networks, in the order of their columns.
    """

    sheet: Path
    clip: Path
    start: Fraction
    seconds: Fraction
    note: str
    tried: tuple[PreviewedNetwork, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the preview as JSON-ready values."""
        tried = [
            {
                "weights": one.weights,
                "seconds": one.seconds,
                "whole_seconds": one.estimate.seconds if one.estimate else None,
                "whole_bytes": one.estimate.bytes if one.estimate else None,
            }
            for one in self.tried
        ]
        shown = {"start": float(self.start), "seconds": float(self.seconds), "note": self.note}
        return {"sheet": str(self.sheet), "clip": str(self.clip), **shown, "tried": tried}


@dataclass(frozen=True)
class PreviewOptions:
    """Options of a preview.

    Attributes:
        at: where the excerpt begins, in seconds as players show them; None for the liveliest part without a cut.
        weights: names or files; None for all shipped weights.
        suffix: of the whole result, such as ".mp4"; None for the source's, or another that can hold the codec.
        overwrite: replace files that have the preview's names; the source is never replaced.
    """

    at: Fraction | None = None
    weights: Sequence[str | Path] | None = None
    suffix: str | None = None
    overwrite: bool = False


def preview(
    source: str | Path,
    sheet: str | Path,
    settings: UpscaleSettings | None = None,
    options: PreviewOptions | None = None,
    on_tried: Callable[[PreviewedNetwork], None] | None = None,
) -> Preview:
    """Make an excerpt of a video with several networks, beside bicubic enlargement.

    Args:
        source: a video, or a folder of pictures.
        sheet: the PNG to write; the clip gets its name with ``.mp4``.
        settings: of the whole result, for which the estimates are; their ``weights`` are not used.
        options: which excerpt, and with which weights.
        on_tried: called after each network.

    Raises:
        SafaError: unusable input, output or settings.
    """
    source, sheet = Path(source), Path(sheet)
    settings, options = settings or UpscaleSettings(), options or PreviewOptions()
    if source == PIPE:
        raise SafaError("a pipe can be read only once; give a file to preview.")
    if sheet.suffix.lower() != ".png":
        raise OutputError(f"{sheet}: the sheet is a picture; give it a name that ends in .png.")
    clip = sheet.with_suffix(".mp4")
    for target in (sheet, clip):
        check_target(target, options.overwrite, [source])
    with open_reader(source, settings.reading) as reader:
        result = Path(f"preview{options.suffix or kept_suffix(source, settings.codec)}")
        job = prepare_job(reader, source, result, settings, settings.compute.memory)
        info, is_whole = reader.info, not reader.is_cut
    excerpt = _choose_excerpt(info, job, options.at)
    frames = excerpt.frames
    whole = _whole_file(info, job, excerpt)
    height, width = frames[0].image.shape[:2]
    size = round(height * job.spec.height / info.height), round(width * job.spec.width / info.width)
    panels = Panels(info, job.spec)
    moments = _output_times(frames, job)
    panels.add("bicubic", "no new frames", [_enlarge(frames[moment.index], size) for moment in moments])
    tried = []
    for name in options.weights or compared_weights():
        upscaler = load_upscaler(name, settings.compute)
        network, pictures = _try_network(upscaler, frames, job, size, whole)
        panels.add(network.weights, network.summary(), pictures)
        tried.append(network)
        if on_tried is not None:
            on_tried(network)
        upscaler.engine.release()
    write_sheet(panels, moments, sheet)
    write_clip(panels, moments, clip)
    note = excerpt.note if is_whole else f"{excerpt.note}; the estimates are for the chosen part of the file"
    return Preview(sheet, clip, excerpt.start, excerpt.seconds, note, tuple(tried))


@dataclass(frozen=True)
class _Excerpt:
    """Cropped source frames, the time of the first in seconds, and a description of what is shown."""

    frames: list[Frame]
    start: Fraction
    shown: str
    crop: Callable[[np.ndarray], np.ndarray]

    @property
    def seconds(self) -> Fraction:
        return self.frames[-1].time + self.frames[-1].duration - self.frames[0].time

    @property
    def note(self) -> str:
        return f"{float(self.seconds):.2g} s from {float(self.start):.4g} s on, {self.shown}"


def _choose_excerpt(info: VideoInfo, job: Job, at: Fraction | None) -> _Excerpt:
    settings = job.settings
    ratio = min(1.0, (MOST_PIXELS / (info.width * info.height)) ** 0.5)
    # Whole frames, or an even number of pixels from the middle.
    height, width = (side if ratio == 1 else max(2, round(side * ratio / 2) * 2) for side in (info.height, info.width))
    top, left = (info.height - height) // 2, (info.width - width) // 2

    def crop(image: np.ndarray) -> np.ndarray:
        return image[top : top + height, left : left + width]

    per_frame = settings.output_rate(info.average_rate) * settings.slow / info.average_rate
    most = max(2, int(MOST_FRAMES / max(per_frame, Fraction(1))))
    if at is not None:
        start, (frames, _) = at, part_at(job.source, at, SECONDS, most, crop, settings.reading)
    else:
        start, frames = liveliest_part(job.source, SECONDS, most, crop, settings.reading)
    shown = f"the middle {width}x{height} of {info.width}x{info.height}" if ratio < 1 else "whole frames"
    return _Excerpt(frames, start, shown, crop)


def _whole_file(info: VideoInfo, job: Job, excerpt: _Excerpt) -> WholeFile:
    height, width = excerpt.frames[0].image.shape[:2]
    pixel_ratio = byte_ratio = info.width * info.height / (width * height)
    if job.expected_frames and not job.source.is_dir():
        if pixel_ratio > 1:
            byte_ratio = byte_ratio_in_frame(job.source, excerpt.start, job, excerpt.crop) or pixel_ratio
        byte_ratio *= byte_ratio_in_time(job.source, excerpt.start, excerpt.seconds)
    reading = reading_seconds(job) if job.expected_frames else 0.0
    return WholeFile(info.height, info.width, pixel_ratio, byte_ratio, reading)


def _output_times(frames: list[Frame], job: Job) -> list[OutputTime]:
    timeline = job.settings.timeline()
    moments = [moment for frame in frames for moment in timeline.push(frame.time)]
    return moments + timeline.finish(frames[-1].duration)


def _enlarge(frame: Frame, size: tuple[int, int]) -> Array:
    return bicubic(to_8_bits(frame.image), size)


def _try_network(
    upscaler: Upscaler, frames: list[Frame], job: Job, size: tuple[int, int], whole: WholeFile
) -> tuple[PreviewedNetwork, list[Array]]:
    settings = job.settings
    warm_up(upscaler, [upscaler.encode(frame.image) for frame in frames[:2]], size)
    began = time.perf_counter()
    # An excerpt ends at a cut, so there is none within.
    windows = plan_windows(frames, settings.timeline(), False, settings.dedup, upscaler.span)
    rendered = list(upscaler.render(windows, size))
    seconds = time.perf_counter() - began
    pictures = [picture for picture, _ in rendered]
    excerpt = RenderedExcerpt(len(frames), pictures, [moment.time for _, moment in rendered], seconds)
    estimate = estimate_from_excerpt(job, upscaler, whole, excerpt, ENCODED_FRAMES)
    network = PreviewedNetwork(upscaler.checkpoint.name, seconds, estimate)
    return network, [to_8_bits(picture) for picture in pictures]
