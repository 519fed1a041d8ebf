"""Threads that run the jobs, a few at a time (usually one), and measure how fast they are."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from safa.errors import SafaError
from safa.files import write_json
from safa.jobs.pipeline import Progress
from safa.jobs.weights_selection import Networks
from safa.options import WeightsSpec
from safa.upscaler.upscaler import Upscaler, load
from safa.web.jobs import CANCELLED, DONE, FAILED, JobStore, WebJob
from safa.web.options import Options, ResultPlan
from safa.web.results import kept_parts, make_between, make_trial, make_video, without_paths

SWEEP_SECONDS = 60.0
# Input size and output frames of the measurement that the first estimate is made from.
MEASURED = (90, 160), 4

_log = logging.getLogger("safa.web")


class Stopped(Exception):
    """The job was cancelled or the server ends."""


class Speeds:
    """Seconds of work per output megapixel of each network on this machine, measured and remembered."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        try:
            self._seconds = {str(name): float(value) for name, value in json.loads(file.read_text()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._seconds = {}

    def record(self, weights: str, seconds: float, megapixels: float) -> None:
        """Store a measurement; later ones count for more."""
        if megapixels <= 0:
            return
        with self._lock:
            before = self._seconds.get(weights, seconds / megapixels)
            self._seconds[weights] = 0.3 * before + 0.7 * seconds / megapixels
            with contextlib.suppress(OSError):  # a full disk: it will be measured again
                write_json(self._file, self._seconds)

    def seconds(self, weights: str, megapixels: float) -> float | None:
        """Return how long that much will take, or None if nothing is known yet."""
        per_megapixel = self._seconds.get(weights)
        return None if per_megapixel is None else per_megapixel * megapixels


class Workers:
    """``count`` threads that take jobs from the store until ``stop``.

    Args:
        weights: name on the page -> shipped name or file; the first is measured at the start.
    """

    def __init__(
        self,
        store: JobStore,
        weights: Mapping[str, str],
        count: int = 1,
        device: str = "auto",
        engine: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.store, self.weights = store, weights
        self.computing = {"device": device, "engine": engine, "precision": precision}
        self.speeds = Speeds(store.folder / "speed.json")
        self.count = count
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(count)]
        self._threads.append(threading.Thread(target=self._work_on_trials, daemon=True))
        self._threads.append(threading.Thread(target=self._sweep, daemon=True))

    def start(self) -> None:
        """Start the threads; interrupted jobs come first."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Stop every job after its current frame; its finished segments stay for the next start."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def seconds_left(self, job: WebJob) -> float | None:
        """Return the seconds until the job is done, without those before it; None while nothing is known."""
        if job.is_trial:
            return None
        if job.progress is not None and job.progress.seconds_left is not None:
            return float(job.progress.seconds_left)
        return self.seconds_for(job.plan)

    def seconds_for(self, plan: ResultPlan) -> float | None:
        """Return the seconds of a whole job, or None if nothing is known yet."""
        return self.speeds.seconds(plan.options.weights, plan.megapixels)

    def seconds_before(self, job: WebJob) -> float:
        """Return the seconds until the jobs ahead are done."""
        return sum(self.seconds_left(other) or 0 for other in self.store.ahead(job)) / self.count

    def _sweep(self) -> None:
        while True:
            try:
                self.store.sweep()
            except OSError:
                _log.exception("Old jobs could not be deleted.")
            if self._stop.wait(SWEEP_SECONDS):
                return

    def _work(self, number: int) -> None:
        loaded: dict[str, Upscaler] = {}
        if number == 0 and self.speeds.seconds(next(iter(self.weights)), 1) is None:
            self._measure(loaded)
        while not self._stop.is_set():
            job = self.store.claim(timeout=0.5)
            if job is not None:
                self._run(job, loaded)

    def _work_on_trials(self) -> None:
        """Run trials, in a thread of their own so that they do not wait for long jobs."""
        while not self._stop.is_set():
            job = self.store.claim(timeout=0.5, trials=True)
            if job is not None:
                self._run(job, {})

    def _measure(self, loaded: dict[str, Upscaler]) -> None:
        name = next(iter(self.weights))
        try:
            upscaler = self._upscaler(Options(name), self.store.folder, loaded)
        except SafaError:
            return  # the first job will report the error
        size, count = MEASURED
        frames = [np.random.default_rng(k).integers(0, 256, (*size, 3), np.uint8) for k in range(2)]
        upscaler.between(frames[0], frames[1], [0.5])  # the first time is slower
        began = time.perf_counter()
        upscaler.between(frames[0], frames[1], [k / count for k in range(count)])
        self.speeds.record(name, time.perf_counter() - began, count * size[0] * size[1] * 16 / 1e6)

    def _upscaler(self, options: Options, source: Path, loaded: dict[str, Upscaler]) -> Upscaler:
        name = options.weights
        if name not in self.weights:
            raise SafaError(f"The weights {name} are no longer offered here; start a new job.")
        name = Networks(WeightsSpec(*options.weights_and_detail(self.weights[name]))).name_for(source)
        if name not in loaded:
            loaded.clear()  # one network in memory at a time
            loaded[name] = load(name, **self.computing)  # type: ignore[arg-type]
        return loaded[name]

    def _run(self, job: WebJob, loaded: dict[str, Upscaler]) -> None:
        folder, began = self.store.folder_of(job), time.perf_counter()
        kept = kept_parts(job, folder)

        def on_progress(progress: Progress) -> None:
            nonlocal kept
            job.progress = progress
            if job.attempts:
                before, kept = kept, kept_parts(job, folder)
                if kept > before:
                    self.store.change(job, attempts=0)
            if job.stop_requested or self._stop.is_set():
                raise Stopped

        def end(state: str, **values: object) -> None:
            self.store.change(job, state=state, ended=time.time(), progress=None, **values)

        try:
            if job.is_trial:
                result = make_trial(job, folder, self.weights, self.computing, on_progress)
                end(DONE, result={**result, "seconds": round(time.perf_counter() - began, 1)})
                return
            upscaler = self._upscaler(job.options, folder / "input" if job.kind == "video" else folder, loaded)
            if job.kind == "video":
                result = make_video(job, folder, upscaler, on_progress)
            else:
                result = make_between(folder, job.facts["count"], job.plan.frames, upscaler, on_progress)
            seconds = time.perf_counter() - began
            if result.pop("resumed") == 0:
                self.speeds.record(job.options.weights, seconds, job.plan.megapixels)
            end(DONE, result={**result, "seconds": round(seconds, 1)})
        except Stopped:
            if job.stop_requested:
                end(CANCELLED)
            else:  # the server ends, but not because of this job
                self.store.change(job, attempts=max(0, job.attempts - 1))
        except SafaError as error:
            end(FAILED, error=without_paths(str(error), job, folder))
        except Exception as error:
            _log.exception("Job %s failed.", job.id)
            end(FAILED, error=f"An unexpected error occurred ({type(error).__name__}); the server's log says more.")
