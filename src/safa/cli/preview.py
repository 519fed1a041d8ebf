"""The command that tries a second of a video: preview."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safa.cli.console import (
    Codec,
    Crf,
    Deinterlace,
    Device,
    EngineName,
    Fps,
    Json,
    Memory,
    Rate,
    ScaleOption,
    SizeOption,
    Slow,
    SourceFps,
    Voice,
)

if TYPE_CHECKING:
    from safa.jobs.preview import Tried


def preview(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Video, or folder of pictures.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PNG", help="Sheet to write; IN-preview.png here if not given."),
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
    memory: Memory = None,
    codec: Codec = None,
    crf: Crf = None,
    source_fps: SourceFps = None,
    deinterlace: Deinterlace = True,
    as_json: Json = False,
) -> None:
    """Try a second or two of a video with each of the weights, beside bicubic enlargement.

    Writes a sheet (PNG) and a clip (MP4 of the same name), and says how long the whole file would take with the same
    options. It takes seconds: of large frames the middle is shown. An earlier preview of the same name is replaced.
    """
    from safa.errors import SafaError
    from safa.video.parse import parse_factor, parse_fps, parse_memory, parse_rate, parse_time

    if rate is not None and fps is not None:
        raise SafaError("Both --rate and --fps are given; choose one of them.")
    if source_fps is not None and not source.is_dir():
        raise SafaError("--source-fps is for folders of pictures; a video has frame times of its own. Leave it out.")
    given = parse_rate(rate) if rate is not None else None
    begin = parse_time(at) if at is not None else None
    ceiling = parse_memory(memory) if memory is not None else None
    from safa.jobs.preview import preview as run
    from safa.jobs.settings import UpscaleSettings

    settings = UpscaleSettings(
        rate=given,
        fps=parse_fps(fps) if fps is not None else None,
        slow=parse_factor(slow) if slow is not None else Fraction(1),
        source_fps=parse_fps(source_fps) if source_fps is not None else None,
        scale=scale,
        size=size,
        codec=codec,
        crf=crf,
        deinterlace=deinterlace,
    )
    voice = Voice(as_json)

    def tell(one: Tried) -> None:
        voice.say(f"{one.weights}: {one.told()}")

    sheet = output or Path(f"{source.stem}-preview.png")
    options = {"device": device, "engine": engine, "memory": ceiling, "on_tried": tell}
    made = run(source, sheet, at=begin, settings=settings, weights=weights, **options)  # type: ignore[arg-type]
    voice.event("preview", **made.to_dict())
    voice.say(f"shown: {made.note}")
    voice.say(f"{made.sheet}")
    voice.say(f"{made.clip}")
