"""The commands for single pictures: between, compare."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from safa.cli.common import (
    DetailOfWeights,
    Device,
    EngineName,
    Memory,
    Overwrite,
    Precision,
    ScaleOption,
    SizeOption,
    SourceFps,
    WeightsOption,
    path_named,
    stdout,
)
from safa.errors import OutputError
from safa.video.files import check_target


def between_command(
    first: Annotated[Path, typer.Argument(parser=path_named, metavar="A", help="First picture.")],
    second: Annotated[Path, typer.Argument(parser=path_named, metavar="B", help="Second picture, of the same size.")],
    at: Annotated[list[float], typer.Option(metavar="T", help="Time between 0 (A) and 1 (B); may be repeated.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", parser=path_named, metavar="DIR", help="Folder for the results.")
    ],
    scale: ScaleOption = None,
    size: SizeOption = None,
    weights: WeightsOption = "fast",
    detail: DetailOfWeights = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    memory: Memory = None,
    overwrite: Overwrite = False,
) -> None:
    """Interpolate between two pictures at the given times, and enlarge the results.

    Without --scale and --size they are four times as wide and high.
    """
    from safa.options import ComputeOptions, WeightsSpec, parse_memory, parse_optional

    compute = ComputeOptions(device, engine, precision, memory=parse_optional(parse_memory, memory))
    from safa.jobs.weights_selection import load_upscaler
    from safa.video.pictures import load_picture, save_picture

    pictures = load_picture(first), load_picture(second)
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent} is no folder; make it first or choose another output.")
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is a file; give a folder for the results.")
    at = list(dict.fromkeys(at))
    paths = [output / f"{first.stem}-{second.stem}-{time}.png" for time in _distinct_names(at)]
    if output.is_dir():
        for path in paths:
            check_target(path, overwrite, [first, second])
    upscaler = load_upscaler(WeightsSpec(weights, detail).load_name(weights), compute)
    results = upscaler.between(pictures[0], pictures[1], at, scale=scale, size=size)
    output.mkdir(exist_ok=True)
    for path, picture in zip(paths, results, strict=True):
        save_picture(picture, path)
        stdout.print(escape(str(path)))


def _distinct_names(times: list[float]) -> list[str]:
    """Return the times with four decimals, or as many as make them differ."""
    for decimals in range(4, 17):
        texts = [f"{time:.{decimals}f}" for time in times]
        if len(set(texts)) == len(texts):
            return texts
    return [repr(time) for time in times]


def compare_command(
    source: Annotated[Path, typer.Argument(parser=path_named, metavar="IN", help="The small video.")],
    result: Annotated[Path, typer.Argument(parser=path_named, metavar="OUT", help="The result of 'safa upscale'.")],
    output: Annotated[Path, typer.Option("--output", "-o", parser=path_named, metavar="PNG", help="Picture to write.")],
    at: Annotated[str | None, typer.Option(help="Time in the source; by default the middle of the result.")] = None,
    slow: Annotated[
        str | None, typer.Option(metavar="X", help="Value of --slow that the result was made with.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="Value of --start that the result was made with.")] = None,
    source_fps: SourceFps = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a before/after picture: bicubic enlargement of the source beside the result at the same time."""
    from safa.options import parse_factor, parse_fps, parse_optional, parse_time
    from safa.video.info import ReadOptions

    moment, factor = parse_optional(parse_time, at), parse_optional(parse_factor, slow) or Fraction(1)
    reading = ReadOptions(parse_optional(parse_fps, source_fps), parse_optional(parse_time, start))
    if output.suffix.lower() != ".png":
        raise OutputError(f"{output}: the picture is a PNG; give it a name that ends in .png.")
    check_target(output, overwrite, [source, result])
    from safa.video.pictures import save_picture, side_by_side

    save_picture(side_by_side(source, result, moment, factor, reading), output)
    stdout.print(escape(str(output)))
