"""The command that compares networks on an excerpt of a video: preview."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safa.cli.common import (
    CodecOption,
    ComparedWeights,
    Crf,
    Deinterlace,
    Device,
    EngineName,
    Fps,
    Json,
    Memory,
    Overwrite,
    Precision,
    Rate,
    Reporter,
    ScaleOption,
    SizeOption,
    Slow,
    SourceFps,
    path_named,
)

if TYPE_CHECKING:
    from safa.jobs.preview import PreviewedNetwork


def preview_command(
    source: Annotated[Path, typer.Argument(parser=path_named, metavar="IN", help="Video, or folder of pictures.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", parser=path_named, metavar="PNG", help="Picture to write; IN-preview.png here by default."
        ),
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Begin at this time, such as 62.5; by default where much moves.")
    ] = None,
    rate: Rate = None,
    fps: Fps = None,
    slow: Slow = None,
    scale: ScaleOption = None,
    size: SizeOption = None,
    weights: ComparedWeights = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    memory: Memory = None,
    codec: CodecOption = None,
    crf: Crf = None,
    source_fps: SourceFps = None,
    deinterlace: Deinterlace = True,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Try a second or two of a video with each of the weights, beside bicubic enlargement.

    Writes a picture (PNG) and a clip (MP4 of the same name), and estimates how long the whole file would take with the
    same options. This takes seconds: only the middle of large frames is shown.
    """
    from safa.options import (
        ComputeOptions,
        UpscaleSettings,
        check_source_fps,
        parse_factor,
        parse_fps,
        parse_memory,
        parse_optional,
        parse_rates,
        parse_time,
    )
    from safa.video.info import ReadOptions

    rates = parse_rates(rate, fps)
    check_source_fps(source_fps, [source])
    settings = UpscaleSettings(
        *rates,
        slow=parse_optional(parse_factor, slow) or Fraction(1),
        scale=scale,
        size=size,
        codec=codec,
        crf=crf,
        reading=ReadOptions(source_fps=parse_optional(parse_fps, source_fps), deinterlace=deinterlace),
        compute=ComputeOptions(device, engine, precision, memory=parse_optional(parse_memory, memory)),
    )
    begin = parse_optional(parse_time, at)
    from safa.jobs.preview import PreviewOptions
    from safa.jobs.preview import preview as run

    reporter = Reporter(as_json)

    def report(network: PreviewedNetwork) -> None:
        reporter.say(f"{network.weights}: {network.summary()}")

    sheet = output or Path(f"{source.stem}-preview.png")
    preview = run(source, sheet, settings, PreviewOptions(begin, weights, overwrite=overwrite), report)
    reporter.event("preview", **preview.to_dict())
    reporter.say(f"shown: {preview.note}")
    reporter.say(f"{preview.sheet}")
    reporter.say(f"{preview.clip}")
