"""The jobs of a server, kept in a folder so that they survive a restart.

    <id>/job.json      what was asked for, by whom, and how far it is
    <id>/input*        what was uploaded, under fixed names
    <id>/result*       what came out; the work folder of an unfinished video beside it

Names of uploaded files are for display only; paths are never made from them.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from safa.errors import OutputError, SafaError
from safa.video.files import FolderLock, write_json
from safa.web.job_record import CANCELLED, DRAFT, ENDED, FAILED, QUEUED, RUNNING, WebJob, read_job

# Uploads that were never started are kept this long, in seconds.
DRAFT_AGE = 3600.0
# Starts of a job that ended with the server and left nothing more to go on from, after which it is given up.
MOST_ATTEMPTS = 3
# Jobs of one browser that may wait or run at a time.
MOST_WAITING = 20
# Uploads of one browser that are not started: the page only shows the newest, so older ones are deleted.
MOST_DRAFTS = 5


_log = logging.getLogger("safa.web")


class JobStore:
    """All jobs below ``folder``; safe to use from several threads, by one process at a time.

    Args:
        folder: made if it is not there.
        keep: seconds after which an ended job is deleted with everything that belongs to it.

    Raises:
        SafaError: another server uses the folder, or it cannot be made.
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
            if job is not None:
                self._jobs[job.id] = job
                if job.state == RUNNING:  # the server was stopped; its finished segments are still there
                    self._resume(job)

    def _resume(self, job: WebJob) -> None:
        if job.attempts < MOST_ATTEMPTS:
            self.change(job, state=QUEUED)
            return
        error = f"The server stopped {job.attempts} times at this job; its frames may be too large for this machine."
        self.change(job, state=FAILED, error=error, attempts=0, ended=time.time())

    def release(self) -> None:
        """Unlock the folder for another server."""
        self._lock.release()

    def place(self, job: WebJob) -> Path:
        """The job's own folder."""
        return self.folder / job.id

    def input_of(self, job: WebJob, number: int) -> Path:
        """Where an upload lies, counted from 1."""
        return self.place(job) / ("input" if number == 1 else f"input{number}")

    def free_bytes(self) -> int:
        """Room on the disk without what uploads that are arriving will still take."""
        with self._changed:
            return shutil.disk_usage(self.folder).free - sum(job.bytes_to_come for job in self._jobs.values())

    def draft(self, owner: str) -> WebJob:
        """A new job, to be filled with uploads; older drafts of the owner are deleted.

        Raises:
            SafaError: too many uploads are arriving.
            OSError: its folder cannot be made.
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
            job = WebJob(secrets.token_hex(16), owner, created=time.time())
            self.place(job).mkdir(mode=0o700)
            self._jobs[job.id] = job
            self.change(job)
        return job

    def get(self, owner: str, identifier: object) -> WebJob | None:
        """The job if there is one of that id and it belongs to ``owner``."""
        if not isinstance(identifier, str) or not re.fullmatch("[0-9a-f]{32}", identifier):
            return None
        job = self._jobs.get(identifier)
        return job if job is not None and owner and secrets.compare_digest(job.owner, owner) else None

    def of(self, owner: str) -> list[WebJob]:
        """The owner's jobs without drafts, the newest first."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.owner == owner and job.state != DRAFT]
        return sorted(jobs, key=lambda job: -job.created)

    def drafts_of(self, owner: str) -> list[WebJob]:
        """Uploads that were looked at and not started, the newest first."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.owner == owner and job.state == DRAFT and job.facts]
        return sorted(jobs, key=lambda job: -job.created)

    def ahead(self, job: WebJob) -> list[WebJob]:
        """Running jobs, and waiting ones that come before this one, of all owners."""
        with self._changed:
            return [
                other
                for other in self._jobs.values()
                if other.is_trial == job.is_trial
                and (other.state == RUNNING or (other.state == QUEUED and _turn(other) < _turn(job)))
            ]

    def change(self, job: WebJob, **values: Any) -> None:
        """Set attributes and write them down, unless the disk is full: then they hold until the server ends."""
        with self._changed:
            for name, value in values.items():
                setattr(job, name, value)
            if job.id in self._jobs:
                try:
                    write_json(self.place(job) / "job.json", job.to_dict())
                except OSError:
                    _log.exception("The record of job %s could not be written.", job.id)
            self._changed.notify_all()

    def queue(self, job: WebJob, settings: dict[str, Any]) -> None:
        """Start a draft. Raises SafaError where too many of the owner's jobs are waiting."""
        with self._changed:
            if job.state == DRAFT:
                self._check_room(job.owner)
                if job.is_arriving:
                    raise SafaError("A file of this job is still arriving; wait for it.")
                self.change(job, settings=settings, state=QUEUED, created=time.time())

    def try_out(self, draft: WebJob, settings: dict[str, Any]) -> WebJob:
        """Queue a trial of an upload, which stays a draft.

        Raises:
            SafaError: too many of the owner's jobs are waiting, or the disk is full.
        """
        with self._changed:
            self._check_room(draft.owner)
            job = WebJob(secrets.token_hex(16), draft.owner, draft.kind, list(draft.names), dict(draft.facts), settings)
            job.is_trial, job.state, job.created = True, QUEUED, time.time()
            try:
                self.place(job).mkdir(mode=0o700)
                _link(self.input_of(draft, 1), self.input_of(job, 1))
            except OSError:
                shutil.rmtree(self.place(job), ignore_errors=True)
                raise SafaError("This server's disk is full; try again when older jobs have been deleted.") from None
            self._jobs[job.id] = job
            self.change(job)
        return job

    def again(self, job: WebJob) -> None:
        """Queue a failed or cancelled job again; a video goes on where it was. Raises SafaError as ``queue`` does."""
        fresh = {"error": "", "stop_asked": False, "progress": None, "attempts": 0, "ended": 0.0}
        with self._changed:
            if job.state in (FAILED, CANCELLED):
                self._check_room(job.owner)
                self.change(job, state=QUEUED, created=time.time(), **fresh)

    def _check_room(self, owner: str) -> None:
        if sum(job.state in (QUEUED, RUNNING) for job in self.of(owner)) >= MOST_WAITING:
            raise SafaError(f"{MOST_WAITING} of your jobs are waiting already; start this one when some are done.")

    def cancel(self, job: WebJob) -> None:
        """Stop a job: at once if it waits, after the frame being made if it runs."""
        with self._changed:
            if job.state == QUEUED:
                self.change(job, state=CANCELLED, ended=time.time())
            elif job.state == RUNNING:
                job.stop_asked = True

    def claim(self, patience: float, trials: bool = False) -> WebJob | None:
        """The job whose turn it is, now running; None if none comes within ``patience`` seconds. Trials are given only
        to those who ask for ``trials``.
        """
        with self._changed:
            waiting = [job for job in self._jobs.values() if job.state == QUEUED and job.is_trial == trials]
            if not waiting:
                self._changed.wait(patience)
                return None
            job = min(waiting, key=_turn)
            self.change(job, state=RUNNING, stop_asked=False, progress=None, attempts=job.attempts + 1)
            return job

    def remove(self, job: WebJob) -> None:
        """Forget a job that is not running and delete its folder."""
        with self._changed:
            if job.state != RUNNING and self._jobs.pop(job.id, None) is not None:
                shutil.rmtree(self.place(job), ignore_errors=True)

    def sweep(self) -> None:
        """Delete what has been kept long enough, and remains of folders without a record."""
        now = time.time()
        with self._changed:
            for job in list(self._jobs.values()):
                age = now - (job.ended if job.state in ENDED else job.created)
                if job.is_arriving:  # however slowly
                    continue
                if (job.state in ENDED and age > self.keep) or (job.state == DRAFT and age > DRAFT_AGE):
                    self.remove(job)
            for path in self.folder.iterdir():
                ours = re.fullmatch("[0-9a-f]{32}", path.name) and path.is_dir() and path.name not in self._jobs
                if ours and now - path.stat().st_mtime > DRAFT_AGE:
                    shutil.rmtree(path, ignore_errors=True)


def _turn(job: WebJob) -> tuple[int, float, str]:
    """Order in which jobs are done: the longest waiting first, but last those with which the server ended."""
    return job.attempts, job.created, job.id


def _link(source: Path, target: Path) -> None:
    """The same file under another name, or a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
