"""One file of a cluster job: its plan, its open segments and their attempts, and the finished output."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

from safa.cluster.excerpt import Reading
from safa.cluster.inputs import Source
from safa.cluster.plan import Planner, SegmentPlan
from safa.cluster.worker import PROBE, Failed, FilmContext, Rendered, save_segment
from safa.errors import OutputError, SafaError
from safa.jobs import upscale as convert
from safa.jobs.finished import record_finished
from safa.jobs.job import Job, Report, conclude, concluded_before, request_of
from safa.jobs.prepare import check_request, prepare_job
from safa.jobs.settings import UpscaleSettings
from safa.upscaler.memory_budget import Share
from safa.video.files import appearance, disk_errors
from safa.video.read.folder import FolderReader, open_reader
from safa.video.read.reader import VideoReader
from safa.video.schedule.windows import PAIR, Span
from safa.video.write.journal import Journal, work_folder
from safa.video.write.segments import open_journal

TRIES = 3
"""How often a segment may fail before its film does."""
LOSSES = 10
"""How often a segment may lose its worker: usually the machine is the cause, but it may be the segment."""


@dataclass(frozen=True)
class Request:
    """What is asked for with every file of a job."""

    settings: UpscaleSettings
    weights: str
    """Their SHA-256."""
    overwrite: bool = False
    restart: bool = False
    is_batch: bool = False
    memory: int | None = None
    """Bytes that a worker may take."""
    span: Span = PAIR
    """Of the network's windows."""


@dataclass
class OpenFilm:
    """A file that is being planned or rendered.

    ``plan`` runs in a thread of its own and fills ``ready``; everything else happens in the thread of the job.
    """

    source: Path
    output: Path
    request: Request
    job: Job | None = None
    journal: Journal | None = None
    shared: FilmContext | None = None
    reference: Any = None
    """``shared`` in the object store."""
    ready: deque[SegmentPlan] = field(default_factory=deque)
    planned: bool = False
    rendering: int = 0
    expected: int | None = None
    """Output frames it will have, once that is known."""
    resumed: int = 0
    retries: int = 0
    error: SafaError | None = None
    problems: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    _end: Fraction | None = None
    _concluded: Report | None = None
    """The report of an output that an earlier run has checked."""
    _tries: Counter[int] = field(default_factory=Counter)
    _losses: Counter[int] = field(default_factory=Counter)

    def plan(self, engine: str, stop: threading.Event) -> None:
        """Open the file and plan its segments until the end, an error or ``stop``. ``engine`` is the workers'."""
        try:
            self._plan(engine, stop)
        except SafaError as error:
            self.error = error
        except OSError as error:
            self.error = OutputError(f"{self.output} cannot be written: {error.strerror}.")
        except Exception as error:
            self.error = SafaError(f"{self.source} cannot be planned: {type(error).__name__}: {error}")
        finally:
            self.planned = True

    @property
    def done(self) -> int:
        """Output frames that are safe."""
        return self.journal.frames if self.journal is not None else 0

    @property
    def warnings(self) -> list[str]:
        """What cannot be carried over."""
        return self.job.warnings if self.job is not None else []

    @property
    def is_settled(self) -> bool:
        """Whether no segment is with a worker, or will be."""
        return self.planned and not self.rendering and (self.error is not None or not self.ready)

    def next_segment(self) -> SegmentPlan | None:
        """A segment for a worker, if there is one."""
        if self.error is not None or not self.ready:
            return None
        self.rendering += 1
        return self.ready.popleft()

    def accept(self, segment: Rendered) -> None:
        """Take a finished segment into the journal."""
        assert self.journal is not None
        self.rendering -= 1
        try:
            with disk_errors(self.journal.folder, self.journal.kept):
                path = save_segment(self.journal.folder, segment)
                self.journal.add(path, segment.times, segment.reorder)
        except SafaError as error:
            self.error = self.error or error
        if segment.problem:
            self.problems.append(segment.problem)

    def retry(self, plan: SegmentPlan) -> None:
        """Put back a segment that did not fail."""
        self.rendering -= 1
        self.ready.appendleft(plan)

    def failed(self, plan: SegmentPlan, failure: Failed) -> str:
        """Try a failed segment again, or give the film up. Returns a warning."""
        self._tries[plan.number] += 1
        return self._once_more(plan, self._tries[plan.number], TRIES, failure.reason)

    def lost(self, plan: SegmentPlan, node: str, reason: str) -> str:
        """The same for a segment whose worker is gone."""
        self._losses[plan.number] += 1
        reason = f"its worker on {node} was lost ({reason})"
        return self._once_more(plan, self._losses[plan.number], LOSSES, reason)

    def finish(self) -> Report:
        """Join, check and name the output. Raises what went wrong on the way."""
        if self.error is not None:
            raise self.error
        if self._concluded is not None:
            return self._concluded
        assert self.job is not None
        assert self.journal is not None
        assert self._end is not None
        with disk_errors(self.journal.folder, self.journal.kept):
            self.journal.close(self._end)
        keep_record = self._keep_record if self.request.is_batch else None
        return conclude(self.job, self.journal, self.resumed, self.began, self.problems, self.retries, keep_record)

    def release(self) -> None:
        """Unlock the work folder."""
        if self.journal is not None:
            self.journal.release()

    def _keep_record(self, output: Path) -> None:
        record_finished(output, request_of(self.source, self.request.settings, self.request.weights))

    def _once_more(self, plan: SegmentPlan, times: int, limit: int, reason: str) -> str:
        assert self.journal is not None
        self.retry(plan)
        if times < limit:
            self.retries += 1
            return f"{self.source.name}: {plan.describe()} is tried again: {reason}"
        self.error = self.error or SafaError(
            f"{self.source}: {plan.describe()} failed {times} times: {reason.rstrip('.')}; {self.journal.kept()}."
        )
        return ""

    def _plan(self, engine: str, stop: threading.Event) -> None:
        settings = self.request.settings
        if self.request.is_batch:
            self.output.parent.mkdir(parents=True, exist_ok=True)
        check_request(self.source, self.output, settings, self.request.overwrite)
        with open_reader(self.source, settings.reading) as reader:
            job = prepare_job(reader, self.source, self.output, settings, self.request.memory, self.request.overwrite)
            journal = self._open_journal(job, engine)
            self.job, self.journal, self.resumed = job, journal, journal.frames
            self._concluded = concluded_before(job, journal, self.began)
            if self._concluded is not None:
                return
            self.shared = self._shared(job, journal, reader)
            planner = Planner(job.settings, job.spec.time_base, journal.frames_per_segment, self.request.span)
            frames = takewhile(lambda _: not stop.is_set() and self.error is None, reader.frames(job.alpha))
            for plan in planner.plans(frames, reader.origin, journal.wants):
                self.ready.append(plan)
            if stop.is_set() or self.error is not None:
                return
            self._end, self.expected = planner.end, planner.frames
            self.problems += reader.problems

    def _open_journal(self, job: Job, engine: str) -> Journal:
        fingerprint = job.fingerprint(self.request.weights, engine)
        folder = work_folder(self.output)
        return open_journal(folder, job.spec, fingerprint, self.request.restart, convert.SEGMENT_FRAMES)

    def _shared(self, job: Job, journal: Journal, reader: VideoReader | FolderReader) -> FilmContext:
        token = uuid.uuid4().hex
        (journal.folder / PROBE).write_text(token)
        source, folder = self.source.absolute(), journal.folder.absolute()
        reading = Reading(self.request.settings.reading, reader.info.clock_zero, job.alpha)
        share = Share(**journal.share) if journal.share else None  # type: ignore[arg-type]
        size = reader.info.height, reader.info.width
        return FilmContext(Source(source, appearance(source)), reading, size, job.spec, job.plan, folder, token, share)
