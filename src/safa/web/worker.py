"""Threads that do the jobs, a few at a time (usually one), and measure how fast they are."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from safa.errors import JournalMismatch, SafaError
from safa.jobs.job import is_finished
from safa.jobs.pipeline import Progress
from safa.jobs.upscale import upscale
from safa.jobs.weights import Networks
from safa.upscaler.upscaler import Upscaler, load
from safa.video.files import write_json
from safa.video.read.reader import VideoReader
from safa.video.write.journal import kept_segments
from safa.web.choices import FORMATS, named_weights, output_frames, output_megapixels, upscale_settings
from safa.web.job_record import CANCELLED, DONE, FAILED, WebJob
from safa.web.job_store import JobStore
from safa.web.stills import make_between, save_stills
from safa.web.trial import do_trial

SWEEP_SECONDS = 60.0
# Input size and output frames of the measurement that the first estimate is made from.
TRIAL = (90, 160), 4

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

    def note(self, weights: str, seconds: float, megapixels: float) -> None:
        """Remember a measurement; later ones count for more."""
        if megapixels <= 0:
            return
        with self._lock:
            before = self._seconds.get(weights, seconds / megapixels)
            self._seconds[weights] = 0.3 * before + 0.7 * seconds / megapixels
            with contextlib.suppress(OSError):  # a full disk: it will be measured again
                write_json(self._file, self._seconds)

    def seconds(self, weights: str, megapixels: float) -> float | None:
        """How long that much will take, or None if nothing is known yet."""
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
        self._threads = [threading.Thread(target=self._work, args=(k,), daemon=True) for k in range(count)]
        self._threads.append(threading.Thread(target=self._try, daemon=True))
        self._threads.append(threading.Thread(target=self._sweep, daemon=True))

    def start(self) -> None:
        """Begin; interrupted jobs go on."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Stop every job after its current frame; its finished segments stay for the next start."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout)

    def seconds_left(self, job: WebJob) -> float | None:
        """Until the job is done, without those before it; None while nothing is known."""
        if job.is_trial:
            return None
        if job.progress is not None and job.progress.seconds_left is not None:
            return float(job.progress.seconds_left)
        return self.speeds.seconds(job.settings["weights"], output_megapixels(job.kind, job.facts, job.settings))

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
            job = self.store.claim(patience=0.5)
            if job is not None:
                self._do(job, loaded)

    def _try(self) -> None:
        """Trials have a thread of their own, so that they do not wait for long jobs."""
        while not self._stop.is_set():
            job = self.store.claim(patience=0.5, trials=True)
            if job is not None:
                self._do(job, {})

    def _measure(self, loaded: dict[str, Upscaler]) -> None:
        name = next(iter(self.weights))
        try:
            upscaler = self._upscaler({"weights": name}, self.store.folder, loaded)
        except SafaError:
            return  # the first job will report the error
        size, count = TRIAL
        frames = [np.random.default_rng(k).integers(0, 256, (*size, 3), np.uint8) for k in range(2)]
        upscaler.between(frames[0], frames[1], [0.5])  # the first time is slower
        began = time.perf_counter()
        upscaler.between(frames[0], frames[1], [k / count for k in range(count)])
        self.speeds.note(name, time.perf_counter() - began, count * size[0] * size[1] * 16 / 1e6)

    def _upscaler(self, settings: Mapping[str, Any], source: Path, loaded: dict[str, Upscaler]) -> Upscaler:
        name = settings["weights"]
        if name not in self.weights:
            raise SafaError(f"The weights {name} are no longer offered here; start a new job.")
        name = Networks(*named_weights(self.weights[name], settings)).name_for(source)
        if name not in loaded:
            loaded.clear()  # one network in memory at a time
            loaded[name] = load(name, **self.computing)  # type: ignore[arg-type]
        return loaded[name]

    def _do(self, job: WebJob, loaded: dict[str, Upscaler]) -> None:
        place, began = self.store.place(job), time.perf_counter()
        kept = _kept(job, place)

        def tell(progress: Progress) -> None:
            nonlocal kept
            job.progress = progress
            if job.attempts:
                before, kept = kept, _kept(job, place)
                if kept > before:
                    self.store.change(job, attempts=0)
            if job.stop_asked or self._stop.is_set():
                raise Stopped

        def leave(state: str, **values: object) -> None:
            self.store.change(job, state=state, ended=time.time(), progress=None, **values)

        try:
            if job.is_trial:
                made = do_trial(job, place, self.weights, self.computing, tell)
                leave(DONE, result={**made, "seconds": round(time.perf_counter() - began, 1)})
                return
            source = place / "input" if job.kind == "video" else place
            upscaler = self._upscaler(job.settings, source, loaded)
            if job.kind == "video":
                result = _do_video(job, place, upscaler, tell)
            else:
                count = output_frames(job.kind, job.facts, job.settings)
                result = make_between(place, job.facts["count"], count, upscaler, tell)
            seconds = time.perf_counter() - began
            if result.pop("resumed") == 0:
                work = output_megapixels(job.kind, job.facts, job.settings)
                self.speeds.note(job.settings["weights"], seconds, work)
            leave(DONE, result={**result, "seconds": round(seconds, 1)})
        except Stopped:
            if job.stop_asked:
                leave(CANCELLED)
            else:  # the server ends, but not because of this job
                self.store.change(job, attempts=max(0, job.attempts - 1))
        except SafaError as error:
            leave(FAILED, error=_shown_text(str(error), job, place))
        except Exception as error:
            _log.exception("Job %s failed.", job.id)
            leave(FAILED, error=f"An unexpected error occurred ({type(error).__name__}); the server's log says more.")


def _kept(job: WebJob, place: Path) -> int:
    """How many parts of its result a job that is started again would find: segments of a video, or pictures."""
    if job.is_trial:
        return 0
    if job.kind == "video":
        return kept_segments(_output(job, place))
    return sum(1 for _ in (place / "pictures").glob("*.png"))


def _output(job: WebJob, place: Path) -> Path:
    return place / f"result{FORMATS[job.settings['format']][1]}"


def _do_video(job: WebJob, place: Path, upscaler: Upscaler, tell: Callable[[Progress], None]) -> dict[str, Any]:
    """Make the result beside the input, or only look at it where it was finished before the server ended."""
    source, output = place / "input", _output(job, place)
    settings = upscale_settings(job.settings)
    resumed = 0
    if is_finished(output):
        resumed = 1
    else:
        warnings: list[str] = []
        options: dict[str, Any] = {"settings": settings, "upscaler": upscaler, "overwrite": True}
        options |= {"on_progress": tell, "on_warning": warnings.append}
        try:
            report = upscale(source, output, **options)
        except JournalMismatch:  # the weights or the program have changed since; frames of both must not be mixed
            warnings.clear()
            report = upscale(source, output, restart=True, **options)
        if not report.verification.ok:
            raise SafaError(f"The result failed its check: {'; '.join(report.verification.failures())}")
        job.warnings = [_shown_text(text, job, place) for text in (*warnings, *report.problems)]
        resumed = report.resumed_frames
    with VideoReader(output) as reader:
        info = reader.info
    save_stills(source, output, settings.slow, place)
    width, height = info.displayed_size
    return {
        "file": output.name,
        "width": width,
        "height": height,
        "frames": info.frames or output_frames(job.kind, job.facts, job.settings),
        "rate": f"{float(settings.output_rate(Fraction(job.facts['rate']))):.4g}",
        "bytes": output.stat().st_size,
        "resumed": resumed,
    }


def _shown_text(text: str, job: WebJob, place: Path) -> str:
    """The sentence with the uploaded file's name instead of paths on this server."""
    name = job.names[0] if job.names else "the upload"
    text = text.replace(str(place / "input"), name).replace(str(place), "this job")
    return text[:1].upper() + text[1:]
