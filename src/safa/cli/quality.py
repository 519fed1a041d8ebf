"""Commands that measure and show what a network does: evaluate, inspect."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from safa.cli.console import Device, Json, Overwrite, Weights, path_named, progress_bar, stdout
from safa.errors import OutputError, SafaError, to_install
from safa.video.files import atomic_write, check_target

if TYPE_CHECKING:
    from safa.evaluation.baselines import Method
    from safa.evaluation.datasets import Dataset
    from safa.evaluation.protocols import Compression
    from safa.evaluation.run import EvaluationProgress, Results

# Sizes of the OUTPUT at which the report counts the selector's choices.
REPORT_HEIGHTS = (240, 480, 1080, 2160)


def evaluate_command(
    weights: Annotated[
        list[str] | None, typer.Argument(help="Shipped names, weights files, ONNX models or exported folders.")
    ] = None,
    on: Annotated[str, typer.Option(help="vid4, gopro, adobe240, vimeo90k, ucf101, middlebury or a path.")] = "vid4",
    data: Annotated[Path | None, typer.Option(parser=path_named, help="Folder of the named data set.")] = None,
    times: Annotated[str | None, typer.Option(help="Times the frame rate: 2..16, or several as 2,4,8.")] = None,
    protocol: Annotated[str, typer.Option(help="public or zooming; see docs/evaluation.md.")] = "public",
    windows: Annotated[int | None, typer.Option(min=1, help="At most this many windows of each sequence.")] = None,
    compress: Annotated[
        str | None, typer.Option(help="Compress the inputs: codec and CRF, or a quality from 0 to 1: h264:28, vp9:0.5.")
    ] = None,
    tof: Annotated[bool, typer.Option("--tof", help="Also measure temporal consistency.")] = False,
    perceptual: Annotated[
        bool,
        typer.Option("--perceptual", help="Also measure how it looks: detail, tOF, ST-LPIPS, VMAF, JOD, if installed."),
    ] = False,
    rivals: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help='Ready-made routes, such as "SPAN > RIFE"; all; or installed: those that are, but for the slowest.',
        ),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COMMAND",
            help="Another program, such as 'mine=run.sh {input} {output}'; may be given again. See docs/rivals.md.",
        ),
    ] = None,
    rival_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Most time that such a program may take for a sequence.")
    ] = 1800,
    baselines: Annotated[bool, typer.Option(help="Also measure bicubic and classical-flow routes.")] = True,
    html: Annotated[
        Path | None, typer.Option(parser=path_named, help="Write a page with tables, plots and pictures.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(parser=path_named, help="Write the tables as Markdown.")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure quality on a data set, a folder or a clip: scaled down, thinned out and compared with itself."""
    factors = _factors(times)
    for path in (html, markdown):
        if path is not None:
            check_target(path, overwrite, [on, *([data] if data is not None else ()), *(weights or ())])
    if html is not None and html == markdown:
        raise OutputError(f"Both --html and --markdown would become {html}; choose another name for one.")
    if protocol not in ("public", "zooming"):
        raise SafaError(f"There is no protocol '{protocol}'; use public or zooming.")
    from safa.evaluation.baselines import BASELINES
    from safa.evaluation.datasets import open_dataset
    from safa.evaluation.further import PERCEPTUAL, installed_metrics
    from safa.evaluation.report import as_json as to_json
    from safa.evaluation.report import markdown as to_markdown
    from safa.evaluation.report import terminal_tables
    from safa.evaluation.rival_command import RivalCommand
    from safa.evaluation.rivals import RIVALS, installed_rivals, rival_method
    from safa.evaluation.run import evaluate as run
    from safa.evaluation.run import find_windows

    commands = [RivalCommand.parse(text, rival_timeout) for text in rival or []]
    subjects = [_methods(name, device) for name in (weights or ["fast"])]
    if rivals is None:
        routes: Sequence[str] = ()
    else:
        routes = RIVALS if rivals == "all" else installed_rivals() if rivals == "installed" else rivals.split(",")
    against = [*(BASELINES if baselines else ()), *map(rival_method, routes)]
    methods = [*against, *(method for some, _ in subjects for method in some)]
    dataset = dataclasses.replace(
        open_dataset(on, data, factors[0] if factors else None), compression=_compression(compress)
    )
    sets = [dataclasses.replace(dataset, factor=factor) for factor in factors or [dataset.factor]]
    asked = [(part, [*methods, *(command.method(part.factor) for command in commands)]) for part in sets]
    for part, compared in asked:  # all of them, before the first is measured
        find_windows(compared, part, windows)
    further = [name for name in PERCEPTUAL if perceptual or (tof and name == "tof")]
    missing = [name for name in further if name not in installed_metrics()]
    further = [name for name in further if name not in missing]
    if missing and not as_json:
        stdout.print(f"left out: {', '.join(missing)}; install them with: {to_install('perceptual')}")
    every = []
    with progress_bar("windows") as bar:
        for part, compared in asked:
            task = bar.add_task(f"x{part.factor}", total=None, speed="-")

            def show(progress: EvaluationProgress, task: Any = task) -> None:
                bar.update(task, completed=progress.done, total=progress.total, description=progress.sequence)

            every.append(run(compared, part, protocol, windows, further, show))  # type: ignore[arg-type]
    if as_json:
        stdout.print_line(json.dumps([to_json(results) for results in every]))
    else:
        for results in every:
            # Where nobody watches, as wide as the tables are.
            stdout.print(terminal_tables(results), width=None if stdout.is_terminal else 240)
    if markdown is not None:
        with atomic_write(markdown) as temporary:
            temporary.write_text("\n\n".join(to_markdown(results) for results in every) + "\n")
    if html is not None:
        (*_, subject), network = subjects[0]
        page = _page(every, sets[0], subject, network)
        with atomic_write(html) as temporary:
            temporary.write_text(page)
        stdout.print(escape(str(html)))


def _page(every: list[Results], dataset: Dataset, subject: Method, network: Any) -> str:
    """The report; without the choices of scales for a model that is not a SAFA network or whose scale is fixed."""
    from safa.evaluation.analysis import cost_by_factor, scales_by_height
    from safa.evaluation.baselines import BASELINES
    from safa.evaluation.gallery import find_window
    from safa.evaluation.page import html_report

    counts, costs = [], []
    if network is not None:
        score = every[0].scores[0]
        costs = cost_by_factor(subject, *find_window(dataset, score.sequence, score.start).inputs(), (2, 4, 8, 16))
        if network.config.selects:
            counts = scales_by_height(network, dataset.sequences, REPORT_HEIGHTS)
    return html_report(every, dataset, subject, BASELINES[1], network, counts, costs)


def _factors(text: str | None) -> list[int]:
    if text is None:
        return []
    try:
        factors = [int(part) for part in text.split(",")]
    except ValueError:
        factors = [0]
    if any(not 2 <= factor <= 16 for factor in factors):
        raise SafaError(f"--times is '{text}'; give whole numbers from 2 to 16, such as 2 or 2,4,8.")
    return factors


def _compression(text: str | None) -> Compression | None:
    if text is None:
        return None
    from safa.evaluation.protocols import Compression

    return Compression.parse(text)


def _methods(name: str, device: str) -> tuple[list[Method], Any]:
    """How a subject is measured, most telling first, and its network if it is one of ours."""
    from safa.checkpoint import shipped_names
    from safa.evaluation.baselines import network_method, stream_method
    from safa.evaluation.exported import exported_methods
    from safa.evaluation.models import model_method
    from safa.upscaler.upscaler import load

    if Path(name).is_dir() and name not in shipped_names():
        return exported_methods(Path(name)), None
    if Path(name).suffix in (".onnx", ".pt", ".pth", ".ts", ".pt2"):
        return [model_method(Path(name))], None
    upscaler = load(name, device, engine="torch")
    network, called = upscaler.checkpoint.network, upscaler.checkpoint.name
    method = network_method(network, called)
    if not network.config.propagation:
        return [method], network
    return [stream_method(upscaler, called), dataclasses.replace(method, name=f"{called}, 2 frames")], network


def inspect_command(
    first: Annotated[Path, typer.Argument(parser=path_named, metavar="A|CLIP", help="First picture, or a video.")],
    second: Annotated[Path | None, typer.Argument(parser=path_named, metavar="[B]", help="Second picture.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", parser=path_named, metavar="DIR", help="Folder for the pictures.")
    ] = Path("inspect"),
    at: Annotated[str | None, typer.Option(help="Time in the video; its middle if not given.")] = None,
    weights: Weights = "fast",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Write pictures of flow, blend mask and chosen scales over t, beside classical flow."""
    from safa.video.parse import parse_time

    time = parse_time(at) if at is not None else None
    from safa.engine.images import to_8_bits
    from safa.evaluation.decisions import inspect_pair, read_pair
    from safa.upscaler.upscaler import load
    from safa.video.read.pictures import load_picture

    if second is None:
        frames = read_pair(first, time)
    else:
        frames = to_8_bits(load_picture(first)), to_8_bits(load_picture(second))
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent} is no folder; make it first or choose another output.")
    network = load(weights, device, engine="torch").checkpoint.network
    inputs = [first] if second is None else [first, second]
    for path in inspect_pair(network, *frames, output, overwrite=overwrite, inputs=inputs):
        stdout.print(escape(str(path)))
