"""The end of a job: joining and checking the output, its report, and its record in a batch.

A batch keeps its records in a hidden folder beside the outputs:

    .safa-finished/<name of the output>.json     the request, and how the file looks

A record is written once the output has passed its check, before the work folder is deleted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from safa.errors import OutputError
from safa.files import write_json
from safa.jobs.plan import PIPE, Job, prepare_job
from safa.options import UpscaleSettings
from safa.upscaler.upscaler import Upscaler, engine_of
from safa.video.encoder import check_output
from safa.video.files import appearance, is_numbered
from safa.video.folder_source import open_reader
from safa.video.journal import JOURNAL, Journal, work_folder
from safa.video.mux import mux
from safa.video.partial_output import Beginning, beginning_of
from safa.video.segments import open_journal
from safa.video.verify import Verification, verify

RECORDS = ".safa-finished"
VERSION = 1


@dataclass(frozen=True)
class Report:
    """The figures of a finished job."""

    output: Path
    """The finished file; one that failed its check has another name than was requested."""
    width: int
    height: int
    frames: int
    resumed_frames: int
    """Frames kept from an earlier run."""
    seconds: float
    warnings: list[str]
    """A sentence for everything in the source that could not be carried over."""
    problems: list[str]
    """Damage found in the source."""
    verification: Verification
    retries: int = 0
    """Segments that were made again because a worker failed or was lost."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return {**vars(self), "output": str(self.output), "verification": self.verification.to_dict()}


@dataclass
class JobRun:
    """One run of a job.

    Args:
        began: time of its start (``time.monotonic``).
        resumed: output frames kept from an earlier run.
        problems: damage found in the source.
        retries: segments that were made again.
    """

    began: float = field(default_factory=time.monotonic)
    resumed: int = 0
    problems: list[str] = field(default_factory=list)
    retries: int = 0

    def report(self, job: Job, frames: int, verification: Verification, output: Path | None = None) -> Report:
        """Return the report of the job.

        Args:
            frames: output frames in all.
            output: where the output is, if not where it was requested.
        """
        return Report(
            output=output or job.spec.path,
            width=job.spec.width,
            height=job.spec.height,
            frames=frames,
            resumed_frames=self.resumed,
            seconds=time.monotonic() - self.began,
            warnings=job.warnings,
            problems=list(self.problems),
            verification=verification,
            retries=self.retries,
        )


def conclude(job: Job, journal: Journal, run: JobRun, on_checked: Callable[[Path], None] | None = None) -> Report:
    """Join the segments of a complete journal, check the output, and remove the journal if it passes.

    Args:
        on_checked: called with an output that has passed, while the journal still exists: if it fails, the next run
            of the job calls it again.
    """
    expected = mux(journal, job.spec, job.streams, job.overwrite)
    verification = verify(job.spec.path, expected)
    if not verification.ok:
        return run.report(job, expected.frames, verification, journal.put_aside(job.spec.path))
    if on_checked is not None:
        on_checked(job.spec.path)
    # Before the segments are deleted: a crash in between would have all of them made again.
    journal.record_check({"frames": expected.frames, **verification.to_dict()})
    journal.remove()
    return run.report(job, expected.frames, verification)


def concluded_before(job: Job, journal: Journal, began: float) -> Report | None:
    """Finish a run that was stopped while its journal was being removed; return None for any other."""
    found = journal.check_of(job.spec.path)
    if found is None:
        return None
    journal.remove()
    return JobRun(began, resumed=found["frames"]).report(job, found["frames"], Verification.from_dict(found))


def interrupted(journal: Journal, finish: str = "--finish") -> KeyboardInterrupt:
    """Return the interrupt that says what is kept.

    Args:
        finish: option with which the same command joins the kept segments.
    """
    if not journal.resumable:
        return KeyboardInterrupt(journal.kept())
    watch = f", and {finish} joins them into a file to watch meanwhile" if journal.has(0) else ""
    return KeyboardInterrupt(f"{journal.kept()}; the same command continues from there{watch}")


def is_finished(output: Path) -> bool:
    """Return whether the output exists and is checked; until then there is a journal beside it."""
    return output != PIPE and output.exists() and not (work_folder(output) / JOURNAL).exists()


def has_kept_work(output: Path) -> bool:
    """Return whether segments of a stopped job are kept beside the output."""
    return output != PIPE and (work_folder(output) / JOURNAL).is_file()


def join_so_far(source: Path, output: Path, settings: UpscaleSettings, upscaler: Upscaler) -> Report:
    """Join the finished segments of a stopped job into ``beginning_of(output)``.

    A file that an earlier call made there is replaced. The segments stay, and the job can continue.

    Raises:
        SafaError: nothing is kept, it was made with other settings or weights, another process is using it, or the
            file fails its check.
    """
    if source == PIPE:
        raise OutputError("a pipe cannot be read again, so nothing of it is kept.")
    if not has_kept_work(output):
        raise OutputError(f"no unfinished work is kept for {output}; run the command without --finish to begin it.")
    run, target = JobRun(), beginning_of(output)
    if is_numbered(target) and target.parent.is_dir() and any(target.parent.iterdir()):
        raise OutputError(f"{target.parent} exists already; move it away and run the same command again.")
    check_output(target, source, settings.codec)
    with open_reader(source, settings.reading) as reader:
        job = prepare_job(reader, source, output, settings, upscaler.budget.ceiling)
        fingerprint = job.fingerprint(upscaler.checkpoint.sha256, engine_of(upscaler))
    journal = open_journal(work_folder(output), job.spec, fingerprint, False, job.segment_frames)
    try:
        beginning = Beginning(journal, job.spec.time_base, job.spec.rate)
        beginning.check_free(target)
        joined = replace(job, spec=replace(job.spec, path=target), streams=replace(job.streams, is_part=True))
        expected = mux(beginning, joined.spec, joined.streams, replace=True)
        verification = verify(target, expected)
        put_aside = None if verification.ok else beginning.put_aside(target)
    finally:
        journal.release()
    run.resumed = expected.frames
    return run.report(joined, expected.frames, verification, put_aside)


def record_finished(output: Path, request: dict[str, Any]) -> None:
    """Write the record of an output that has passed its check; ``request`` is JSON-ready."""
    path = _record(output)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"version": VERSION, "request": request, "appearance": appearance(output)})


def made_from(output: Path) -> dict[str, Any] | None:
    """Return the request that ``output`` was made from; None if it is unknown or the file has been changed since."""
    try:
        stored = json.loads(_record(output).read_text())
        known = stored["version"] == VERSION and stored["appearance"] == appearance(output) != ""
        return dict(stored["request"]) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_records(folder: Path) -> bool:
    """Return whether a batch has put outputs into the folder."""
    return (folder / RECORDS).is_dir()


def _record(output: Path) -> Path:
    return output.parent / RECORDS / f"{output.name}.json"
