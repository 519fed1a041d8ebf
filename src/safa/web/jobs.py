"""Jobs of the page, kept in a folder so that they survive a restart of the server.

    <id>/job.json      settings, owner and state
    <id>/input*        uploads, under fixed names
    <id>/result*       results; the work folder of an unfinished video beside them

Names of uploaded files are for display only; paths are never made from them.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from safa.errors import OutputError, SafaError
from safa.files import write_json
from safa.jobs.pipeline import Progress
from safa.video.files import FolderLock
from safa.web.options import Options, ResultPlan

DRAFT, QUEUED, RUNNING, DONE, FAILED, CANCELLED = "draft", "queued", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)
# Attributes of a job that belong to a run of the server and are not written to its record.
TRANSIENT = "progress", "stop_requested", "is_arriving"

DRAFT_AGE = 3600.0
"""Seconds for which an upload that was not started is kept."""

MOST_ATTEMPTS = 3
"""Starts without a single frame after which a job is given up."""

MOST_WAITING = 20
"""Jobs of one browser that may wait or run at a time."""

MOST_DRAFTS = 5
"""Uploads of one browser that are not started. The page shows the newest; older ones are deleted."""

DISK_FULL = "This server's disk is full; try again when older jobs have been deleted."

_log = logging.getLogger("safa.web")


@dataclass
class WebJob:
    """One job. Attributes that are not in ``job.json`` are reset when the server starts."""

    id: str
    owner: str
    """Random id of the browser that created it."""
    kind: str = "video"
    """video or pictures."""
    names: list[str] = field(default_factory=list)
    """Names of the uploaded files, for display only."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Properties of the uploaded files, see ``describe_upload``; empty until all of them have arrived."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The options, as ``Options.to_dict`` returns them."""
    is_trial: bool = False
    """A second of the clip with every network, made while the upload waits for its options."""
    state: str = DRAFT
    created: float = 0.0
    ended: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    """File, size, number of frames and seconds of work."""
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    attempts: int = 0
    """Starts after which nothing was kept: a job that ends the server each time is given up."""
    progress: Progress | None = None
    stop_requested: bool = False
    is_arriving: bool = False
    """An upload is being written into its folder."""

    @property
    def options(self) -> Options:
        """Options chosen on the page."""
        return Options(**self.settings)

    @property
    def plan(self) -> ResultPlan:
        """Return the size and number of results of the upload with these options."""
        return ResultPlan(self.kind, self.facts, self.options)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON-ready values."""
        return {name: value for name, value in asdict(self).items() if name not in TRANSIENT}


def read_job(path: Path) -> WebJob | None:
    """Read a record; None for a damaged one, which ``JobStore.sweep`` deletes in time."""
    try:
        stored = json.loads(path.read_text())
        job = WebJob(**{item.name: stored[item.name] for item in fields(WebJob) if item.name in stored})
    except (OSError, ValueError, TypeError):
        return None
    return job if job.id == path.parent.name else None


class JobStore:
    """All jobs below ``folder``; safe to use from several threads, by one process at a time.

    Args:
        folder: created if it does not exist.
        keep: seconds after which an ended job is deleted with all of its files.

    Raises:
        SafaError: another server uses the folder, or it cannot be created.
    """

    def __init__(self, folder: Path, keep: float) -> None:
        self.folder, self.keep = folder, keep
        self._changed = threading.Condition(threading.RLock())
        self._jobs: dict[str, WebJob] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = FolderLock(folder)
        except OutputError:
            raise SafaError(f"Another server uses {folder}; stop it, or choose another --folder.") from None
        except OSError as error:
            raise SafaError(f"The folder {folder} cannot be used: {error.strerror}; choose another --folder.") from None
        for path in folder.glob("*/job.json"):
            job = read_job(path)
            if job is None:
                continue
            self._jobs[job.id] = job
            if job.state == DRAFT and not job.facts:  # the server was stopped before the upload was complete
                self.remove(job)
            elif job.state == RUNNING:  # the server was stopped; its finished segments are still there
                self._requeue(job)

    def _requeue(self, job: WebJob) -> None:
        if job.attempts < MOST_ATTEMPTS:
            self.change(job, state=QUEUED)
            return
        error = f"The server stopped {job.attempts} times at this job; its frames may be too large for this machine."
        self.change(job, state=FAILED, error=error, attempts=0, ended=time.time())

    def release(self) -> None:
        """Unlock the folder for another server."""
        self._lock.release()

    def folder_of(self, job: WebJob) -> Path:
        """Return the job's own folder."""
        return self.folder / job.id

    def input_of(self, job: WebJob, number: int) -> Path:
        """Return the path of the ``number``-th uploaded file, from 1."""
        return self.folder_of(job) / ("input" if number == 1 else f"input{number}")

    def draft(self, owner: str, names: list[str]) -> WebJob:
        """Create a job for files of these names, which are still to arrive.

        The owner's oldest drafts are deleted where there are more than ``MOST_DRAFTS``.

        Raises:
            SafaError: that many uploads of the owner are arriving at this moment.
            OSError: the folder cannot be written.
        """
        with self._changed:
            drafts = sorted(
                (job for job in self._jobs.values() if job.owner == owner and job.state == DRAFT),
                key=lambda job: (job.is_arriving, job.created),
            )
            for old in drafts[: max(0, len(drafts) - MOST_DRAFTS + 1)]:
                if old.is_arriving:
                    raise SafaError(f"{MOST_DRAFTS} of your uploads are arriving already; wait for one of them.")
                self.remove(old)
            job = WebJob(secrets.token_hex(16), owner, names=names, created=time.time())
            self.folder_of(job).mkdir(mode=0o700)
            self._jobs[job.id] = job
            self.change(job)
        return job

    def get(self, owner: str, identifier: str) -> WebJob | None:
        """Return the job of that id if it belongs to ``owner``."""
        if not re.fullmatch("[0-9a-f]{32}", identifier):
            return None
        job = self._jobs.get(identifier)
        return job if job is not None and owner and secrets.compare_digest(job.owner, owner) else None

    def of(self, owner: str) -> list[WebJob]:
        """Return the owner's jobs without drafts, the newest first."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.owner == owner and job.state != DRAFT]
        return sorted(jobs, key=lambda job: -job.created)

    def drafts_of(self, owner: str) -> list[WebJob]:
        """Return the owner's complete uploads that were not started, the newest first."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.owner == owner and job.state == DRAFT and job.facts]
        return sorted(jobs, key=lambda job: -job.created)

    def ahead(self, job: WebJob) -> list[WebJob]:
        """Return running jobs, and waiting ones that come before this one, of all owners; for a draft all of them."""
        with self._changed:
            return [
                other
                for other in self._jobs.values()
                if other.is_trial == job.is_trial
                and (
                    other.state == RUNNING
                    or (other.state == QUEUED and (job.state == DRAFT or _turn(other) < _turn(job)))
                )
            ]

    def contains(self, job: WebJob) -> bool:
        """Return whether the job has not been deleted."""
        return job.id in self._jobs

    def change(self, job: WebJob, **values: Any) -> None:
        """Set attributes and write the record. Where the disk is full they hold until the server ends."""
        with self._changed:
            for name, value in values.items():
                setattr(job, name, value)
            if job.id in self._jobs:
                try:
                    write_json(self.folder_of(job) / "job.json", job.to_dict())
                except OSError:
                    _log.exception("The record of job %s could not be written.", job.id)
            self._changed.notify_all()

    def begin_upload(self, job: WebJob) -> bool:
        """Mark a file of the draft as arriving; False if one is already, or if the draft is complete."""
        with self._changed:
            if job.state != DRAFT or job.facts or job.is_arriving or not self.contains(job):
                return False
            job.is_arriving = True
            self._changed.notify_all()
            return True

    def queue(self, job: WebJob, options: Options) -> None:
        """Start a draft.

        Raises:
            SafaError: too many of the owner's jobs are waiting, or the upload is incomplete.
        """
        with self._changed:
            if job.state == DRAFT:
                self._check_queue(job.owner)
                if job.is_arriving or not job.facts:
                    raise SafaError("A file of this job is still arriving; wait for it.")
                self.change(job, settings=options.to_dict(), state=QUEUED, created=time.time())

    def try_out(self, draft: WebJob, options: Options) -> WebJob:
        """Queue a trial of an upload, which stays a draft.

        Raises:
            SafaError: too many of the owner's jobs are waiting, or the disk is full.
        """
        with self._changed:
            self._check_queue(draft.owner)
            job = WebJob(secrets.token_hex(16), draft.owner, draft.kind, list(draft.names), facts=dict(draft.facts))
            job.settings, job.is_trial, job.state, job.created = options.to_dict(), True, QUEUED, time.time()
            try:
                self.folder_of(job).mkdir(mode=0o700)
                _link(self.input_of(draft, 1), self.input_of(job, 1))
            except OSError:
                shutil.rmtree(self.folder_of(job), ignore_errors=True)
                raise SafaError(DISK_FULL) from None
            self._jobs[job.id] = job
            self.change(job)
        return job

    def resume(self, job: WebJob) -> None:
        """Queue a failed or cancelled job again; a video continues where it stopped.

        Raises:
            SafaError: too many of the owner's jobs are waiting.
        """
        reset = {"error": "", "stop_requested": False, "progress": None, "attempts": 0, "ended": 0.0}
        with self._changed:
            if job.state in (FAILED, CANCELLED):
                self._check_queue(job.owner)
                self.change(job, state=QUEUED, created=time.time(), **reset)

    def _check_queue(self, owner: str) -> None:
        if sum(job.state in (QUEUED, RUNNING) for job in self.of(owner)) >= MOST_WAITING:
            raise SafaError(f"{MOST_WAITING} of your jobs are waiting already; start this one when some are done.")

    def cancel(self, job: WebJob) -> None:
        """Stop a job: at once if it waits, after the current frame if it runs."""
        with self._changed:
            if job.state == QUEUED:
                self.change(job, state=CANCELLED, ended=time.time())
            elif job.state == RUNNING:
                job.stop_requested = True

    def claim(self, timeout: float, trials: bool = False) -> WebJob | None:
        """Mark the job whose turn it is as running and return it; None if none comes within ``timeout`` seconds.

        Only trials are returned with ``trials``, and none without.
        """
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.state == QUEUED and job.is_trial == trials]
            if not waiting:
                self._changed.wait(timeout)
                return None
            job = min(waiting, key=_turn)
            self.change(job, state=RUNNING, stop_requested=False, progress=None, attempts=job.attempts + 1)
            return job

    def remove(self, job: WebJob) -> bool:
        """Delete a job with its folder; False if it is running."""
        with self._changed:
            if job.state == RUNNING:
                return False
            if self._jobs.pop(job.id, None) is not None:
                shutil.rmtree(self.folder_of(job), ignore_errors=True)
                self._changed.notify_all()
            return True

    def sweep(self) -> None:
        """Delete jobs that have been kept long enough, and folders without a record."""
        now = time.time()
        with self._changed:
            for job in list(self._jobs.values()):
                age = now - (job.ended if job.state in ENDED else job.created)
                if job.is_arriving:  # a slow upload may take longer
                    continue
                if (job.state in ENDED and age > self.keep) or (job.state == DRAFT and age > DRAFT_AGE):
                    self.remove(job)
            for path in self.folder.iterdir():
                is_lost = re.fullmatch("[0-9a-f]{32}", path.name) and path.is_dir() and path.name not in self._jobs
                if is_lost and now - path.stat().st_mtime > DRAFT_AGE:
                    shutil.rmtree(path, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _turn(job: WebJob) -> tuple[int, float, str]:
    """Sort key of waiting jobs: the longest waiting first, but last those with which the server ended."""
    return job.attempts, job.created, job.id
