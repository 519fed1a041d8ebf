"""The files of one call on a cluster: opened in turn, the longest first, and handed out segment by segment.

Several files are open at a time, so that no worker waits for the end of one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safa.checkpoint import DEFAULT, Checkpoint, load_checkpoint
from safa.cluster.open_job import ClusterRequest, OpenJob
from safa.cluster.pool import Pool, WorkerEvent, WorkerHandle, WorkerShape, joined
from safa.cluster.worker import Failed, InputMissing, Rendered
from safa.errors import SafaError
from safa.jobs.batch import BatchEvents, Files, Outcome, attempt, finished_before
from safa.jobs.pipeline import Progress
from safa.jobs.plan import PIPE, check_request, expected_frames, prepare_job
from safa.jobs.report import interrupted
from safa.options import RunOptions, UpscaleSettings
from safa.upscaler.upscaler import span_of
from safa.video.folder_source import open_reader
from safa.video.journal import discard_checked

PLANNING = 2
"""Files that are read at a time."""

PLANNED_AHEAD = 2
"""Segments per worker that are planned before the next file is opened."""

LONG_WAIT, SHORT_WAIT = 1.0, 0.1
"""Seconds to wait for events: while all workers are busy, and otherwise."""

FINISH = "--finish instead of --cluster"
"""Advice for joining finished segments, which is done without a cluster."""


@dataclass(frozen=True)
class ClusterSettings:
    """The cluster to use.

    Attributes:
        address: "auto" (the Ray cluster of this machine, or one that is started here), "host:port" or "ray://host:port".
        shape: number of workers, and resources of each.
    """

    address: str = "auto"
    shape: WorkerShape = field(default_factory=WorkerShape)


def upscale_on_cluster(
    jobs: Sequence[Files],
    cluster: ClusterSettings | None = None,
    settings: UpscaleSettings | None = None,
    weights: str | Path | Checkpoint = DEFAULT,
    options: RunOptions | None = None,
    events: BatchEvents | None = None,
) -> list[Outcome]:
    """Upscale files on a Ray cluster; the frames equal those of ``upscale``.

    This process, the driver, reads the sources and writes the outputs. Workers need the package, and either see the
    sources and the outputs' folder by the same path, or get and send the bytes.

    Args:
        jobs: source and output of each.
        settings: as for ``upscale``, but for their weights. ``compute.memory`` limits each worker; by default it uses
            a share of its machine's memory, as of its processors.
        weights: a name, a file or a loaded network.
        options: with ``is_batch``, finished files are skipped, folders are made, and errors are outcomes; otherwise
            errors are raised, if possible before the cluster is joined.
        events: ``on_start`` and ``on_outcome`` are called before and after each file (only the latter for a skipped
            one), ``on_progress`` after every segment with the figures of all files, ``on_warning`` for everything that
            cannot be carried over or is tried again.

    Returns:
        An outcome per job, in their order.

    Raises:
        ClusterError: Ray is missing, no cluster answers, or it has no room.
        SafaError: unusable weights; if it is not a batch, what is wrong with a file.
        KeyboardInterrupt: after finished segments are safe.
    """
    cluster, settings = cluster or ClusterSettings(), settings or UpscaleSettings()
    options, events = options or RunOptions(), events or BatchEvents()
    checkpoint = weights if isinstance(weights, Checkpoint) else load_checkpoint(weights)
    request = ClusterRequest(settings, checkpoint.sha256, options, span_of(checkpoint.config))
    outcomes: dict[Files, Outcome] = {}
    for job in jobs if options.is_batch and not options.overwrite else ():
        outcome = finished_before(*job, settings, request.weights)
        if outcome is not None:
            if not outcome.failed:
                discard_checked(job[1])
            outcomes[job] = outcome
            if events.on_outcome is not None:
                events.on_outcome(outcome)
    open_jobs, expected = _longest_first([job for job in jobs if job not in outcomes], request)
    if open_jobs:
        with joined(cluster.address) as (ray, can_grow):
            pool = Pool(ray, cluster.shape, checkpoint, settings.compute, can_grow)
            if not pool.capacity() and events.on_warning is not None:
                events.on_warning(f"{pool.no_room()}; waiting for one that joins it.")
            try:
                made = Scheduler(pool, request, events).run(open_jobs, expected)
            finally:
                pool.stop()
        outcomes |= dict(zip(open_jobs, made, strict=True))
    return [outcomes[job] for job in jobs]


def _longest_first(jobs: Sequence[Files], request: ClusterRequest) -> tuple[list[Files], dict[Path, int]]:
    """Return the jobs by falling cost, so that long ones are not started last, and their expected frames by output."""
    settings, options, costs, expected = request.settings, request.options, {}, {}
    for source, output in jobs:
        try:
            if PIPE in (source, output):
                raise SafaError("A pipe cannot be shared with a cluster; give files, or leave out --cluster.")
            if not options.is_batch:
                check_request(source, output, settings, options.overwrite)
            with open_reader(source, settings.reading) as reader:
                if not options.is_batch:
                    prepare_job(reader, source, output, settings, settings.compute.memory)
                expected[output] = expected_frames(reader, settings) or 0
                costs[output] = expected[output] * reader.info.width * reader.info.height
        except SafaError:
            if not options.is_batch:
                raise
            costs[output] = 0  # the error is reported when the file is opened
    return sorted(jobs, key=lambda job: -costs[job[1]]), expected


class WorkerPool(Protocol):
    """The part of ``Pool`` that the scheduler uses."""

    facts: dict[str, Any] | None

    @property
    def size(self) -> int: ...
    def idle(self) -> list[WorkerHandle]: ...
    def put(self, value: Any) -> Any: ...
    def give(self, member: WorkerHandle, work: Any, job: Any, plan: Any) -> None: ...
    def ship(self, member: WorkerHandle, source: Any) -> bool: ...
    def shipment_error(self, member: WorkerHandle, source: Any) -> str: ...
    def wait(self, seconds: float) -> list[WorkerEvent]: ...


class Scheduler:
    """All files of one call."""

    def __init__(self, workers: WorkerPool, request: ClusterRequest, events: BatchEvents) -> None:
        self._workers = workers
        self._request = request
        self._events = events
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._waiting: list[Files] = []  # not opened yet
        self._open: list[OpenJob] = []  # opened, not yet settled
        self._finishing: dict[Future[Outcome], OpenJob] = {}
        self._outcomes: dict[Path, Outcome] = {}  # by output
        self._expected: dict[Path, int] = {}  # by output
        self._frames: dict[Path, tuple[int, int]] = {}  # by output: (safe, of these from an earlier run)

    def run(self, jobs: Sequence[Files], expected: dict[Path, int]) -> list[Outcome]:
        """Do the jobs in this order.

        Args:
            expected: output frames by output, as far as known.
        """
        self._waiting, self._expected = list(jobs), dict(expected)
        planning, finishing = ThreadPoolExecutor(PLANNING, "planning"), ThreadPoolExecutor(1, "finishing")
        try:
            while self._waiting or self._open or self._finishing:
                self._open_files(planning)
                self._hand_out()
                can_continue = self._workers.idle() or self._finishing
                for event in self._workers.wait(SHORT_WAIT if can_continue else LONG_WAIT):
                    self._handle(event)
                self._settle(finishing)
        except KeyboardInterrupt as stop:
            raise self._interrupted() or stop from None
        finally:
            self._stop.set()
            for executor in (planning, finishing):
                executor.shutdown(cancel_futures=True)
            for job in self._open:
                job.release()
        return [self._outcomes[output] for _, output in jobs]

    def _open_files(self, planning: ThreadPoolExecutor) -> None:
        """Begin to read the next files if the workers will soon be idle."""
        facts = self._workers.facts
        if facts is None:
            return
        while self._waiting:
            reading = sum(not job.is_planned for job in self._open)
            ready = sum(len(job.ready) for job in self._open)
            if reading >= PLANNING or ready >= PLANNED_AHEAD * self._workers.size:
                return
            source, output = self._waiting.pop(0)
            if self._events.on_start is not None:
                self._events.on_start(source, output)
            job = OpenJob(source, output, self._request)
            self._open.append(job)
            planning.submit(job.plan, facts["engine"], self._stop)

    def _hand_out(self) -> None:
        for member in self._workers.idle():
            for job in self._open:
                plan = job.next_segment()
                if plan is not None:
                    if job.reference is None:
                        job.reference = self._workers.put(job.context)
                        self._warn(*job.warnings)
                    self._workers.give(member, (job, plan), job.reference, plan)
                    break

    def _handle(self, event: WorkerEvent) -> None:
        job, plan = event.work
        warning = ""
        match event.result:
            case Rendered() as segment:
                job.accept(segment)
                self._report_progress()
            case InputMissing() if self._workers.ship(event.member, job.context.source):
                job.put_back(plan)
            case InputMissing():
                reason = self._workers.shipment_error(event.member, job.context.source)
                text = f"{job.source} cannot be copied to {event.member.node}" + (f" ({reason})" if reason else "")
                warning = job.failed(plan, Failed(plan.number, text))
            case Failed() as failure:
                warning = job.failed(plan, failure)
            case None:
                warning = job.lost(plan, event.member.node, event.loss)
        if warning:
            self._warn(warning)

    def _settle(self, finishing: ThreadPoolExecutor) -> None:
        """Join complete outputs, in a thread if other files are still being rendered."""
        for job in [job for job in self._open if job.is_settled]:
            if self._waiting or len(self._open) > 1:
                self._finishing[finishing.submit(_finish, job)] = job
                self._open.remove(job)
            else:
                outcome = _finish(job)  # in the main thread, which Ctrl-C interrupts
                self._open.remove(job)
                self._conclude(outcome)
        for future in [future for future in self._finishing if future.done()]:
            del self._finishing[future]
            self._conclude(future.result())

    def _conclude(self, outcome: Outcome) -> None:
        if outcome.error is not None and not self._request.options.is_batch:
            raise outcome.error
        self._outcomes[outcome.output] = outcome
        if self._events.on_outcome is not None:
            self._events.on_outcome(outcome)

    def _warn(self, *warnings: str) -> None:
        for warning in warnings:
            if self._events.on_warning is not None:
                self._events.on_warning(warning)

    def _report_progress(self) -> None:
        if self._events.on_progress is None:
            return
        for job in self._open:
            self._frames[job.output] = job.done, job.run.resumed
            if job.is_planned and job.expected is not None:
                self._expected[job.output] = job.expected
        done = sum(safe for safe, _ in self._frames.values())
        resumed = sum(kept for _, kept in self._frames.values())
        total = sum(self._expected.values()) or None
        self._events.on_progress(Progress.measure(done, total, resumed, self._began))

    def _interrupted(self) -> KeyboardInterrupt | None:
        """Return the interrupt that says what is kept of all unfinished files."""
        kept = [job.journal for job in self._open if job.journal is not None]
        if len(kept) < 2:
            return interrupted(kept[0], FINISH) if kept else None
        frames = sum(journal.frames for journal in kept)
        begun = sum(journal.has(0) for journal in kept)
        watch = f", and {FINISH} joins those of {begun} of them into files to watch meanwhile" if begun else ""
        return KeyboardInterrupt(
            f"{frames} finished frames of {len(kept)} files are kept; the same command continues from there{watch}"
        )


def _finish(job: OpenJob) -> Outcome:
    try:
        return attempt(job.source, job.output, lambda source, output: job.finish())
    finally:
        job.release()
