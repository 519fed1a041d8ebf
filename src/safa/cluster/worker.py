"""Renders segments, one after the other. A plain class: a pool makes an actor of it."""

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
from safa.cluster.excerpt import DecodeMismatch, Reading, all_frames, near_frames, windows_of
from safa.cluster.inputs import Source
from safa.cluster.plan import SegmentPlan
from safa.engine.device import pick_device
from safa.engine.process_memory import total
from safa.errors import SafaError
from safa.jobs.job import engine_of
from safa.jobs.pipeline import run_pipeline
from safa.upscaler.memory_budget import TOTAL_SHARE, JobPlan, Share
from safa.upscaler.upscaler import Array, Upscaler
from safa.video.files import atomic_write
from safa.video.schedule.timeline import OutputTime
from safa.video.schedule.windows import Numbered, Window
from safa.video.write.encoder import OutputSpec
from safa.video.write.segment_record import segment_name
from safa.video.write.segments import SegmentEncoder, encoder_errors

PROBE = "probe.part"


@dataclass(frozen=True)
class FilmContext:
    """What all segments of a file have in common.

    ``size`` is the source's height and width, that of the result is in ``spec``.
    ``folder`` is the driver's work folder; a worker that finds ``token`` in its file ``PROBE`` sees the same folder.
    """

    source: Source
    reading: Reading
    size: tuple[int, int]
    spec: OutputSpec
    plan: JobPlan
    folder: Path
    token: str
    share: Share | None = None
    """That of the run which began the film, if it was on one machine."""


@dataclass(frozen=True)
class Rendered:
    """A finished segment: where it lies in the work folder, or its bytes where that folder is not visible here."""

    number: int
    times: list[int]
    reorder: int
    data: bytes | None
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Failed:
    """A segment that could not be made, and why."""

    number: int
    reason: str


@dataclass(frozen=True)
class InputMissing:
    """The source is not on this machine."""


class Worker:
    """A loaded network, ready for the segments of any film.

    Args:
        checkpoint, device, engine, precision: as for ``Upscaler``.
        threads: processor threads for the network.
        memory: bytes that the process may take. If None, on a CPU the same share of its memory as of its cores: the
            rest is for other workers on the machine.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        engine: str,
        precision: str,
        threads: int,
        memory: int | None = None,
    ) -> None:
        cv2.setNumThreads(threads)
        if memory is None and pick_device(device) == "cpu":
            memory = int(TOTAL_SHARE * total() * min(1.0, threads / (os.cpu_count() or threads)))
        self._upscaler = Upscaler(checkpoint, device, precision, engine, threads, memory)

    def facts(self) -> dict[str, Any]:
        """What must be the same for all workers ("same"), and which machine this is ("node")."""
        libraries = {name: list(numbers) for name, numbers in av.library_versions.items()}
        same = {"engine": engine_of(self._upscaler), "safa": version("safa-video"), "libraries": libraries}
        return {"node": platform.node(), "same": same}

    def render(self, film: FilmContext, plan: SegmentPlan) -> Rendered | Failed | InputMissing:
        """Make a segment. What goes wrong is returned, not raised: only losing a worker is an exception."""
        try:
            path = film.source.here()
            return InputMissing() if path is None else self._render(path, film, plan)
        except SafaError as error:
            return Failed(plan.number, str(error))
        except Exception as error:
            return Failed(plan.number, f"{type(error).__name__}: {error}")

    def receive(self, source: Source, name: str, offset: int, data: bytes) -> None:
        """Take a part of the source; see ``Source``."""
        source.receive(name, offset, data)

    def forget(self, source: Source) -> None:
        """Delete this machine's copy of the source."""
        source.forget()

    def _render(self, path: Path, film: FilmContext, plan: SegmentPlan) -> Rendered:
        try:
            return self._encode(near_frames(path, film.reading, plan), film, plan)
        except DecodeMismatch:
            pass  # read all of it, as the driver did
        try:
            return self._encode(all_frames(path, film.reading, plan), film, plan)
        except DecodeMismatch as error:
            problem = f"{plan.describe()} was decoded differently on {platform.node()}: {error}."
            return self._encode(all_frames(path, film.reading, plan, check=False), film, plan, problem)

    def _settled(self, film: FilmContext) -> AbstractContextManager[None]:
        if film.share is None:
            return nullcontext()
        return self._upscaler.settled(*film.size, film.share, lambda share: None)

    def _encode(self, frames: Iterator[Numbered], film: FilmContext, plan: SegmentPlan, problem: str = "") -> Rendered:
        began = time.monotonic()
        name = segment_name(plan.number)
        with tempfile.TemporaryDirectory(prefix="safa-") as own:
            shared = _is_seen(film)
            folder = film.folder if shared else Path(own)
            # A worker that counts as lost may still be writing this segment, so every attempt has its own file.
            encoder = SegmentEncoder(folder / name, film.spec, folder / f"{name}.{uuid.uuid4().hex}.part")

            def pictures(early: Iterator[Window[OutputTime]]) -> Iterator[tuple[Array, OutputTime]]:
                return self._upscaler.render(early, (film.spec.height, film.spec.width))

            def write(picture: np.ndarray, moment: OutputTime) -> None:
                encoder.write(picture, plan.ticks[moment.number - plan.first_frame])

            try:
                with encoder_errors(film.spec, folder, lambda: "nothing of it is kept"):
                    with self._upscaler.budget.reserve(film.plan.aside), self._settled(film):
                        run_pipeline(windows_of(plan, frames), pictures, write, film.plan)
                    path, times, reorder = encoder.finish()
            except BaseException:
                encoder.abandon()
                raise
            data = None if shared else path.read_bytes()
        return Rendered(plan.number, times, reorder, data, time.monotonic() - began, problem)


def save_segment(folder: Path, segment: Rendered) -> Path:
    """The driver's side of a finished segment: its file in the work folder, whole."""
    path = folder / segment_name(segment.number)
    if segment.data is not None:
        with atomic_write(path) as temporary:
            temporary.write_bytes(segment.data)
    return path


def _is_seen(film: FilmContext) -> bool:
    try:
        return (film.folder / PROBE).read_text() == film.token
    except OSError:
        return False
