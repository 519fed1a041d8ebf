"""Joins what a stopped job has finished into a file that can be watched, with the sound that belongs to it."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from safa.errors import OutputError
from safa.jobs.job import PIPE, SEGMENT_FRAMES, Report, engine_of
from safa.jobs.prepare import prepare_job
from safa.jobs.settings import UpscaleSettings
from safa.upscaler.upscaler import Upscaler
from safa.video.names import is_numbered
from safa.video.read.folder import open_reader
from safa.video.remux.mux import mux
from safa.video.verify import verify
from safa.video.write.beginning import Beginning, beginning_of
from safa.video.write.encoder import check_output
from safa.video.write.journal import JOURNAL, work_folder
from safa.video.write.segments import open_journal


def has_kept_work(output: Path) -> bool:
    """Whether work of a stopped job is kept beside the output."""
    return output != PIPE and (work_folder(output) / JOURNAL).is_file()


def join_so_far(source: Path, output: Path, settings: UpscaleSettings, upscaler: Upscaler) -> Report:
    """Join what a stopped job to ``output`` has finished from its first frame on into ``beginning_of(output)``, which
    is replaced if it was made like this before. The kept work stays: the job goes on as if nothing had happened.

    Raises:
        SafaError: nothing is kept, it was made with other settings or weights, another process works on it, or the part
            is not what it should be.
    """
    if source == PIPE:
        raise OutputError("a pipe cannot be read again, so nothing of it is kept.")
    if not has_kept_work(output):
        raise OutputError(f"no unfinished work is kept for {output}; run the command without --finish to begin it.")
    began, part = time.monotonic(), beginning_of(output)
    if is_numbered(part) and part.parent.is_dir() and any(part.parent.iterdir()):
        raise OutputError(f"{part.parent} is there already; move it away and run the same command again.")
    check_output(part, source, settings.codec)
    with open_reader(source, settings.reading) as reader:
        job = prepare_job(reader, source, output, settings, upscaler.budget.ceiling)
        fingerprint = job.fingerprint(upscaler.checkpoint.sha256, engine_of(upscaler))
    journal = open_journal(work_folder(output), job.spec, fingerprint, False, SEGMENT_FRAMES)
    try:
        beginning = Beginning(journal, job.spec.time_base, job.spec.rate)
        beginning.check_free(part)
        spec = dataclasses.replace(job.spec, path=part)
        expected = mux(beginning, spec, dataclasses.replace(job.streams, is_part=True), replace=True)
        verification = verify(part, expected)
        aside = None if verification.ok else beginning.put_aside(part)
    finally:
        journal.release()
    joined = dataclasses.replace(job, spec=spec)
    return joined.report(expected.frames, expected.frames, began, [], verification, path=aside)
