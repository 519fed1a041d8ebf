"""The command line: a thin skin over the library. The only module that prints."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.convert import Progress, Report
    from safa.training import TrainProgress

app = typer.Typer(
    help="Make a video four times larger and N times smoother.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Weights = Annotated[str, typer.Option(help="Name of shipped weights or a file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON lines for programs instead of text.")]

# What typer turns Ctrl-C into.
INTERRUPTED = 130

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass
class Voice:
    """How a long command talks: a progress bar on a terminal, JSON lines on request, otherwise only warnings."""

    as_json: bool
    bar: ProgressBar | None = None

    def event(self, kind: str, **values: Any) -> None:
        """One JSON line, if asked for."""
        if self.as_json:
            print(json.dumps({"event": kind, **values}), flush=True)

    def warn(self, text: str) -> None:
        """Something the user should know."""
        self.event("warning", text=text)
        if not self.as_json:
            stderr.print(f"warning: {escape(text)}")


def progress_bar(unit: str) -> ProgressBar:
    """A bar on standard error with speed and time left; nothing where it is not a terminal."""
    return ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[speed]}} {unit}/s"),
        TimeRemainingColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
    )


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")] = False,
) -> None:
    """Common options."""
    if debug:
        os.environ["SAFA_DEBUG"] = "1"


@app.command()
def upscale(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Video to enlarge.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write.")],
    rate: Annotated[str, typer.Option(metavar="N", help="Times the frame rate, a whole number.")] = "2",
    fps: Annotated[str | None, typer.Option(help="Frames per second instead, such as 60 or 60000/1001.")] = None,
    weights: Weights = "fast",
    device: Device = "auto",
    codec: Annotated[str, typer.Option(help="Video codec of the output.")] = "h264",
    crf: Annotated[float, typer.Option(help="Quality, lower is better and larger.")] = 17,
    preset: Annotated[str, typer.Option(help="The encoder's speed preset.")] = "medium",
    start: Annotated[str | None, typer.Option(help="Begin at this time, such as 62.5 or 1:02.5.")] = None,
    end: Annotated[str | None, typer.Option(help="End before this time.")] = None,
    audio: Annotated[bool, typer.Option(help="Keep the sound.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an interrupted run kept.")] = False,
    as_json: Json = False,
) -> None:
    """Enlarge a video four times and make it smoother; sound is kept.

    The same command goes on where an interrupted one stopped.
    """
    from safa.video.parse import parse_fps, parse_rate, parse_time

    settings_values: dict[str, Any] = {
        "rate": parse_rate(rate),
        "fps": parse_fps(fps) if fps is not None else None,
        "start": _optional_time(start, parse_time),
        "end": _optional_time(end, parse_time),
    }
    from safa.convert import UpscaleSettings
    from safa.convert import upscale as run

    settings = UpscaleSettings(**settings_values, codec=codec, crf=crf, preset=preset, audio=audio)
    voice = Voice(as_json)
    with progress_bar("frames") as bar:
        task = bar.add_task(escape(source.name), total=None, speed="-")

        def show(progress: Progress) -> None:
            bar.update(
                task, completed=progress.done, total=progress.total, speed=f"{progress.frames_per_second:.2f}"
            )
            voice.event("progress", **vars(progress))

        report = run(
            source,
            output,
            settings=settings,
            weights=weights,
            device=device,
            overwrite=overwrite,
            restart=restart,
            on_progress=show,
            on_warning=voice.warn,
        )
    _conclude(report, voice)


def _optional_time(text: str | None, parse: Any) -> Fraction | None:
    return parse(text) if text is not None else None


def _conclude(report: Report, voice: Voice) -> None:
    for problem in report.problems:
        voice.warn(f"the source is damaged: {problem}")
    voice.event("done", **report.to_dict())
    if not voice.as_json:
        resumed = f", {report.resumed_frames} of them from an earlier run" if report.resumed_frames else ""
        stdout.print(
            f"{escape(str(report.output))}: {report.width}x{report.height}, {report.frames} frames{resumed}, "
            f"in {report.seconds:.1f} s"
        )
        for failure in report.proof.failures():
            stderr.print(f"safa: check failed: {escape(failure)}")
    if not report.proof.ok:
        raise SystemExit(1)


@app.command()
def between(
    first: Annotated[Path, typer.Argument(metavar="A", help="First picture.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Second picture, of the same size.")],
    at: Annotated[list[float], typer.Option(metavar="T", help="Time between 0 (A) and 1 (B); may be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    weights: Weights = "fast",
    device: Device = "auto",
) -> None:
    """Write the pictures at the given times between two pictures, four times larger."""
    from safa.pictures import load_picture, save_picture
    from safa.upscaler import load

    pictures = [load_picture(path) for path in (first, second)]
    if not output.parent.is_dir():
        raise SafaError(f"{output.parent} is no folder; make it first or choose another output.")
    upscaler = load(weights, device)
    results = upscaler.between(*pictures, at)
    output.mkdir(exist_ok=True)
    for t, picture in zip(at, results, strict=True):
        path = output / f"{first.stem}-{second.stem}-{t:.4f}.png"
        save_picture(picture, path)
        stdout.print(escape(str(path)))


@app.command()
def compare(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The small video.")],
    result: Annotated[Path, typer.Argument(metavar="OUT", help="What 'safa upscale' made of it.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PNG", help="Picture to write.")],
    at: Annotated[str | None, typer.Option(help="Time in seconds; the middle if not given.")] = None,
) -> None:
    """Write a before/after picture: bicubic enlargement of the source beside the result at the same time."""
    from safa.pictures import before_after, save_picture
    from safa.video.parse import parse_time

    save_picture(before_after(source, result, _optional_time(at, parse_time)), output)
    stdout.print(escape(str(output)))


@app.command()
def info(
    file: Annotated[str | None, typer.Argument(metavar="[FILE|WEIGHTS]", help="Video, weights file or name.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a video or a weights file holds; without one, what this installation has."""
    from safa.checkpoint import shipped_names

    if file is None:
        facts = _installation()
    elif file in shipped_names() or file.endswith(".safetensors"):
        facts = _weights_facts(file)
    else:
        from safa.video.reader import VideoReader

        with VideoReader(Path(file)) as reader:
            facts = reader.info.to_dict()
    if as_json:
        print(json.dumps(facts, default=str))
    else:
        for name, value in facts.items():
            stdout.print(f"{name.replace('_', ' ')}: {escape(str(value))}")


def _installation() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    import av
    import torch

    from safa.checkpoint import shipped_names

    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "not available"
    return {
        "safa_video": version("safa-video"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "av": av.__version__,
        "threads": torch.get_num_threads(),
        "cuda": cuda,
        "mps": "available" if torch.backends.mps.is_available() else "not available",
        "weights": ", ".join(shipped_names()),
    }


def _weights_facts(name: str) -> dict[str, Any]:
    from safa.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(name)
    parameters = sum(parameter.numel() for parameter in checkpoint.network.parameters())
    return {
        "weights": checkpoint.name,
        "sha256": checkpoint.sha256,
        "parameters": parameters,
        **checkpoint.network.config.to_dict(),
        **checkpoint.provenance,
    }


@app.command("import-checkpoint")
def import_checkpoint(
    pickle: Annotated[Path, typer.Argument(help="The authors' flownet.pkl.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Weights file to write.")],
) -> None:
    """Convert the authors' released weights."""
    from safa.checkpoint import import_released, save_checkpoint

    network = import_released(pickle)
    save_checkpoint(network, output, {"imported_from": pickle.name})
    stdout.print(f"{escape(str(output))}: {network.config.channels} channels, {network.config.blocks} blocks")


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder with video clips and photographs.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    config: Annotated[Path | None, typer.Option(help="Recipe (TOML); see recipes/.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after this long; go on later with --resume.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    init: Annotated[str | None, typer.Option(help="Weights to start from.")] = None,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[str, typer.Option(help="How many, or auto.")] = "auto",
) -> None:
    """Train a network."""
    from safa.training import TrainConfig
    from safa.training import train as run

    recipe = TrainConfig.from_toml(config) if config is not None else TrainConfig.of_run(out, resume)
    with progress_bar("steps") as bar:
        task = bar.add_task("training", total=recipe.steps, speed="-")

        def show(progress: TrainProgress) -> None:
            bar.update(
                task,
                completed=progress.step,
                speed=f"{progress.steps_per_second:.2f}",
                description=f"loss {progress.loss:.4f}",
            )

        steps = run(
            recipe,
            data,
            out,
            minutes=minutes,
            resume=resume,
            init=init,
            accelerator=accelerator,
            devices=int(devices) if devices.isdigit() else devices,
            on_progress=show,
        )
    stdout.print(f"{escape(str(out))}: {steps} of {recipe.steps} steps done; weights in {out / 'last.safetensors'}")


def main() -> None:
    """Entry point of the ``safa`` command: one sentence and exit code 2 for bad input, 130 for Ctrl-C."""
    try:
        status = app(standalone_mode=False) or 0
    except SafaError as error:
        if os.environ.get("SAFA_DEBUG"):
            raise
        stderr.print(f"safa: {escape(str(error))}")
        sys.exit(error.exit_code)
    except typer.TyperException as error:  # a wrong option or argument
        stderr.print(f"safa: {escape(error.format_message())} Try --help.")
        sys.exit(2)
    except typer.Abort:
        status = INTERRUPTED
    if status == INTERRUPTED:
        stderr.print("safa: stopped; finished segments are kept, and the same command goes on from there.")
    sys.exit(status)
