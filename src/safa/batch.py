"""Many files, one after the other: what is finished is skipped, and one failure does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa.convert import upscale
from safa.errors import OutputError, SafaError
from safa.job import Report, is_finished
from safa.video.codecs import CONTAINERS
from safa.video.names import VIDEO_SUFFIXES

# Containers that are kept; every other input becomes an MP4.
KEPT_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".gif"}


@dataclass(frozen=True)
class Outcome:
    """What became of one file: a report, an error, or neither when it was finished before."""

    source: Path
    output: Path
    report: Report | None = None
    error: SafaError | None = None

    @property
    def failed(self) -> bool:
        """Whether the file is not there as it should be."""
        return self.error is not None or (self.report is not None and not self.report.proof.ok)


def outcome_of(source: Path, output: Path, work: Callable[[], Report]) -> Outcome:
    """Do ``work``; an error is its outcome."""
    try:
        return Outcome(source, output, work())
    except SafaError as error:
        return Outcome(source, output, error=error)
    except OSError as error:
        return Outcome(source, output, error=OutputError(f"{output} cannot be written: {error.strerror}."))


def plan_batch(sources: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Pairs of (source, output): folders are searched for videos, outputs keep their place below ``folder``.

    Raises:
        SafaError: two sources would become one output.
    """
    jobs: list[tuple[Path, Path]] = []
    for source in sources:
        found = [source] if not holds_videos(source) else _videos_below(source)
        for path in found:
            place = path.relative_to(source).parent if holds_videos(source) else Path()
            suffix = path.suffix.lower() if path.suffix.lower() in KEPT_SUFFIXES & set(CONTAINERS) else ".mp4"
            jobs.append((path, folder / place / (path.stem + suffix)))
    owners: dict[Path, Path] = {}
    for path, output in jobs:
        if output in owners:
            raise OutputError(f"{owners[output]} and {path} would both become {output}; rename one of them.")
        owners[output] = path
    return jobs


def holds_videos(path: Path) -> bool:
    """Whether it is a folder with videos in it, at any depth (a folder of pictures is one video by itself)."""
    return path.is_dir() and any(child.suffix.lower() in VIDEO_SUFFIXES for child in path.rglob("*"))


def _videos_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())


def upscale_many(
    jobs: Sequence[tuple[Path, Path]],
    *,
    on_start: Callable[[Path, Path], None] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    overwrite: bool = False,
    **options: Any,
) -> list[Outcome]:
    """Upscale all ``jobs`` of ``plan_batch``; ``options`` go to ``upscale``.

    Args:
        on_start, on_outcome: called before and after each file; a finished one only gets the latter.
        overwrite: do finished ones again.
    """
    outcomes = []
    for source, output in jobs:
        if is_finished(output) and not overwrite:
            outcome = Outcome(source, output)
        else:
            if on_start is not None:
                on_start(source, output)

            def work(source: Path = source, output: Path = output) -> Report:
                output.parent.mkdir(parents=True, exist_ok=True)
                return upscale(source, output, overwrite=overwrite, **options)

            outcome = outcome_of(source, output, work)
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
    return outcomes
