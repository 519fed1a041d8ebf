"""A job: how a request is carried out, and the report of it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from safa.errors import OutputError
from safa.jobs.settings import UpscaleSettings
from safa.jobs.sizing import resolve_size, size_warnings
from safa.upscaler.memory_budget import JobPlan, plan_job
from safa.upscaler.size import OutputSize
from safa.upscaler.upscaler import Upscaler
from safa.video.names import whole_output
from safa.video.read.folder import FolderReader, content_digest
from safa.video.read.info import VideoInfo
from safa.video.read.reader import VideoReader
from safa.video.remux.mux import mux
from safa.video.remux.stream_plan import StreamPlan, plan_streams
from safa.video.schedule.constant_rate import one_rate
from safa.video.schedule.timeline import output_time_base
from safa.video.verify import Verification, verify
from safa.video.write.codecs import Choice, choose_codec
from safa.video.write.encoder import OutputSpec, check_encoder, check_output
from safa.video.write.journal import Journal, is_published, work_folder

# Settings that decide what the frames show; the encoder's are checked where frames are encoded.
DECIDING = ("rate", "fps", "slow", "source_fps", "start", "end", "deinterlace", "cuts", "dedup")

# What else a finished output depends on.
ENCODING = ("codec", "crf", "preset", "audio")

# The size that was asked for; the one it comes to is among what encoders are given.
SIZING = ("scale", "size")

# Output frames in one closed segment: what a crash can cost, against a keyframe at every segment's start.
SEGMENT_FRAMES = 96

PIPE = Path("-")


@dataclass(frozen=True)
class Report:
    """What a finished job did."""

    output: Path
    """The finished file; one that failed its check has another name than was asked for."""
    width: int
    height: int
    frames: int
    resumed_frames: int
    """Frames kept from an earlier run."""
    seconds: float
    warnings: list[str]
    """What of the source could not be carried over."""
    problems: list[str]
    """Damage found in the source."""
    verification: Verification
    retries: int = 0
    """How often a part of the job was tried again because a worker failed or was lost."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "output": str(self.output), "verification": self.verification.to_dict()}


@dataclass(frozen=True)
class Job:
    """What was asked for, looked at and found possible. ``alpha``: whether transparency is kept."""

    source: Path
    settings: UpscaleSettings
    spec: OutputSpec
    streams: StreamPlan
    alpha: bool
    expected_frames: int | None
    warnings: list[str]
    plan: JobPlan
    overwrite: bool = False
    """Whether what has the output's name may be replaced."""

    def fingerprint(self, weights: str, engine: str) -> dict[str, Any]:
        """What must be the same for kept work to be used; ``weights`` is their SHA-256, ``engine`` ``engine_of``."""
        return {
            "input": content_digest(self.source),
            "weights": weights,
            "engine": engine,
            **{name: str(getattr(self.settings, name)) for name in DECIDING},
        }

    def report(
        self, frames: int, resumed: int, began: float, problems: list[str], verification: Verification, retries: int = 0
    ) -> Report:
        """The figures of this job."""
        spec, seconds = self.spec, time.monotonic() - began
        path = spec.path if verification.ok else _aside(spec.path)
        size = spec.width, spec.height
        return Report(path, *size, frames, resumed, seconds, self.warnings, list(problems), verification, retries)


def check_request(source: Path, output: Path, settings: UpscaleSettings, overwrite: bool) -> None:
    """Raise ``OutputError`` for an output that cannot be, or that is there already and must not be replaced."""
    check_output(output, source, settings.codec)
    if output != PIPE and output.exists() and not overwrite and not is_published(output):
        raise OutputError(f"{output} exists already; choose another name or add --overwrite.")


def prepare_job(
    reader: VideoReader | FolderReader,
    source: Path,
    output: Path,
    settings: UpscaleSettings,
    memory: int | None = None,
    overwrite: bool = False,
) -> Job:
    """Decide how the output is made from what ``reader`` found, by a process that may take ``memory`` bytes.

    ``overwrite``: what has the output's name when it is done may be replaced.

    Raises:
        SafaError: what is asked for cannot be done.
    """
    info, notes = reader.info, []
    rate = settings.rate
    if rate is not None and (found := one_rate(reader, output, settings.reading, rate)):
        settings = dataclasses.replace(settings, rate=None, fps=found / settings.slow)
        notes.append(
            f"the source's frame rate varies and {output.suffix or 'y4m'} has none but a constant one: frames are made "
            f"for {settings.fps} a second; choose another with --fps."
        )
    choice = choose_codec(output, settings.codec, info.bit_depth, info.has_alpha)
    size = resolve_size(info, settings, choice.pixel_format)
    notes += size_warnings(info, size)
    spec = _output_spec(reader, output, settings, choice, size)
    plan = plan_job(memory, spec, _pixel_bytes(info, choice), info.width * info.height)
    spec = dataclasses.replace(spec, economy=plan.economy)
    check_encoder(spec)
    streams = plan_streams(info, spec, reader.origin, reader.is_cut, settings.audio, settings.slow)
    warnings = [*notes, *choice.warnings, *streams.warnings]
    expected = expected_frames(reader, settings)
    return Job(source, settings, spec, streams, _has_alpha(choice), expected, warnings, plan, overwrite)


def request_of(source: Path, settings: UpscaleSettings, weights: str) -> dict[str, str]:
    """What a batch must find recorded with a finished output to leave it; ``weights`` is their SHA-256.

    The engine and the number of threads are not part of it: they hardly change a picture.
    """
    named = {name: str(getattr(settings, name)) for name in (*DECIDING, *ENCODING)}
    named |= {name: str(getattr(settings, name)) for name in SIZING if getattr(settings, name) is not None}
    return {"input": content_digest(source), "weights": weights, **named}


def conclude(
    job: Job,
    journal: Journal,
    resumed: int,
    began: float,
    problems: list[str],
    retries: int = 0,
    on_checked: Callable[[Path], None] | None = None,
) -> Report:
    """Make the output of a complete journal, check it, and remove the journal if it is as it should be.

    ``on_checked`` is called with an output that is, while the journal is still there: if it fails, the same command
    calls it again.
    """
    expected = mux(journal, job.spec, job.streams, job.overwrite)
    verification = verify(job.spec.path, expected)
    if verification.ok:
        if on_checked is not None:
            on_checked(job.spec.path)
        journal.remove()
    else:
        put_aside(job.spec.path)
    return job.report(expected.frames, resumed, began, problems, verification, retries)


def engine_of(upscaler: Upscaler) -> str:
    """What computes the pictures; another engine's or precision's differ a little."""
    return f"{upscaler.engine.name} {upscaler.engine.precision}"


def interrupted(journal: Journal, finish: str = "--finish") -> KeyboardInterrupt:
    """The interrupt with what is safe; ``finish``: what makes the same command join that."""
    watch = f", and with {finish} it makes of them a film to watch meanwhile" if journal.has(0) else ""
    return KeyboardInterrupt(f"{journal.kept()}; the same command goes on from there{watch}")


def is_finished(output: Path) -> bool:
    """Whether the output is there and checked: until it is, the work folder beside it remains."""
    return output != PIPE and output.exists() and not work_folder(output).exists()


def put_aside(output: Path) -> None:
    """Rename an output that failed its check, so that nothing under the asked-for name claims to be complete."""
    aside = _aside(output)
    if aside.is_dir():  # of an earlier run; a folder is not replaced by a rename
        shutil.rmtree(aside)
    os.replace(whole_output(output), aside)


def _aside(output: Path) -> Path:
    whole = whole_output(output)
    return whole.with_name(f"{whole.stem}.failed-check{whole.suffix}")


def _has_alpha(choice: Choice) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(choice.pixel_format).components)


def _pixel_bytes(info: VideoInfo, choice: Choice) -> int:
    """Of a frame on its way to the encoder."""
    return (4 if info.has_alpha and _has_alpha(choice) else 3) * (2 if info.bit_depth > 8 else 1)


def _output_spec(
    reader: VideoReader | FolderReader, output: Path, settings: UpscaleSettings, choice: Choice, size: OutputSize
) -> OutputSpec:
    info = reader.info
    return OutputSpec(
        path=output,
        width=size.width,
        height=size.height,
        time_base=output_time_base(info.time_base, settings.rate, settings.fps, settings.slow),
        rate=settings.output_rate(info.average_rate),
        colour=info.colour.resolved(info.height, info.is_rgb),
        codec=choice.codec,
        pixel_format=choice.pixel_format,
        crf=settings.crf,
        preset=settings.preset,
        sample_aspect_ratio=size.aspect,
        display_matrix=info.display_matrix,
        mastering=info.mastering,
        metadata=info.metadata,
    )


def expected_frames(reader: VideoReader | FolderReader, settings: UpscaleSettings) -> int | None:
    """Output frames according to the source's headers; None where they do not say."""
    info = reader.info
    duration = info.duration
    if reader.is_cut:
        stop = settings.end if duration is None or (settings.end and settings.end < duration) else duration
        duration = stop - (settings.start or 0) if stop is not None else None
    if settings.fps is not None:
        return round(duration * settings.slow * settings.fps) if duration else None
    frames = (
        info.frames if info.frames and not reader.is_cut else round(duration * info.average_rate) if duration else 0
    )
    return (frames - 1) * (settings.rate or 1) + 1 if frames else None
