"""Several files, one after the other: finished ones are skipped, and one failure does not stop the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from safa.errors import OutputError, SafaError
from safa.jobs.estimate import Forecast, forecast
from safa.jobs.plan import request_of
from safa.jobs.report import RECORDS, Report, has_kept_work, has_records, join_so_far, made_from, record_finished
from safa.jobs.upscale import JobEvents, run_job
from safa.jobs.weights_selection import Networks
from safa.options import RunOptions, UpscaleSettings
from safa.video.codecs import CONTAINERS, choose_codec
from safa.video.containers import is_own_result, reason_against
from safa.video.files import is_numbered
from safa.video.folder_source import pictures_of
from safa.video.journal import WORK_SUFFIX, discard_checked, is_published

MOST_NAMES = 8
"""Most files that a sentence about skipped files names."""

OWN_RESULT = "made by safa; name them to upscale them again"

KEPT_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".gif"}
"""Containers that an output shares with its source; of every other source it is an MP4."""

Files = tuple[Path, Path]
"""Source and output of a job."""


@dataclass(frozen=True)
class Outcome:
    """The end of one job of several.

    Attributes:
        source, output: of the job.
        report: of a job that was done; None if it failed or was finished before.
        error: why it failed.
        forecast: of a job that was only estimated.
    """

    source: Path
    output: Path
    report: Report | None = None
    error: SafaError | None = None
    forecast: Forecast | None = None

    @property
    def failed(self) -> bool:
        """Return whether there is an error, or the output failed its check."""
        return self.error is not None or (self.report is not None and not self.report.verification.ok)


@dataclass(frozen=True)
class BatchEvents(JobEvents):
    """Functions that a batch calls before and after each file; a skipped file has an outcome only."""

    on_start: Callable[[Path, Path], None] | None = None
    on_outcome: Callable[[Outcome], None] | None = None


def upscale_many(
    jobs: Sequence[Files],
    settings: UpscaleSettings,
    networks: Networks,
    options: RunOptions | None = None,
    events: BatchEvents | None = None,
) -> list[Outcome]:
    """Do all jobs of ``plan_batch``.

    Args:
        options: by default a batch, in which finished files are skipped and errors are outcomes.

    Raises:
        SafaError: weights that cannot be loaded, or any error if it is not a batch.
    """
    options, events = options or RunOptions(is_batch=True), events or BatchEvents()

    def work(source: Path, output: Path) -> Outcome:
        if not options.is_batch:
            return Outcome(source, output, run_job(source, output, settings, networks, options, events))

        def keep_record(path: Path) -> None:
            weights = networks.for_source(source).checkpoint.sha256
            record_finished(path, request_of(source, settings, weights))

        output.parent.mkdir(parents=True, exist_ok=True)
        recorded = replace(events, on_checked=keep_record)
        return Outcome(source, output, run_job(source, output, settings, networks, options, recorded))

    skip_finished = _skipping(settings, networks, options)

    def skip(source: Path, output: Path) -> Outcome | None:
        outcome = skip_finished(source, output)
        if outcome is not None and not outcome.failed:
            discard_checked(output)
        return outcome

    return _each_job(jobs, work, skip, options, events)


def forecast_many(
    jobs: Sequence[Files],
    settings: UpscaleSettings,
    networks: Networks,
    options: RunOptions | None = None,
    events: BatchEvents | None = None,
) -> list[Outcome]:
    """Estimate all jobs without making anything; arguments and errors are those of ``upscale_many``."""
    options, events = options or RunOptions(is_batch=True), events or BatchEvents()

    def work(source: Path, output: Path) -> Outcome:
        upscaler = networks.for_source(source)
        return Outcome(source, output, forecast=forecast(source, output, settings, upscaler, options))

    return _each_job(jobs, work, _skipping(settings, networks, options), options, events)


def join_many(
    jobs: Sequence[Files],
    settings: UpscaleSettings,
    networks: Networks,
    options: RunOptions | None = None,
    events: BatchEvents | None = None,
) -> list[Outcome]:
    """Join the finished segments of stopped jobs; arguments and errors are those of ``upscale_many``.

    In a batch, jobs without any are left out.
    """
    options, events = options or RunOptions(is_batch=True), events or BatchEvents()
    kept = [(source, output) for source, output in jobs if not options.is_batch or has_kept_work(output)]
    if not kept:
        raise OutputError("no unfinished work is kept for any of these files.")

    def work(source: Path, output: Path) -> Outcome:
        return Outcome(source, output, join_so_far(source, output, settings, networks.for_source(source)))

    return _each_job(kept, work, lambda source, output: None, options, events)


def _each_job(
    jobs: Sequence[Files],
    work: Callable[[Path, Path], Outcome],
    skip: Callable[[Path, Path], Outcome | None],
    options: RunOptions,
    events: BatchEvents,
) -> list[Outcome]:
    outcomes = []
    for source, output in jobs:
        outcome = skip(source, output)
        if outcome is None:
            if events.on_start is not None:
                events.on_start(source, output)
            outcome = attempt(source, output, work) if options.is_batch else work(source, output)
        outcomes.append(outcome)
        if events.on_outcome is not None:
            events.on_outcome(outcome)
    return outcomes


def attempt(source: Path, output: Path, work: Callable[[Path, Path], Outcome]) -> Outcome:
    """Return the outcome of ``work``, or its error as the outcome."""
    try:
        return work(source, output)
    except SafaError as error:
        return Outcome(source, output, error=error)
    except OSError as error:
        return Outcome(source, output, error=OutputError(f"{output} cannot be written: {error.strerror}."))


def _skipping(
    settings: UpscaleSettings, networks: Networks, options: RunOptions
) -> Callable[[Path, Path], Outcome | None]:
    def skip(source: Path, output: Path) -> Outcome | None:
        if not options.is_batch:
            return None
        weights = networks.for_source(source).checkpoint.sha256  # raises an error for weights that cannot be loaded
        return None if options.overwrite else finished_before(source, output, settings, weights)

    return skip


def finished_before(source: Path, output: Path, settings: UpscaleSettings, weights: str) -> Outcome | None:
    """Return the outcome of a job whose output exists; None if there is none, or kept work leads to it.

    The job is finished if the output was made from the same input with the same settings and weights, and has not been
    changed since. Otherwise the outcome is an error, because the output is not what is requested and must not be
    replaced.

    Args:
        weights: their SHA-256.
    """
    if not output.exists():
        return None
    known = made_from(output)
    if known is None and is_published(output):
        return None

    def compare(source: Path, output: Path) -> Outcome:
        request = request_of(source, settings, weights)
        if known is None:
            raise OutputError(
                f"{output} exists already, and it is unknown what it was made from; choose another folder, or add "
                "--overwrite."
            )
        changed = [name for name in {**request, **known} if known.get(name) != request.get(name)]
        if changed:
            raise OutputError(
                f"{output} exists already, made with another {' and '.join(changed)}; choose another folder, or add "
                "--overwrite."
            )
        return Outcome(source, output)

    return attempt(source, output, compare)


def kept_suffix(source: Path, codec: str | None) -> str:
    """Return the suffix of an output: the source's if possible, else MP4, or Matroska if that cannot hold the codec."""
    usual = source.suffix.lower() if source.suffix.lower() in KEPT_SUFFIXES else ".mp4"
    try:
        choose_codec(Path(f"output{usual}"), codec)
    except OutputError:
        return ".mkv"
    return usual


def plan_batch(
    sources: Sequence[Path], folder: Path, codec: str | None = None, *, pictures: bool = False
) -> list[Files]:
    """Return source and output of every job.

    Folders are searched for videos, whatever their names; outputs keep their relative paths below ``folder``. The
    search leaves out ``folder`` itself, work folders and earlier results, unless a source holds nothing else.

    Args:
        codec: of the outputs; it may decide the container.
        pictures: a folder that holds pictures is one video, and is not searched.

    Raises:
        SafaError: an output would be one of the sources, two sources would become one output, or ``folder`` names a
            single output.
    """
    if str(folder) == "-" or is_numbered(folder) or (folder.suffix.lower() in CONTAINERS and not folder.is_dir()):
        raise OutputError(f"{folder} is for one video; give a folder for the outputs of several.")
    if any(str(source) == "-" for source in sources):
        raise OutputError("Standard input holds one video; give it alone.")
    jobs: list[Files] = []
    for source in sources:
        is_one = pictures and source.is_dir() and bool(pictures_of(source))
        found = _videos_below(source, folder) if source.is_dir() and not is_one else []
        if found and source.resolve() == folder.resolve():
            raise OutputError(f"{folder} is the folder of the inputs; choose another folder for the outputs.")
        for path in found or [source]:
            parent = path.relative_to(source).parent if found else Path()
            stem = path.resolve().name if path.is_dir() else path.stem  # a folder has no suffix
            jobs.append((path, folder / parent / (stem + kept_suffix(path, codec))))
    inputs = {path.resolve() for path, _ in jobs}
    owners: dict[Path, Path] = {}
    for path, output in jobs:
        if output in owners:
            raise OutputError(f"{owners[output]} and {path} would both become {output}; rename one of them.")
        if output.resolve() in inputs:
            raise OutputError(f"{output} is one of the inputs; choose another folder for the outputs.")
        owners[output] = path
    return jobs


def holds_videos(path: Path, output: Path, pictures: bool = False) -> bool:
    """Return whether ``path`` is a folder with videos in it, at any depth.

    Args:
        output: a file or a folder that does not count; neither do work folders.
        pictures: a folder that holds pictures is one video itself.
    """
    return path.is_dir() and not (pictures and pictures_of(path)) and bool(_videos_below(path, output))


def skipped_files(sources: Sequence[Path], folder: Path, *, pictures: bool = False) -> list[str]:
    """Return a sentence for each kind of file below the sources that ``plan_batch`` leaves out.

    Args:
        pictures: a folder that holds pictures is one video; other videos in it are left out.
    """
    kinds: dict[str, list[Path]] = {}
    for source in sources:
        if not source.is_dir():
            continue
        if pictures and pictures_of(source):
            beside = [path for path in source.iterdir() if path.is_file() and reason_against(path) is None]
            others = sorted(path for path in beside if path.resolve() != folder.resolve() and not is_own_result(path))
            kinds.setdefault("its folder is read as pictures", []).extend(others)
        elif taken := set(_videos_below(source, folder)):
            for path in _files_below(source, folder):
                reason = reason_against(path) or (
                    None if path in taken else "made by safa; name them to upscale them again"
                )
                if reason is not None and not path.name.startswith("."):
                    kinds.setdefault(reason, []).append(path)
    sentences = []
    for reason, paths in kinds.items():
        if not paths:
            continue
        names = ", ".join(path.name for path in paths[:MOST_NAMES])
        more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
        count = "1 file is" if len(paths) == 1 else f"{len(paths)} files are"
        sentences.append(f"{count} skipped ({reason}): {names}{more}.")
    return sentences


def _videos_below(folder: Path, output: Path) -> list[Path]:
    """Return the videos below a folder; without those that safa made, if there are others."""
    videos = [path for path in _files_below(folder, output) if reason_against(path) is None]
    return [path for path in videos if not is_own_result(path)] or videos


def _files_below(folder: Path, output: Path) -> list[Path]:
    """Return the files below a folder, without ``output`` and the results of other batches."""
    root, output = folder.resolve(), output.resolve()
    holds_results = has_records(root)  # then these results are meant as input

    def counts(path: Path) -> bool:
        if path.is_dir():
            is_own = path.name.endswith(WORK_SUFFIX) or path.name == RECORDS
            return not is_own and (holds_results or not has_records(path))
        # macOS keeps metadata in such files on file systems that have no room for it.
        return not path.name.startswith("._") and path.is_file()

    found = []
    for parent, folders, files in os.walk(root):
        paths = {name: Path(parent) / name for name in (*folders, *files)}
        counted = {name for name, path in paths.items() if path != output and counts(path)}
        folders[:] = [name for name in folders if name in counted]
        found += [folder / paths[name].relative_to(root) for name in files if name in counted]
    return sorted(found)
