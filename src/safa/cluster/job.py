"""All files of one call: opened in turn, handed out segment by segment, joined when they are complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safa.cluster.film import OpenFilm, Request
from safa.cluster.pool import WorkerEvent, WorkerHandle
from safa.cluster.worker import Failed, InputMissing, Rendered
from safa.jobs.batch import Outcome, outcome_of
from safa.jobs.job import interrupted
from safa.jobs.pipeline import Progress

# Files that are read at one time, and segments per worker that are planned before the next file is opened.
PLANNING = 2
AHEAD = 2
# Seconds to wait for events: where there is nothing else to do, and where there is.
LOOK, GLANCE = 1.0, 0.1
# What joins finished work: that is done here, without a cluster.
FINISH = "--finish instead of --cluster"


@dataclass
class Listeners:
    """Callbacks; see ``upscale_on_cluster``."""

    start: Callable[[Path, Path], None] | None = None
    outcome: Callable[[Outcome], None] | None = None
    progress: Callable[[Progress], None] | None = None
    warning: Callable[[str], None] | None = None

    def tell_outcome(self, outcome: Outcome) -> None:
        """Call ``outcome``, if it is there."""
        if self.outcome is not None:
            self.outcome(outcome)


class WorkerPool(Protocol):
    """The part of ``Pool`` that a job uses."""

    facts: dict[str, Any] | None

    @property
    def size(self) -> int: ...
    def idle(self) -> list[WorkerHandle]: ...
    def share(self, value: Any) -> Any: ...
    def give(self, member: WorkerHandle, work: Any, film: Any, plan: Any) -> None: ...
    def ship(self, member: WorkerHandle, source: Any) -> bool: ...
    def shipment_error(self, member: WorkerHandle, source: Any) -> str: ...
    def wait(self, seconds: float) -> list[WorkerEvent]: ...


class ClusterJob:
    """All files of one call."""

    def __init__(self, workers: WorkerPool, request: Request, listeners: Listeners) -> None:
        self._workers = workers
        self._request = request
        self._tell = listeners
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._waiting: list[tuple[Path, Path]] = []  # not opened yet
        self._films: list[OpenFilm] = []  # opened, not yet settled
        self._finishing: dict[Future[Outcome], OpenFilm] = {}
        self._outcomes: dict[Path, Outcome] = {}  # by output
        self._expected: dict[Path, int] = {}  # by output
        self._frames: dict[Path, tuple[int, int]] = {}  # by output: (safe, of these from an earlier run)

    def run(self, jobs: Sequence[tuple[Path, Path]], expected: dict[Path, int]) -> list[Outcome]:
        """Do the jobs, in this order; ``expected`` frames by output, as far as known."""
        self._waiting, self._expected = list(jobs), dict(expected)
        planning, finishing = ThreadPoolExecutor(PLANNING, "planning"), ThreadPoolExecutor(1, "finishing")
        try:
            while self._waiting or self._films or self._finishing:
                self._open(planning)
                self._hand_out()
                for news in self._workers.wait(GLANCE if self._workers.idle() or self._finishing else LOOK):
                    self._hear(news)
                self._settle(finishing)
        except KeyboardInterrupt as stop:
            raise self._interrupted() or stop from None
        finally:
            self._stop.set()
            for executor in (planning, finishing):
                executor.shutdown(cancel_futures=True)
            for film in self._films:
                film.release()
        return [self._outcomes[output] for _, output in jobs]

    def _open(self, planning: ThreadPoolExecutor) -> None:
        """Begin to read the next files, where the workers will soon have nothing to do."""
        facts = self._workers.facts
        if facts is None:
            return
        while self._waiting:
            reading = sum(not film.planned for film in self._films)
            ready = sum(len(film.ready) for film in self._films)
            if reading >= PLANNING or ready >= AHEAD * self._workers.size:
                return
            source, output = self._waiting.pop(0)
            if self._tell.start is not None:
                self._tell.start(source, output)
            film = OpenFilm(source, output, self._request)
            self._films.append(film)
            planning.submit(film.plan, facts["engine"], self._stop)

    def _hand_out(self) -> None:
        for member in self._workers.idle():
            for film in self._films:
                plan = film.next_segment()
                if plan is not None:
                    if film.reference is None:
                        film.reference = self._workers.share(film.shared)
                        self._warn(*film.warnings)
                    self._workers.give(member, (film, plan), film.reference, plan)
                    break

    def _hear(self, news: WorkerEvent) -> None:
        film, plan = news.work
        warning = ""
        match news.result:
            case Rendered() as segment:
                film.accept(segment)
                self._show()
            case InputMissing() if self._workers.ship(news.member, film.shared.source):
                film.retry(plan)
            case InputMissing():
                reason = self._workers.shipment_error(news.member, film.shared.source)
                told = f"{film.source} cannot be copied to {news.member.node}" + (f" ({reason})" if reason else "")
                warning = film.failed(plan, Failed(plan.number, told))
            case Failed() as failure:
                warning = film.failed(plan, failure)
            case None:
                warning = film.lost(plan, news.member.node, news.loss)
        if warning:
            self._warn(warning)

    def _settle(self, finishing: ThreadPoolExecutor) -> None:
        """Join what is complete, beside the others' rendering where there is any."""
        for film in [film for film in self._films if film.is_settled]:
            if self._waiting or len(self._films) > 1:
                self._finishing[finishing.submit(_outcome, film)] = film
                self._films.remove(film)
            else:
                outcome = _outcome(film)  # in the main thread, which Ctrl-C interrupts
                self._films.remove(film)
                self._conclude(outcome)
        for future in [future for future in self._finishing if future.done()]:
            del self._finishing[future]
            self._conclude(future.result())

    def _conclude(self, outcome: Outcome) -> None:
        if outcome.error is not None and not self._request.is_batch:
            raise outcome.error
        self._outcomes[outcome.output] = outcome
        self._tell.tell_outcome(outcome)

    def _warn(self, *warnings: str) -> None:
        for warning in warnings:
            if self._tell.warning is not None:
                self._tell.warning(warning)

    def _show(self) -> None:
        if self._tell.progress is None:
            return
        for film in self._films:
            self._frames[film.output] = film.done, film.resumed
            if film.planned and film.expected is not None:
                self._expected[film.output] = film.expected
        done = sum(safe for safe, _ in self._frames.values())
        made = done - sum(kept for _, kept in self._frames.values())
        total = sum(self._expected.values()) or None
        speed = made / max(1e-9, time.monotonic() - self._began)
        left = max(0, total - done) / speed if total and speed else None
        self._tell.progress(Progress(done, total, speed, left))

    def _interrupted(self) -> KeyboardInterrupt | None:
        """What is safe, of all files that are not finished."""
        kept = [film.journal for film in self._films if film.journal is not None]
        if len(kept) < 2:
            return interrupted(kept[0], FINISH) if kept else None
        frames = sum(journal.frames for journal in kept)
        begun = sum(journal.has(0) for journal in kept)
        watch = f", and with {FINISH} it makes of {begun} of them a film to watch meanwhile" if begun else ""
        return KeyboardInterrupt(
            f"{frames} finished frames of {len(kept)} files are kept; the same command goes on from there{watch}"
        )


def _outcome(film: OpenFilm) -> Outcome:
    try:
        return outcome_of(film.source, film.output, film.finish)
    finally:
        film.release()
