"""A job that was found possible, how it is concluded, and the report of it."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from safa.jobs.settings import UpscaleSettings
from safa.upscaler.memory_budget import JobPlan
from safa.upscaler.upscaler import Upscaler
from safa.video.names import whole_output
from safa.video.read.folder import content_digest
from safa.video.remux.mux import mux
from safa.video.remux.stream_plan import StreamPlan
from safa.video.verify import Verification, verify
from safa.video.write.encoder import OutputSpec
from safa.video.write.journal import Journal, work_folder

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
    """What computes the pictures: those of another engine, precision or kind of processor differ a little."""
    engine = upscaler.engine
    return f"{engine.name} {engine.precision}, {engine.arithmetic}, {_opencv()}"


def _opencv() -> str:
    """What the classical flow depends on: OpenCV's version, and the instructions that it and the IPP in it use here."""
    used = [name.lstrip("*") for name in cv2.getCPUFeaturesLine().split() if not name.endswith("?")]
    found = re.search(r"\((\w+)\) ([\d.]+)", cv2.ipp.getIppVersion()) if cv2.ipp.useIPP() else None
    ipp = f" IPP {found[2]} {found[1]}" if found else ""
    return f"OpenCV {cv2.__version__} {used[-1] if used else 'plain'}{ipp}"


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
