"""What a job will make, how long it takes and how large the file will be, before it is started."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from safa.jobs.job import PIPE, Job
from safa.jobs.prepare import check_request, prepare_job
from safa.jobs.settings import UpscaleSettings
from safa.jobs.trial import Estimate, estimate
from safa.upscaler.upscaler import Upscaler
from safa.video.read.folder import open_reader
from safa.video.read.info import VideoInfo
from safa.video.write.codecs import codec_entry
from safa.video.write.journal import kept_frames, work_folder


@dataclass(frozen=True)
class Forecast:
    """What will be made of what. Sizes are as stored; ``frames`` None where the source does not say how many it has.

    ``left_out`` has a sentence for everything that cannot be carried over; ``kept`` frames of the output are there from
    an earlier run.
    """

    source: Path
    output: Path
    source_width: int
    source_height: int
    source_rate: Fraction
    width: int
    height: int
    rate: Fraction
    frames: int | None
    codec: str
    crf: float | None
    weights: str
    engine: str
    sound: str
    left_out: tuple[str, ...]
    estimate: Estimate | None = None
    kept: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        plain = {
            name: str(value) if isinstance(value, (Path, Fraction)) else value for name, value in vars(self).items()
        }
        told = self.estimate
        plain |= {"seconds": told.seconds if told else None, "bytes": told.bytes if told else None}
        del plain["estimate"]
        return plain

    def lines(self) -> list[str]:
        """Three lines of text."""
        before = f"{self.source_width}x{self.source_height} at {_rate(self.source_rate)}"
        frames = f", {self.frames} frames" if self.frames else ""
        frames += f", {self.kept} of them made before" if self.kept else ""
        quality = f" (crf {self.crf:g})" if self.crf is not None else ""
        count = len(self.left_out)
        said = f"{count} warnings say" if count > 1 else "warning says"
        lost = f"; changed or left out: what the {said}" if count else ""
        return [
            f"{self.source.name}: {before} becomes {self.width}x{self.height} at {_rate(self.rate)}{frames}",
            f"{self.codec}{quality}, weights {self.weights}, {self.sound}{lost}",
            self._takes(),
        ]

    def _takes(self) -> str:
        if self.estimate is None:
            return f"how long it takes is not known in advance ({self.engine} engine)"
        size = self.estimate.bytes
        video = f"; the video will be roughly {amount_of(size)} if the rest is like its first frames" if size else ""
        return f"takes about {length_of(self.estimate.seconds)} on this machine ({self.engine} engine){video}"


def forecast(
    source: Path,
    output: Path,
    settings: UpscaleSettings,
    upscaler: Upscaler,
    *,
    overwrite: bool = False,
    restart: bool = False,
    check: bool = True,
) -> Forecast:
    """What ``upscale`` would do, without doing it.

    Args:
        restart: the kept work of an earlier run is not used.
        check: refuse an output that cannot be written or is there already.

    Raises:
        SafaError: it cannot be done.
    """
    if check:
        check_request(source, output, settings, overwrite)
    with open_reader(source, settings.reading) as reader:
        job = prepare_job(reader, source, output, settings, upscaler.budget.ceiling, overwrite)
        with upscaler.budget.reserve(job.plan.aside):
            return forecast_of(job, reader.info, upscaler, restart)


def forecast_of(job: Job, info: VideoInfo, upscaler: Upscaler, restart: bool = False) -> Forecast:
    """The same for a job that has been prepared, with what is set aside for it reserved."""
    spec = job.spec
    kept = 0 if restart or PIPE in (job.source, spec.path) else kept_frames(work_folder(spec.path))
    crf = codec_entry(spec.codec).crf if spec.crf is None else spec.crf
    made = Forecast(
        *(job.source, spec.path, info.width, info.height, info.average_rate),
        *(spec.width, spec.height, spec.rate, job.expected_frames),
        *(spec.container if spec.codec == "rgb" else spec.codec, crf, upscaler.checkpoint.name, upscaler.engine.name),
        _sound(job, info),
        tuple(job.warnings),
        kept=kept,
    )
    return replace(made, estimate=estimate(job, upscaler, info.height, info.width, kept))


def _sound(job: Job, info: VideoInfo) -> str:
    sounds = {stream.index for stream in info.streams if stream.kind == "audio"}
    if not sounds:
        return "no sound in the source"
    if sounds & set(job.streams.stretched):
        return "sound stretched"
    return "sound kept" if sounds & set(job.streams.copied) else "sound left out"


def _rate(rate: Fraction) -> str:
    return f"{float(rate):.5g} fps"


def length_of(seconds: float) -> str:
    """A length of time as text: "40 s", "12 min", "3.5 h"."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 100 * unit else f"{seconds / unit:.0f} {name}"
    return f"{max(1, round(seconds))} s"


def amount_of(size: int) -> str:
    """A number of bytes as text: "350 kB", "1.2 GB"."""
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:.2g} {name}" if size < 100 * unit else f"{size / unit:.0f} {name}"
    return f"{max(1, round(size / 1000))} kB" if size < 10**5 else f"{size / 10**6:.1f} MB"
