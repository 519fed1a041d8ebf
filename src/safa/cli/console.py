"""Output of the command line: text, a progress bar on terminals, or JSON lines for programs."""

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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.jobs.job import Report


class Output(Console):
    """A console that may be closed by the program that reads it: the work goes on without it."""

    def __init__(self, stderr: bool = False) -> None:
        # Names of files are printed as they are; in emoji codes, too, as ":cat:".
        super().__init__(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)

    def on_broken_pipe(self) -> None:
        """Print nothing from now on, and say so on standard error."""
        self.quiet = True
        with suppress(OSError, ValueError, AttributeError), open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), self.file.fileno())  # what is still in buffers goes there at the end
        if not self.stderr:
            stderr.print("warning: the program that reads the messages has closed them; the work goes on without.")

    def print_line(self, text: str) -> None:
        """Print a line for programs, at once and as it is."""
        try:
            self.file.write(text + "\n")
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()


stdout = Output()
stderr = Output(stderr=True)

# What typer turns Ctrl-C into, and what shells report for it.
INTERRUPTED = 130


def path_named(text: str) -> Path:
    """The path of that name. An empty name, as of a variable that is not set, would be the current folder."""
    if not str(text):
        raise typer.BadParameter("the name is empty.")
    return Path(text)


path_named.__name__ = "path"  # --help shows it for options whose value has no name


# Options that several commands share.
Weights = Annotated[str, typer.Option(help="Name of shipped weights or a file.")]
AutoWeights = Annotated[
    str, typer.Option(help="Name of shipped weights or a file; auto chooses by examining the source.")
]
Detail = Annotated[
    float | None,
    typer.Option(
        metavar="D",
        help="How sharp the result looks, from 0 (true to the source) to 1; for the weights fast and real. If not "
        "given, 0.3 for weights that auto chose, else 0.",
    ),
]
DetailOfWeights = Annotated[
    float | None,
    typer.Option(
        metavar="D",
        help="How sharp the result looks, from 0 (true to the source) to 1; for the weights fast and real. If not "
        "given, 0.",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, xpu or mps.")]
Precision = Annotated[
    str,
    typer.Option(help="auto, float32, bfloat16 or, on GPUs, float16; auto is half precision where that is faster."),
]
EngineName = Annotated[str, typer.Option("--engine", help="auto, torch or native (fast on CPUs).")]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Most memory to take, such as 2G; if not given, a share of what is free."),
]
ScaleOption = Annotated[
    str | None, typer.Option("--scale", metavar="X", help="Times the width and height, from 1 to 4, such as 1.5 or 2.")
]
SizeOption = Annotated[
    str | None,
    typer.Option("--size", help="Size instead: 1080p or another height, 4k, 1920x1080, 1920x-1 or -1x1080."),
]
Rate = Annotated[
    str | None, typer.Option("--rate", metavar="N", help="Times the frame rate, a whole number; 2 if not given.")
]
Fps = Annotated[str | None, typer.Option("--fps", help="Frames per second instead, such as 60 or 60000/1001.")]
Slow = Annotated[str | None, typer.Option("--slow", metavar="X", help="Slow motion: everything takes X times as long.")]
CodecOption = Annotated[str | None, typer.Option("--codec", help="h264, h265, av1, vp9, prores or ffv1.")]
Crf = Annotated[float | None, typer.Option("--crf", help="Quality, lower is better and larger.")]
SourceFps = Annotated[str | None, typer.Option("--source-fps", help="Frames per second of a folder of pictures.")]
Deinterlace = Annotated[
    bool, typer.Option("--deinterlace/--no-deinterlace", help="Make whole frames of interlaced ones.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files of these names.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines for programs instead of text.")]


@dataclass
class Reporter:
    """Prints what happens, as text or as JSON lines."""

    as_json: bool
    out: Output = stdout

    def event(self, kind: str, **values: Any) -> None:
        """One JSON line, if asked for."""
        if self.as_json:
            self.out.print_line(json.dumps({"event": kind, **values}))

    def say(self, text: str) -> None:
        """A result as text; with JSON there is an event instead."""
        if not self.as_json:
            self.out.print(escape(text))

    def warn(self, text: str) -> None:
        """Something the user should know."""
        self.event("warning", text=text)
        if not self.as_json:
            stderr.print(f"warning: {escape(text)}")

    def failed(self, source: Path, error: SafaError) -> None:
        """One of several files could not be done; the others go on."""
        self.event("failed", source=str(source), error=str(error))
        stderr.print(f"safa: {escape(str(error))}")

    def checked(self, report: Report) -> None:
        """What is wrong with a finished file, if anything."""
        for failure in report.verification.failures():
            stderr.print(f"safa: {escape(str(report.output))} failed its check: {escape(failure)}")


def progress_bar(unit: str) -> Progress:
    """A bar on standard error with speed and time left; nothing where it is not a terminal.

    Every task needs a field ``speed``, already formatted. Descriptions are shown as they are.
    """
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]}} {unit}/s"),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
    )
