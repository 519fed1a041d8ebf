"""The command that tries a second of a video: preview."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safa.cli.console import (
    CodecOption,
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
from safa.cli.times import check_source_fps, parse_rates, parse_selection
from safa.video.parse import parse_memory, parse_time

if TYPE_CHECKING:
    from safa.jobs.preview import Tried


def preview_command(
    source: Annotated[Path, typer.Argument(parser=path_named, metavar="IN", help="Video, or folder of pictures.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", parser=path_named, metavar="PNG", help="Sheet to write; IN-preview.png here if not given."
        ),
    ] = None,
    at: Annotated[str | None, typer.Option(help="Where it begins, such as 62.5; a lively part if not given.")] = None,
    rate: Rate = None,
    fps: Fps = None,
    slow: Slow = None,
    scale: ScaleOption = None,
    size: SizeOption = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Name or file; may be repeated. All shipped ones if not given.")
    ] = None,
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

    Writes a sheet (PNG) and a clip (MP4 of the same name), and says how long the whole file would take with the same
    options. It takes seconds: of large frames the middle is shown.
    """
    rates = parse_rates(rate, fps, slow)
    check_source_fps(source_fps, [source])
    begin = parse_time(at) if at is not None else None
    ceiling = parse_memory(memory) if memory is not None else None
    from safa.jobs.preview import preview as run
    from safa.jobs.settings import UpscaleSettings

    choices = {"scale": scale, "size": size, "codec": codec, "crf": crf, "deinterlace": deinterlace}
    settings = UpscaleSettings(**rates, **parse_selection(source_fps), **choices)  # type: ignore[arg-type]
    reporter = Reporter(as_json)

    def report(one: Tried) -> None:
        reporter.say(f"{one.weights}: {one.told()}")

    sheet = output or Path(f"{source.stem}-preview.png")
    options = {"device": device, "engine": engine, "precision": precision, "memory": ceiling, "on_tried": report}
    options["overwrite"] = overwrite
    made = run(source, sheet, at=begin, settings=settings, weights=weights, **options)  # type: ignore[arg-type]
    reporter.event("preview", **made.to_dict())
    reporter.say(f"shown: {made.note}")
    reporter.say(f"{made.sheet}")
    reporter.say(f"{made.clip}")
