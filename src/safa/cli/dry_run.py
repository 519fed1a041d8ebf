"""``safa upscale --dry-run``: what would be made, without making it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from safa.cli.progress import UpscaleReporter
from safa.errors import SafaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safa.jobs.settings import UpscaleSettings
    from safa.upscaler.upscaler import Upscaler


def forecast_all(
    jobs: list[tuple[Path, Path]],
    several: bool,
    upscaler_for: Callable[[Path], Upscaler],
    settings: UpscaleSettings,
    overwrite: bool,
    restart: bool,
    reporter: UpscaleReporter,
) -> None:
    """Say of each file what would be made of it."""
    from safa.jobs.batch import settled_before
    from safa.jobs.forecast import forecast

    failed = False
    for source, output in jobs:
        upscaler = upscaler_for(source)
        if several and not overwrite and (done := settled_before(source, output, settings, upscaler.checkpoint.sha256)):
            failed = failed or done.failed
            reporter.event("skipped", source=str(source), output=str(output), error=str(done.error or ""))
            reporter.say(str(done.error) if done.error else f"{output}: finished before")
            continue
        try:
            made = forecast(source, output, settings, upscaler, overwrite=overwrite, restart=restart, check=not several)
        except SafaError as error:
            if not several:
                raise
            failed = True
            reporter.failed(source, error)
            continue
        for warning in made.left_out:
            reporter.warn(warning)
        reporter.forecast(made)
    if failed:
        raise SystemExit(1)
