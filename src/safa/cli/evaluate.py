"""The commands that measure quality and show what a network does: evaluate, inspect."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from safa.cli.common import Device, Json, Overwrite, WeightsOption, path_named, progress_bar, stdout
from safa.errors import OutputError, SafaError, to_install
from safa.files import atomic_write
from safa.video.files import check_target

if TYPE_CHECKING:
    from safa.evaluation.datasets import Dataset
    from safa.evaluation.methods import Method
    from safa.evaluation.protocols import Compression, Variant
    from safa.evaluation.run import EvaluationProgress, Results

# Heights of the output at which the report counts the selector's choices.
REPORT_HEIGHTS = (240, 480, 1080, 2160)


def evaluate_command(
    weights: Annotated[
        list[str] | None, typer.Argument(help="Shipped names, weights files, ONNX models or exported folders.")
    ] = None,
    on: Annotated[str, typer.Option(help="vid4, gopro, adobe240, vimeo90k, ucf101, middlebury or a path.")] = "vid4",
    data: Annotated[Path | None, typer.Option(parser=path_named, help="Folder of the named data set.")] = None,
    times: Annotated[str | None, typer.Option(help="Factors of the frame rate from 2 to 16, such as 2,4,8.")] = None,
    protocol: Annotated[str, typer.Option(help="public or zooming; see docs/evaluation.md.")] = "public",
    windows: Annotated[int | None, typer.Option(min=1, help="Most windows per sequence.")] = None,
    compress: Annotated[
        str | None,
        typer.Option(help="Compress the inputs: codec with CRF, or with a quality from 0 to 1: h264:28, vp9:0.5."),
    ] = None,
    tof: Annotated[bool, typer.Option("--tof", help="Also measure temporal consistency.")] = False,
    perceptual: Annotated[
        bool,
        typer.Option("--perceptual", help="Also measure detail, tOF, ST-LPIPS, VMAF and JOD, as far as installed."),
    ] = False,
    rivals: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help='Combinations of published tools, such as "SPAN > RIFE"; all; or installed, without the slowest.',
        ),
    ] = None,
    rival: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COMMAND",
            help="Another program, such as 'mine=run.sh {input} {output}'; may be repeated. See docs/rivals.md.",
        ),
    ] = None,
    rival_timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Longest time such a program may take per sequence.")
    ] = 1800,
    baselines: Annotated[bool, typer.Option(help="Also measure bicubic enlargement and classical flow.")] = True,
    html: Annotated[
        Path | None, typer.Option(parser=path_named, help="Write an HTML report with tables, plots and pictures.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(parser=path_named, help="Write the tables as Markdown.")] = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Measure quality on a data set, a folder or a clip, which is reduced in size and rate and compared with itself."""
    factors = _factors(times)
    for path in (html, markdown):
        if path is not None:
            check_target(path, overwrite, [on, *([data] if data is not None else ()), *(weights or ())])
    if html is not None and html == markdown:
        raise OutputError(f"Both --html and --markdown would become {html}; choose another name for one.")
    if protocol not in ("public", "zooming"):
        raise SafaError(f"There is no protocol '{protocol}'; use public or zooming.")
    variant: Variant = "zooming" if protocol == "zooming" else "public"
    from safa.evaluation.datasets import open_dataset
    from safa.evaluation.methods import BASELINES
    from safa.evaluation.perceptual import PERCEPTUAL, installed_metrics
    from safa.evaluation.report import as_json as to_json
    from safa.evaluation.report import markdown as to_markdown
    from safa.evaluation.report import terminal_tables
    from safa.evaluation.rivals import RIVALS, RivalCommand, installed_rivals, rival_method
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
    tasks = [(one, [*methods, *(command.method(one.factor) for command in commands)]) for one in sets]
    for one, compared in tasks:  # so that errors are found before the first is measured
        find_windows(compared, one, windows)
    further = [name for name in PERCEPTUAL if perceptual or (tof and name == "tof")]
    missing = [name for name in further if name not in installed_metrics()]
    further = [name for name in further if name not in missing]
    if missing and not as_json:
        stdout.print(f"not installed: {', '.join(missing)}; install them with: {to_install('perceptual')}")
    every = []
    with progress_bar("windows") as bar:
        for one, compared in tasks:
            task = bar.add_task(f"x{one.factor}", total=None, speed="-")

            def show(progress: EvaluationProgress, task: Any = task) -> None:
                bar.update(task, completed=progress.done, total=progress.total, description=progress.sequence)

            every.append(run(compared, one, variant, windows, further, show))
    if as_json:
        stdout.print_line(json.dumps([to_json(results) for results in every]))
    else:
        for results in every:
            # In a file or a pipe, as wide as the tables are.
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
    """Return the report; scales are only counted for SAFA networks that select them."""
    from safa.evaluation.inspect import cost_by_factor, scales_by_height
    from safa.evaluation.methods import BASELINES
    from safa.evaluation.page import find_window, html_report

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
    """Return the methods of a subject, the most relevant first, and its network if it is a SAFA network."""
    from safa.checkpoint import shipped_names
    from safa.evaluation.methods import exported_methods, model_method, network_method, stream_method
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
    at: Annotated[str | None, typer.Option(help="Time in the video; by default its middle.")] = None,
    weights: WeightsOption = "fast",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Write pictures of flow, blend mask and chosen scales over t, beside classical flow."""
    from safa.options import parse_optional, parse_time

    time = parse_optional(parse_time, at)
    from safa.engine.images import to_8_bits
    from safa.evaluation.inspect import inspect_pair, read_pair
    from safa.upscaler.upscaler import load
    from safa.video.pictures import load_picture

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
