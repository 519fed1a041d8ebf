"""Progress and results of ``safa upscale``, as text or JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import Progress as ProgressBar

from safa.cli.console import Output, Reporter

if TYPE_CHECKING:
    from safa.jobs.batch import Outcome
    from safa.jobs.forecast import Forecast
    from safa.jobs.job import Report
    from safa.jobs.pipeline import Progress
    from safa.jobs.weights import Pick
    from safa.upscaler.tiling import Tiling


class UpscaleReporter(Reporter):
    """Listens to upscale jobs and reports them: on a progress bar, and in text or JSON lines.

    Args:
        as_json, out: as for ``Reporter``.
        label: text before the bar; each source's name if None.
    """

    def __init__(self, as_json: bool, out: Output, bar: ProgressBar, label: str | None = None) -> None:
        super().__init__(as_json, out)
        self._bar = bar
        self._label = label
        self._task = bar.add_task("", total=None, speed="-")

    def start(self, source: Path, output: Path) -> None:
        """A file is begun."""
        self._bar.reset(self._task, description=self._label or source.name, total=None, speed="-")
        self.event("start", source=str(source), output=str(output))

    def progress(self, progress: Progress) -> None:
        """Another frame is made."""
        speed = f"{progress.frames_per_second:.2f}"
        self._bar.update(self._task, completed=progress.done, total=progress.total, speed=speed)
        self.event("progress", **vars(progress))

    def tiles(self, tiling: Tiling) -> None:
        """Frames are computed in tiles."""
        self.event("tiles", **vars(tiling))
        self.say(f"memory: frames are computed in {tiling.count} tiles of up to {tiling.width}x{tiling.height}")

    def weights(self, pick: Pick) -> None:
        """Weights are chosen for a source."""
        self.event("weights", **vars(pick))
        self.say(f"weights: {pick.name}, as {pick.reason}")

    def forecast(self, made: Forecast) -> None:
        """What a job will make."""
        self.event("forecast", **made.to_dict())
        for line in made.lines():
            self.say(line)

    def outcome(self, outcome: Outcome) -> None:
        """A file is done, has failed, or was finished before."""
        if outcome.report is not None:
            self._done(outcome.report)
        elif outcome.error is not None:
            self.failed(outcome.source, outcome.error)
        else:
            self.event("skipped", source=str(outcome.source), output=str(outcome.output))
            self.say(f"{outcome.output}: finished before")

    def summary(self, count: int, failed: int) -> None:
        """All files of several are done with."""
        self.event("summary", done=count - failed, failed=failed)
        self.say(f"{count - failed} of {count} files are done, {failed} failed.")

    def _done(self, report: Report) -> None:
        for problem in report.problems:
            self.warn(f"of the source: {problem}")
        self.event("done", **report.to_dict())
        resumed = f", {report.resumed_frames} of them from an earlier run" if report.resumed_frames else ""
        retries = f", {report.retries} parts tried again" if report.retries else ""
        size = f"{report.width}x{report.height}"
        self.say(f"{report.output}: {size}, {report.frames} frames{resumed}, in {report.seconds:.1f} s{retries}")
        self.checked(report)
