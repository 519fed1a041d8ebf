"""One file on a cluster: its plan, its open segments and their retries, and the finished output."""

from __future__ import annotations

import threading
import uuid
from collections import Counter, deque
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import takewhile
from pathlib import Path
from typing import Any

from safa.cluster.plan import Planner, SegmentPlan
from safa.cluster.segment_source import Reading, SharedSource
from safa.cluster.worker import PROBE, Failed, JobContext, Rendered, save_segment
from safa.errors import OutputError, SafaError
from safa.jobs.batch import Outcome
from safa.jobs.plan import Job, check_request, prepare_job, request_of
from safa.jobs.report import JobRun, Report, conclude, concluded_before, record_finished
from safa.options import RunOptions, UpscaleSettings
from safa.upscaler.memory_budget import TileBudget
from safa.video.files import appearance, disk_errors
from safa.video.folder_source import open_reader
from safa.video.journal import Journal, work_folder
from safa.video.segments import open_journal
from safa.video.source import FrameSource
from safa.video.windows import PAIR, Span

TRIES = 3
"""Failures of a segment after which its job fails."""

LOSSES = 10
"""Lost workers of a segment after which its job fails. The cause is usually the machine, but may be the segment."""


@dataclass(frozen=True)
class ClusterRequest:
    """The request for all files of a call.

    Args:
        weights: SHA-256 of the weights.
        span: of the network's windows.
    """

    settings: UpscaleSettings
    weights: str
    options: RunOptions = field(default_factory=RunOptions)
    span: Span = PAIR


@dataclass
class OpenJob:
    """A file that is being planned or rendered.

    ``plan`` runs in a thread of its own and fills ``ready``; everything else happens in the scheduler's thread.

    Attributes:
        context: what all segments have in common.
        reference: of the context, in the object store.
        ready: plans of segments for the workers.
        is_planned: all segments are planned, or planning has stopped.
        rendering: number of segments that workers have.
        expected: output frames, once they are known.
        error: why the job failed.
    """

    source: Path
    output: Path
    request: ClusterRequest
    job: Job | None = None
    journal: Journal | None = None
    context: JobContext | None = None
    reference: Any = None
    ready: deque[SegmentPlan] = field(default_factory=deque)
    is_planned: bool = False
    rendering: int = 0
    expected: int | None = None
    error: SafaError | None = None
    run: JobRun = field(default_factory=JobRun)
    _end: Fraction | None = None
    _concluded: Report | None = None  # of an output that an earlier run has checked
    _tries: Counter[int] = field(default_factory=Counter)
    _losses: Counter[int] = field(default_factory=Counter)

    def plan(self, engine: str, stop: threading.Event) -> None:
        """Open the file and plan its segments until the end, an error or ``stop``.

        Args:
            engine: ``engine_of`` the workers' networks.
        """
        try:
            self._plan(engine, stop)
        except SafaError as error:
            self.error = error
        except OSError as error:
            self.error = OutputError(f"{self.output} cannot be written: {error.strerror}.")
        except Exception as error:
            self.error = SafaError(f"{self.source} cannot be planned: {type(error).__name__}: {error}")
        finally:
            self.is_planned = True

    @property
    def done(self) -> int:
        """Number of output frames that are safe."""
        return self.journal.frames if self.journal is not None else 0

    @property
    def warnings(self) -> list[str]:
        """Return one sentence for each thing that cannot be carried over."""
        return self.job.warnings if self.job is not None else []

    @property
    def is_settled(self) -> bool:
        """Return whether no segment is with a worker, nor will be."""
        return self.is_planned and not self.rendering and (self.error is not None or not self.ready)

    def next_segment(self) -> SegmentPlan | None:
        """Take a segment for a worker, if there is one."""
        if self.error is not None or not self.ready:
            return None
        self.rendering += 1
        return self.ready.popleft()

    def accept(self, segment: Rendered) -> None:
        """Add a finished segment to the journal."""
        assert self.journal is not None
        self.rendering -= 1
        try:
            with disk_errors(self.journal.folder, self.journal.kept):
                path = save_segment(self.journal.folder, segment)
                self.journal.add(path, segment.times, segment.reorder)
        except SafaError as error:
            self.error = self.error or error
        if segment.problem:
            self.run.problems.append(segment.problem)

    def put_back(self, plan: SegmentPlan) -> None:
        """Return a segment that did not fail."""
        self.rendering -= 1
        self.ready.appendleft(plan)

    def failed(self, plan: SegmentPlan, failure: Failed) -> str:
        """Try a failed segment again, or give the job up; return a warning."""
        self._tries[plan.number] += 1
        return self._retry(plan, self._tries[plan.number], TRIES, failure.reason)

    def lost(self, plan: SegmentPlan, node: str, reason: str) -> str:
        """Try a segment again whose worker was lost, or give the job up; return a warning."""
        self._losses[plan.number] += 1
        reason = f"its worker on {node} was lost ({reason})"
        return self._retry(plan, self._losses[plan.number], LOSSES, reason)

    def finish(self) -> Outcome:
        """Join and check the output. Raises the error of the job, if there is one."""
        if self.error is not None:
            raise self.error
        if self._concluded is not None:
            return Outcome(self.source, self.output, self._concluded)
        assert self.job is not None
        assert self.journal is not None
        assert self._end is not None
        with disk_errors(self.journal.folder, self.journal.kept):
            self.journal.close(self._end)
        keep_record = self._keep_record if self.request.options.is_batch else None
        return Outcome(self.source, self.output, conclude(self.job, self.journal, self.run, keep_record))

    def release(self) -> None:
        """Unlock the work folder."""
        if self.journal is not None:
            self.journal.release()

    def _keep_record(self, output: Path) -> None:
        record_finished(output, request_of(self.source, self.request.settings, self.request.weights))

    def _retry(self, plan: SegmentPlan, count: int, limit: int, reason: str) -> str:
        assert self.journal is not None
        self.put_back(plan)
        if count < limit:
            self.run.retries += 1
            return f"{self.source.name}: {plan.describe()} is tried again: {reason}"
        self.error = self.error or SafaError(
            f"{self.source}: {plan.describe()} failed {count} times: {reason.rstrip('.')}; {self.journal.kept()}."
        )
        return ""

    def _plan(self, engine: str, stop: threading.Event) -> None:
        settings, options = self.request.settings, self.request.options
        if options.is_batch:
            self.output.parent.mkdir(parents=True, exist_ok=True)
        check_request(self.source, self.output, settings, options.overwrite)
        with open_reader(self.source, settings.reading) as reader:
            job = prepare_job(reader, self.source, self.output, settings, settings.compute.memory, options.overwrite)
            fingerprint = job.fingerprint(self.request.weights, engine)
            journal = open_journal(work_folder(self.output), job.spec, fingerprint, options.restart, job.segment_frames)
            self.job, self.journal, self.run.resumed = job, journal, journal.frames
            self._concluded = concluded_before(job, journal, self.run.began)
            if self._concluded is not None:
                return
            self.context = self._context(job, journal, reader)
            planner = Planner(job.settings, job.spec.time_base, journal.frames_per_segment, self.request.span)
            frames = takewhile(lambda _: not stop.is_set() and self.error is None, reader.frames(job.alpha))
            for plan in planner.plans(frames, reader.origin, journal.needs):
                self.ready.append(plan)
            if stop.is_set() or self.error is not None:
                return
            self._end, self.expected = planner.end, planner.frames
            self.run.problems += reader.problems

    def _context(self, job: Job, journal: Journal, reader: FrameSource) -> JobContext:
        token = uuid.uuid4().hex
        (journal.folder / PROBE).write_text(token)
        source = self.source.absolute()
        return JobContext(
            source=SharedSource(source, appearance(source)),
            reading=Reading(self.request.settings.reading, reader.info.clock_zero, job.alpha),
            size=(reader.info.height, reader.info.width),
            spec=job.spec,
            memory=job.memory,
            folder=journal.folder.absolute(),
            token=token,
            tile_budget=TileBudget.recorded(journal.share),
        )
