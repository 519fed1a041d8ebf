"""A second or two of a video made with every network, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from safa.checkpoint import SHARPENED, shipped_names, with_detail
from safa.engine.images import to_8_bits
from safa.errors import OutputError, SafaError
from safa.jobs.batch import kept_suffix
from safa.jobs.comparison import Panels, write_clip, write_sheet
from safa.jobs.forecast import amount_of, length_of
from safa.jobs.job import PIPE, Job
from safa.jobs.prepare import prepare_job
from safa.jobs.proportion import Whole, in_frame, in_time
from safa.jobs.settings import UpscaleSettings
from safa.jobs.trial import Estimate, bytes_of, encoded, reading_seconds
from safa.jobs.weights import DETAIL
from safa.upscaler.upscaler import Array, Upscaler, load
from safa.video.files import check_target
from safa.video.liveliest import liveliest_part, part_at
from safa.video.read.folder import open_reader
from safa.video.read.info import Frame, VideoInfo
from safa.video.read.pictures import bicubic
from safa.video.schedule.schedule import plan_windows
from safa.video.schedule.timeline import OutputTime

SECONDS = Fraction(5, 2)
MOST_PIXELS = 24_000
"""Of the source's frames; of larger ones the middle is shown."""

MOST_FRAMES = 100
"""Pictures that are made with each network."""

ENCODED = 48
"""Of them, how many are encoded to estimate the size of the file."""


@dataclass(frozen=True)
class Tried:
    """One network: how long its part took, and what that says of the whole file (None where the file does not say how
    long it is).
    """

    weights: str
    seconds: float
    estimate: Estimate | None

    def told(self) -> str:
        """The estimate in words."""
        if self.estimate is None:
            return "the time for the whole file is not known"
        size = f" and {amount_of(self.estimate.bytes)}" if self.estimate.bytes else ""
        return f"whole file: about {length_of(self.estimate.seconds)}{size}"


@dataclass(frozen=True)
class Preview:
    """What was made: ``sheet`` (PNG) and ``clip`` (MP4), from ``start`` on for ``seconds`` of the source; ``note`` says
    what part of its frames is shown.
    """

    sheet: Path
    clip: Path
    start: Fraction
    seconds: Fraction
    note: str
    tried: tuple[Tried, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
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


def preview(
    source: str | Path,
    sheet: str | Path,
    *,
    at: Fraction | None = None,
    settings: UpscaleSettings | None = None,
    weights: Sequence[str | Path] | None = None,
    suffix: str | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    memory: int | None = None,
    overwrite: bool = False,
    on_tried: Callable[[Tried], None] | None = None,
) -> Preview:
    """Make a short part of ``source`` with every network and put the results beside bicubic enlargement.

    Args:
        sheet: the PNG to write; the clip gets its name with ``.mp4``.
        at: where the part begins, seconds as players show them; the liveliest part without a cut if None.
        settings: what the result should be; its ``start`` and ``end`` limit the file that the estimates are for.
        weights: names or files; all shipped ones, and what lies between the sharpest two, if None.
        suffix: of the whole result's name, such as ".mp4"; the source's, or another that holds the codec, if None.
        overwrite: replace files that have these names; the source is never replaced.
        on_tried: called after each network.

    Raises:
        SafaError: unusable input, output or settings.
    """
    source, sheet, settings = Path(source), Path(sheet), settings or UpscaleSettings()
    if source == PIPE:
        raise SafaError("a pipe can be read only once; give a file to preview.")
    if sheet.suffix.lower() != ".png":
        raise OutputError(f"{sheet}: the sheet is a picture; give it a name that ends in .png.")
    clip = sheet.with_suffix(".mp4")
    for made in (sheet, clip):
        check_target(made, overwrite, [source])
    with open_reader(source, settings.reading) as reader:
        job = prepare_job(
            reader, source, Path(f"preview{suffix or kept_suffix(source, settings.codec)}"), settings, memory
        )
        info, is_whole = reader.info, not reader.is_cut
    part = _part(source, info, job, at)
    frames, larger = part.frames, part.larger(source, info, job)
    read = reading_seconds(job) if job.expected_frames else 0.0
    height, width = frames[0].image.shape[:2]
    size = round(height * job.spec.height / info.height), round(width * job.spec.width / info.width)
    panels = Panels(info, job.spec, size)
    moments = _moments(frames, job)
    panels.add("bicubic", "no new frames", [_enlarged(frames[moment.index], size) for moment in moments])
    tried = []
    for name in weights or previewed_weights():
        upscaler = load(name, device, precision, engine, memory=memory)
        one, pictures = _try(upscaler, frames, job, size, Whole(info.height, info.width, *larger, read))
        panels.add(one.weights, one.told(), pictures)
        tried.append(one)
        if on_tried is not None:
            on_tried(one)
        upscaler.engine.release()
    write_sheet(panels, moments, sheet)
    write_clip(panels, moments, clip)
    told = part.note if is_whole else f"{part.note}; the estimates are for the chosen part of the file"
    return Preview(sheet, clip, part.start, part.seconds, told, tuple(tried))


def previewed_weights() -> list[str]:
    """All shipped weights, by growing detail."""
    names = shipped_names()
    steps = [with_detail(name, DETAIL) for name, sharper in SHARPENED.items() if sharper in names]
    order = [*SHARPENED, *steps]
    return [name for name in order if name in names or name in steps] + [name for name in names if name not in order]


@dataclass(frozen=True)
class _Part:
    """Frames, cut by ``cut`` from larger ones, where they begin, and what is to be said of them."""

    frames: list[Frame]
    start: Fraction
    note: str
    cut: Callable[[np.ndarray], np.ndarray]

    @property
    def seconds(self) -> Fraction:
        return self.frames[-1].time + self.frames[-1].duration - self.frames[0].time

    def larger(self, source: Path, info: VideoInfo, job: Job) -> tuple[float, float]:
        """How much more a frame of the whole file is than one of these: in work, and in bytes."""
        height, width = self.frames[0].image.shape[:2]
        pixels = info.width * info.height / (width * height)
        if not job.expected_frames or source.is_dir():
            return pixels, pixels
        told = in_frame(source, self.start, job, self.cut) if pixels > 1 else pixels
        return pixels, (told or pixels) * in_time(source, self.start, self.seconds)


def _part(source: Path, info: VideoInfo, job: Job, at: Fraction | None) -> _Part:
    settings = job.settings
    share = min(1.0, (MOST_PIXELS / (info.width * info.height)) ** 0.5)
    # Whole frames, or an even number of pixels from the middle.
    height, width = (side if share == 1 else max(2, round(side * share / 2) * 2) for side in (info.height, info.width))
    top, left = (info.height - height) // 2, (info.width - width) // 2

    def middle(image: np.ndarray) -> np.ndarray:
        return image[top : top + height, left : left + width]

    per_frame = settings.output_rate(info.average_rate) * settings.slow / info.average_rate
    most = max(2, int(MOST_FRAMES / max(per_frame, Fraction(1))))
    options = settings.reading
    if at is not None:
        start, (frames, _) = at, part_at(source, at, SECONDS, most, middle, options)
    else:
        start, frames = liveliest_part(source, SECONDS, most, middle, options)
    shown = f"the middle {width}x{height} of {info.width}x{info.height}" if share < 1 else "whole frames"
    part = _Part(frames, start, "", middle)
    return replace(part, note=f"{float(part.seconds):.2g} s from {float(start):.4g} s on, {shown}")


def _moments(frames: list[Frame], job: Job) -> list[OutputTime]:
    timeline = job.settings.timeline()
    moments = [moment for frame in frames for moment in timeline.push(frame.time)]
    return moments + timeline.finish(frames[-1].duration)


def _enlarged(frame: Frame, size: tuple[int, int]) -> Array:
    return bicubic(to_8_bits(frame.image), size)


def _try(
    upscaler: Upscaler, frames: list[Frame], job: Job, size: tuple[int, int], whole: Whole
) -> tuple[Tried, list[Array]]:
    ends = [upscaler.encode(frame.image) for frame in frames[:2]]
    list(upscaler.pictures(upscaler.window(ends), [(0, 0.5)], size=size))  # the first time is slower
    began = time.perf_counter()
    settings = job.settings
    # Where the source has a cut the part ends, so there is none to be found.
    windows = plan_windows(frames, settings.timeline(), False, settings.dedup, upscaler.span)
    made = list(upscaler.render(windows, size))
    seconds = time.perf_counter() - began
    pictures = [picture for picture, _ in made]
    estimate = None
    work = whole.work(upscaler, job)
    if job.expected_frames and work is not None:
        spec = replace(job.spec, height=size[0], width=size[1])
        writing, checking, sizes = encoded(pictures[:ENCODED], [moment.time for _, moment in made], spec)
        network, others = seconds / len(made) * work, writing * whole.pixels + whole.read * len(frames) / len(made)
        # On a processor they share the cores; beside another device they are done while that works.
        each = network + others if upscaler.device == "cpu" else max(network, others)
        each += checking * whole.pixels
        video = bytes_of(sizes, job.expected_frames) if spec.codec != "rgb" else None
        estimate = Estimate(each * job.expected_frames, round(video * whole.bytes) if video else None)
    return Tried(upscaler.checkpoint.name, seconds, estimate), [to_8_bits(picture) for picture in pictures]
