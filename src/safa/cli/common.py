"""Shared parts of the commands: options, and output as text, progress bars, or JSON lines for programs."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.jobs.batch import BatchEvents, Outcome
    from safa.jobs.estimate import Forecast
    from safa.jobs.pipeline import Progress
    from safa.jobs.report import Report
    from safa.jobs.weights_selection import WeightsChoice
    from safa.upscaler.tiling import Tiling

INTERRUPTED = 130
"""Exit code that shells report for Ctrl-C, and that typer returns for it."""


class Output(Console):
    """A console whose reader may go away: the work then continues without it."""

    def __init__(self, stderr: bool = False) -> None:
        # Without emoji codes, because names of files such as ":cat:" are printed as they are.
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)

    def on_broken_pipe(self) -> None:
        """Stop printing, and say so on standard error."""
        self.quiet = True
        with suppress(OSError, ValueError, AttributeError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), self.file.fileno())  # for what is still in buffers
        if not self.stderr:
            stderr.print("warning: the program that reads the messages has closed them; the work continues without.")

    def print_line(self, text: str) -> None:
        """Print a line for programs, unchanged and at once."""
        try:
            self.file.write(text + "\n")
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()


stdout = Output()
stderr = Output(stderr=True)


def path_named(text: str) -> Path:
    """Return the path of that name; an empty name, as of an unset variable, would be the current folder."""
    if not str(text):
        raise typer.BadParameter("the name is empty.")
    return Path(text)


path_named.__name__ = "path"  # shown by --help for options whose value has no name


# Options that several commands share.
WeightsOption = Annotated[str, typer.Option("--weights", help="Name of shipped weights or a file.")]
AutoWeights = Annotated[
    str, typer.Option("--weights", help="Name of shipped weights or a file; auto examines the source and chooses.")
]
ComparedWeights = Annotated[
    list[str] | None,
    typer.Option("--weights", help="Name or file; may be repeated. All shipped ones by default."),
]
DETAIL_HELP = "Sharpness from 0 (true to the source) to 1, for the weights fast and real. "
Detail = Annotated[
    float | None, typer.Option(metavar="D", help=DETAIL_HELP + "By default 0.3 for weights chosen by auto, else 0.")
]
DetailOfWeights = Annotated[float | None, typer.Option("--detail", metavar="D", help=DETAIL_HELP + "0 by default.")]
Device = Annotated[
    str,
    typer.Option(
        help="auto, cpu, cuda, cuda:1, xpu or mps; by ONNX Runtime webgpu, dml, openvino, coreml or migraphx."
    ),
]
Precision = Annotated[
    str,
    typer.Option(help="auto, float32, bfloat16 or, on GPUs, float16; auto is half precision where that is faster."),
]
EngineName = Annotated[
    str, typer.Option("--engine", help="auto, native (fast on CPUs), torch or onnx (ONNX Runtime, any GPU).")
]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Most memory to use, such as 2G; by default a share of the free memory."),
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", metavar="X", help="Enlargement of width and height, from 1 to 4: 1.5, 2, 9/4.")
]
SizeOption = Annotated[
    str | None,
    typer.Option("--size", help="Instead of --scale: 1080p or another height, 4k, 1920x1080, 1920x-1 or -1x1080."),
]
Rate = Annotated[
    str | None, typer.Option("--rate", metavar="N", help="Multiply the frame rate by a whole number; 2 by default.")
]
Fps = Annotated[
    str | None, typer.Option("--fps", help="Instead of --rate: frames per second, such as 60 or 60000/1001.")
]
Slow = Annotated[str | None, typer.Option("--slow", metavar="X", help="Slow motion: everything takes X times as long.")]
CodecOption = Annotated[str | None, typer.Option("--codec", help="h264, h265, av1, vp9, prores or ffv1.")]
Crf = Annotated[float | None, typer.Option("--crf", help="Quality of the encoder; lower is better and larger.")]
SourceFps = Annotated[str | None, typer.Option("--source-fps", help="Frames per second of a folder of pictures.")]
Deinterlace = Annotated[bool, typer.Option("--deinterlace/--no-deinterlace", help="Deinterlace interlaced video.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files of these names.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines for programs instead of text.")]


def progress_bar(unit: str) -> ProgressBar:
    """Return a bar on standard error with speed and time left; nothing is shown where that is not a terminal.

    Every task needs a field ``speed``, already formatted.
    """
    return ProgressBar(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]}} {unit}/s"),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
    )


@dataclass
class Reporter:
    """Prints events as text or as JSON lines."""

    as_json: bool
    out: Output = stdout

    def event(self, kind: str, **values: Any) -> None:
        """Print a JSON line, if JSON was requested."""
        if self.as_json:
            self.out.print_line(json.dumps({"event": kind, **values}))

    def say(self, text: str) -> None:
        """Print a result as text; with JSON there is an event instead."""
        if not self.as_json:
            self.out.print(escape(text))

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.event("warning", text=text)
        if not self.as_json:
            stderr.print(f"warning: {escape(text)}")

    def failed(self, source: Path, error: SafaError) -> None:
        """Report the error of one of several files."""
        self.event("failed", source=str(source), error=str(error))
        stderr.print(f"safa: {escape(str(error))}")

    def checked(self, report: Report) -> None:
        """Report what is wrong with a finished file, if anything."""
        for failure in report.verification.failures():
            stderr.print(f"safa: {escape(str(report.output))} failed its check: {escape(failure)}")


class UpscaleReporter(Reporter):
    """Reports upscale jobs on a progress bar, and in text or JSON lines.

    Args:
        as_json, out: as for ``Reporter``.
        bar: shows the progress.
        label: text before the bar; each source's name if None.
    """

    def __init__(self, as_json: bool, out: Output, bar: ProgressBar, label: str | None = None) -> None:
        super().__init__(as_json, out)
        self._bar = bar
        self._label = label
        self._task = bar.add_task("", total=None, speed="-")

    def events(self, with_forecast: bool) -> BatchEvents:
        """Return the events of a job or a batch that this reports."""
        from safa.jobs.batch import BatchEvents

        return BatchEvents(
            on_progress=self.progress,
            on_warning=self.warn,
            on_tiles=self.tiles,
            on_forecast=self.forecast if with_forecast else None,
            on_weights=self.weights,
            on_start=self.start,
            on_outcome=self.outcome,
        )

    def start(self, source: Path, output: Path) -> None:
        """Report that a file is begun."""
        self._bar.reset(self._task, description=self._label or source.name, total=None, speed="-")
        self.event("start", source=str(source), output=str(output))

    def progress(self, progress: Progress) -> None:
        """Report another output frame."""
        speed = f"{progress.frames_per_second:.2f}"
        self._bar.update(self._task, completed=progress.done, total=progress.total, speed=speed)
        self.event("progress", **vars(progress))

    def tiles(self, tiling: Tiling) -> None:
        """Report that frames are computed in tiles."""
        self.event("tiles", **vars(tiling))
        self.say(f"memory: frames are computed in {tiling.count} tiles of up to {tiling.width}x{tiling.height}")

    def weights(self, choice: WeightsChoice) -> None:
        """Report automatically chosen weights."""
        self.event("weights", **vars(choice))
        self.say(f"weights: {choice.name}, as {choice.reason}")

    def forecast(self, forecast: Forecast) -> None:
        """Report what a job will make, and the estimate."""
        self.event("forecast", **forecast.to_dict())
        for line in forecast.lines():
            self.say(line)

    def outcome(self, outcome: Outcome) -> None:
        """Report a file that is done, has failed, or was finished before."""
        if outcome.report is not None:
            self._done(outcome.report)
        elif outcome.error is not None:
            self.failed(outcome.source, outcome.error)
        elif outcome.forecast is not None:
            for warning in outcome.forecast.left_out:
                self.warn(warning)
            self.forecast(outcome.forecast)
        else:
            self.event("skipped", source=str(outcome.source), output=str(outcome.output))
            self.say(f"{outcome.output}: finished before")

    def joined(self, outcome: Outcome) -> None:
        """Report the joined segments of a stopped job."""
        report = outcome.report
        if report is None:
            self.outcome(outcome)
            return
        self.event("so_far", **report.to_dict())
        self.say(f"{report.output}: the first {report.frames} frames of {outcome.output}")
        self.checked(report)

    def summary(self, count: int, failed: int) -> None:
        """Report the end of a batch."""
        self.event("summary", done=count - failed, failed=failed)
        self.say(f"{count - failed} of {count} files are done, {failed} failed.")

    def _done(self, report: Report) -> None:
        for problem in report.problems:
            self.warn(f"in the source: {problem}")
        self.event("done", **report.to_dict())
        resumed = f", {report.resumed_frames} of them from an earlier run" if report.resumed_frames else ""
        retries = f", {report.retries} segments tried again" if report.retries else ""
        size = f"{report.width}x{report.height}"
        self.say(f"{report.output}: {size}, {report.frames} frames{resumed}, in {report.seconds:.1f} s{retries}")
        self.checked(report)
