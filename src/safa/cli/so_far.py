"""``safa upscale --finish``: joining what is finished."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safa.cli.console import Reporter
from safa.errors import OutputError, SafaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safa.jobs.settings import UpscaleSettings
    from safa.upscaler.upscaler import Upscaler


def join_all(
    jobs: list[tuple[Path, Path]],
    several: bool,
    upscaler_for: Callable[[Path], Upscaler],
    settings: UpscaleSettings,
    reporter: Reporter,
) -> None:
    """Join what is kept of every job; of several, those without any are passed over."""
    from safa.jobs.so_far import has_kept_work, join_so_far

    chosen = [job for job in jobs if has_kept_work(job[1])] if several else jobs
    if not chosen:
        raise OutputError("no unfinished work is kept for any of these files.")
    failed = False
    for source, output in chosen:
        try:
            report = join_so_far(source, output, settings, upscaler_for(source))
        except SafaError as error:
            if not several:
                raise
            failed = True
            reporter.failed(source, error)
            continue
        failed = failed or not report.verification.ok
        reporter.event("so_far", **report.to_dict())
        reporter.say(f"{report.output}: the first {report.frames} frames of {output}")
        reporter.checked(report)
    reporter.say("the same command without --finish goes on where it stopped")
    if failed:
        raise SystemExit(1)
