"""Many files, one after the other: what is finished is skipped, and one failure does not stop the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa.errors import OutputError, SafaError
from safa.jobs.finished import FOLDER as RECORDS
from safa.jobs.finished import has_records, made_from, record_finished
from safa.jobs.job import Report, request_of
from safa.jobs.settings import UpscaleSettings
from safa.jobs.upscale import upscale
from safa.upscaler.upscaler import Upscaler
from safa.video.names import is_numbered
from safa.video.read.folder import pictures_of
from safa.video.read.recognise import reason_against
from safa.video.write.codecs import CONTAINERS, choose_codec
from safa.video.write.journal import WORK_SUFFIX, discard_checked, is_published

# Files that are named in a sentence about many.
MOST_NAMES = 8
# Containers that are kept; every other input becomes an MP4.
KEPT_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".gif"}


@dataclass(frozen=True)
class Outcome:
    """The outcome of one file: a report, an error, or neither when it was finished before."""

    source: Path
    output: Path
    report: Report | None = None
    error: SafaError | None = None

    @property
    def failed(self) -> bool:
        """Whether the file is not there as it should be."""
        return self.error is not None or (self.report is not None and not self.report.verification.ok)


def outcome_of(source: Path, output: Path, work: Callable[[], Report | None]) -> Outcome:
    """Do ``work``; an error is its outcome."""
    try:
        return Outcome(source, output, work())
    except SafaError as error:
        return Outcome(source, output, error=error)
    except OSError as error:
        return Outcome(source, output, error=OutputError(f"{output} cannot be written: {error.strerror}."))


def kept_suffix(source: Path, codec: str | None) -> str:
    """Of an output beside others: the source's where that can be, else MP4; Matroska where it cannot hold the codec."""
    usual = source.suffix.lower() if source.suffix.lower() in KEPT_SUFFIXES else ".mp4"
    try:
        choose_codec(Path(f"output{usual}"), codec)
    except OutputError:
        return ".mkv"
    return usual


def plan_batch(
    sources: Sequence[Path], folder: Path, codec: str | None = None, *, pictures: bool = False
) -> list[tuple[Path, Path]]:
    """Pairs of (source, output): folders are searched for videos, whatever their names, and outputs keep their place
    below ``folder``.

    With ``pictures`` a folder that has some is one video by itself, and not searched.

    What ``folder`` holds, work folders, and folders with a batch's results below the ones given are not searched.

    Raises:
        SafaError: an output would be one of the sources, two sources would become one output, or ``folder`` is the name
            of one output.
    """
    if str(folder) == "-" or is_numbered(folder) or (folder.suffix.lower() in CONTAINERS and not folder.is_dir()):
        raise OutputError(f"{folder} is for one video; give a folder for the outputs of several.")
    if any(str(source) == "-" for source in sources):
        raise OutputError("Standard input holds one video; give it alone.")
    jobs: list[tuple[Path, Path]] = []
    for source in sources:
        is_one = pictures and source.is_dir() and bool(pictures_of(source))
        found = _videos_below(source, folder) if source.is_dir() and not is_one else []
        if found and source.resolve() == folder.resolve():
            raise OutputError(f"{folder} is the folder of the inputs; choose another folder for the outputs.")
        for path in found or [source]:
            place = path.relative_to(source).parent if found else Path()
            stem = path.resolve().name if path.is_dir() else path.stem  # a folder's name has no suffix
            jobs.append((path, folder / place / (stem + kept_suffix(path, codec))))
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
    """Whether it is a folder with videos in it, at any depth; with ``pictures`` one that has some is one by itself.

    ``output``, a file or a folder, and work folders do not count.
    """
    return path.is_dir() and not (pictures and pictures_of(path)) and bool(_videos_below(path, output))


def skipped_files(sources: Sequence[Path], folder: Path) -> list[str]:
    """Return a sentence for each kind of files in the ``sources`` that ``plan_batch`` leaves out."""
    kinds: dict[str, list[Path]] = {}
    for source in sources:
        for path in _files_below(source, folder) if source.is_dir() and _videos_below(source, folder) else ():
            if (reason := reason_against(path)) is not None and not path.name.startswith("."):
                kinds.setdefault(reason, []).append(path)
    sentences = []
    for reason, paths in kinds.items():
        names = ", ".join(path.name for path in paths[:MOST_NAMES])
        more = f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else ""
        count = "1 file is" if len(paths) == 1 else f"{len(paths)} files are"
        sentences.append(f"{count} skipped ({reason}): {names}{more}.")
    return sentences


def _videos_below(folder: Path, output: Path) -> list[Path]:
    """The videos among ``_files_below``."""
    return [path for path in _files_below(folder, output) if reason_against(path) is None]


def _files_below(folder: Path, output: Path) -> list[Path]:
    """The files of a folder without ``output``, what it holds, and what other batches have put below ``folder``."""
    root, output = folder.resolve(), output.resolve()
    holds_results = has_records(root)  # then these results are the input

    def counts(path: Path) -> bool:
        if path.is_dir():
            is_own = path.name.endswith(WORK_SUFFIX) or path.name == RECORDS
            return not is_own and (holds_results or not has_records(path))
        # macOS puts such a file beside every other one, where the file system has no place for what it knows of it.
        return not path.name.startswith("._") and path.is_file()

    found = []
    for place, folders, files in os.walk(root):
        paths = {name: Path(place) / name for name in (*folders, *files)}
        counted = {name for name, path in paths.items() if path != output and counts(path)}
        folders[:] = [name for name in folders if name in counted]
        found += [folder / paths[name].relative_to(root) for name in files if name in counted]
    return sorted(found)


def settled_before(source: Path, output: Path, settings: UpscaleSettings, weights: str) -> Outcome | None:
    """The outcome of a file whose output is there already, unless the kept work beside it leads on from there.

    It is finished where it was made from the same input with the same settings and ``weights`` (their SHA-256), and has
    not been changed since. Anything else is an error: the file is not what was asked for, and it must not be replaced.
    """
    if not output.exists():
        return None
    made = made_from(output)
    if made is None and is_published(output):
        return None

    def compare() -> None:
        wanted = request_of(source, settings, weights)
        if made is None:
            raise OutputError(
                f"{output} exists already, and it is not known what it was made from; choose another folder, or add "
                "--overwrite."
            )
        changed = [name for name in {**wanted, **made} if made.get(name) != wanted.get(name)]
        if changed:
            raise OutputError(
                f"{output} exists already, made with another {' and '.join(changed)}; choose another folder, or add "
                "--overwrite."
            )

    return outcome_of(source, output, compare)


def upscale_many(
    jobs: Sequence[tuple[Path, Path]],
    upscaler: Upscaler | Callable[[Path], Upscaler],
    settings: UpscaleSettings,
    *,
    on_start: Callable[[Path, Path], None] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[Outcome]:
    """Upscale all ``jobs`` of ``plan_batch``; ``options`` go to ``upscale``.

    Args:
        upscaler: for all files, or what gives each file its own.
        on_start, on_outcome: called before and after each file; a finished one only gets the latter.
        overwrite: do finished ones again.
    """
    outcomes = []
    for source, output in jobs:
        own = upscaler if isinstance(upscaler, Upscaler) else upscaler(source)
        weights = own.checkpoint.sha256
        outcome = None if overwrite else settled_before(source, output, settings, weights)
        if outcome is None:
            if on_start is not None:
                on_start(source, output)

            def work(source: Path = source, output: Path = output, own: Upscaler = own) -> Report:
                def keep_record(made: Path) -> None:
                    record_finished(made, request_of(source, settings, own.checkpoint.sha256))

                output.parent.mkdir(parents=True, exist_ok=True)
                chosen = {"settings": settings, "upscaler": own, "overwrite": overwrite}
                return upscale(source, output, **chosen, on_checked=keep_record, **options)  # type: ignore[arg-type]

            outcome = outcome_of(source, output, work)
        elif not outcome.failed:
            discard_checked(output)
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes
