"""The worker, which renders one segment after the other. It is a plain class, of which the pool makes an actor."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from safa.checkpoint import Checkpoint
from safa.cluster.plan import SegmentPlan
from safa.cluster.segment_source import (
    DecodeMismatch,
    Reading,
    SharedSource,
    frames_from_keyframe,
    frames_from_start,
    windows_of,
)
from safa.engine.device import pick_device
from safa.engine.images import Array
from safa.engine.memory import total
from safa.errors import SafaError
from safa.files import atomic_write
from safa.jobs.pipeline import run_pipeline
from safa.options import ComputeOptions
from safa.upscaler.memory_budget import TOTAL_SHARE, MemoryPlan, TileBudget
from safa.upscaler.upscaler import Upscaler, engine_of
from safa.video.encoder import OutputSpec
from safa.video.journal import segment_name
from safa.video.schedule import OutputTime
from safa.video.segments import SegmentEncoder, encoder_errors
from safa.video.windows import Numbered, Window

PROBE = "probe.part"
"""File in the driver's work folder by which a worker recognises that folder."""


@dataclass(frozen=True)
class JobContext:
    """Everything that the segments of a job have in common.

    Args:
        source, reading: the source, and how it is read.
        size: (height, width) of the source.
        spec: of the output.
        memory: how encoder and queues keep below the memory ceiling.
        folder, token: the driver's work folder; a worker that finds the token in its file ``PROBE`` sees the same one.
        tile_budget: of the run that began the job, if that was on one machine.
    """

    source: SharedSource
    reading: Reading
    size: tuple[int, int]
    spec: OutputSpec
    memory: MemoryPlan
    folder: Path
    token: str
    tile_budget: TileBudget | None = None


@dataclass(frozen=True)
class Rendered:
    """A finished segment.

    Args:
        number: of the segment.
        times: of its frames, in units of the output's time base.
        reorder: of its packets, see ``SegmentEncoder.finish``.
        data: its bytes, or None if it is in the driver's work folder.
        seconds: of work.
        problem: how its source differed from the driver's, as a sentence.
    """

    number: int
    times: list[int]
    reorder: int
    data: bytes | None
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Failed:
    """A segment that could not be made, and the reason."""

    number: int
    reason: str


@dataclass(frozen=True)
class InputMissing:
    """The source is not available on this machine."""


class Worker:
    """A loaded network, ready for the segments of any job.

    Args:
        checkpoint: the network.
        compute: where and how it runs. Without ``memory``, a worker on a CPU uses the same share of the machine's
            memory as of its cores: the rest is for other workers on the machine.
    """

    def __init__(self, checkpoint: Checkpoint, compute: ComputeOptions) -> None:
        threads, memory = compute.threads or 1, compute.memory
        cv2.setNumThreads(threads)
        if memory is None and pick_device(compute.device) == "cpu":
            memory = int(TOTAL_SHARE * total() * min(1.0, threads / (os.cpu_count() or threads)))
        self._upscaler = Upscaler(checkpoint, compute.device, compute.precision, compute.engine, threads, memory)

    def facts(self) -> dict[str, Any]:
        """Return what must be equal on all workers ("same"), and the name of this machine ("node")."""
        libraries = {name: list(numbers) for name, numbers in av.library_versions.items()}
        same = {"engine": engine_of(self._upscaler), "safa": version("safa-video"), "libraries": libraries}
        return {"node": platform.node(), "same": same}

    def render(self, job: JobContext, plan: SegmentPlan) -> Rendered | Failed | InputMissing:
        """Make a segment. Errors are returned, not raised, so that only the loss of a worker is an exception."""
        try:
            path = job.source.here()
            return InputMissing() if path is None else self._render(path, job, plan)
        except SafaError as error:
            return Failed(plan.number, str(error))
        except Exception as error:
            return Failed(plan.number, f"{type(error).__name__}: {error}")

    def receive(self, source: SharedSource, name: str, offset: int, data: bytes) -> None:
        """Write a chunk of the source to the copy on this machine."""
        source.receive(name, offset, data)

    def forget(self, source: SharedSource) -> None:
        """Delete the copy of the source on this machine."""
        source.forget()

    def _render(self, path: Path, job: JobContext, plan: SegmentPlan) -> Rendered:
        try:
            return self._encode(frames_from_keyframe(path, job.reading, plan), job, plan)
        except DecodeMismatch:
            pass  # decode from the start of the file, as the driver did
        try:
            return self._encode(frames_from_start(path, job.reading, plan), job, plan)
        except DecodeMismatch as error:
            problem = f"{plan.describe()} was decoded differently on {platform.node()}: {error}."
            return self._encode(frames_from_start(path, job.reading, plan, check=False), job, plan, problem)

    def _fixed_tiles(self, job: JobContext) -> AbstractContextManager[None]:
        if job.tile_budget is None:
            return nullcontext()
        return self._upscaler.fixed_tiles(*job.size, job.tile_budget, lambda budget: None)

    def _encode(self, frames: Iterator[Numbered], job: JobContext, plan: SegmentPlan, problem: str = "") -> Rendered:
        began = time.monotonic()
        name = segment_name(plan.number)
        with tempfile.TemporaryDirectory(prefix="safa-") as own:
            shared = _is_visible(job)
            folder = job.folder if shared else Path(own)
            # A worker that counts as lost may still be writing this segment, so every attempt has its own file.
            encoder = SegmentEncoder(folder / name, job.spec, folder / f"{name}.{uuid.uuid4().hex}.part")

            def pictures(early: Iterator[Window[OutputTime]]) -> Iterator[tuple[Array, OutputTime]]:
                return self._upscaler.render(early, (job.spec.height, job.spec.width))

            def write(picture: np.ndarray, moment: OutputTime) -> None:
                encoder.write(picture, plan.ticks[moment.number - plan.first_frame])

            try:
                with encoder_errors(job.spec, folder, lambda: "nothing of it is kept"):
                    with self._upscaler.budget.reserve(job.memory.reserved), self._fixed_tiles(job):
                        run_pipeline(windows_of(plan, frames), pictures, write, job.memory)
                    path, times, reorder = encoder.finish()
            except BaseException:
                encoder.abandon()
                raise
            data = None if shared else path.read_bytes()
        return Rendered(plan.number, times, reorder, data, time.monotonic() - began, problem)


def save_segment(folder: Path, segment: Rendered) -> Path:
    """Return the path of a finished segment in the driver's work folder, after writing it there if necessary."""
    path = folder / segment_name(segment.number)
    if segment.data is not None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(segment.data)
    return path


def _is_visible(job: JobContext) -> bool:
    """Return whether the driver's work folder has the same path on this machine."""
    try:
        return (job.folder / PROBE).read_text() == job.token
    except OSError:
        return False
