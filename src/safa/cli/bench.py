"""The command that measures speed: bench."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from safa.cli.common import Device, Json, progress_bar, stderr, stdout
from safa.errors import SafaError

if TYPE_CHECKING:
    from safa.bench import Profile


def bench_command(
    weights: Annotated[list[str] | None, typer.Argument(help='Names, files, or "paper" (random weights).')] = None,
    size: Annotated[list[str] | None, typer.Option(help="Size of the input, WIDTHxHEIGHT; may be repeated.")] = None,
    frames: Annotated[str, typer.Option(help="Output frames per pair: 2, or several as 2,4,8,16.")] = "2",
    engines: Annotated[
        str | None, typer.Option(help="Engines to compare, such as torch,native; by default all that run here.")
    ] = None,
    forced: Annotated[bool, typer.Option("--forced", help="Also measure every block at each of its scales.")] = False,
    rounds: Annotated[int, typer.Option(help="Measurements per case.")] = 5,
    stream: Annotated[
        int | None, typer.Option(help="Compare a stream of this many frames, at rate 2, with single pairs.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show the time of each stage.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure the speed of each engine on this machine."""
    sizes = [_size(text) for text in (size or ["160x96"])]
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", frames) or rounds < 1:
        raise SafaError("Give --frames as whole numbers such as 2,4,8 and --rounds of at least 1.")
    if stream is not None and stream < 2:
        raise SafaError("--stream must be at least 2 frames.")
    if stream is not None and profile:
        raise SafaError("Give --stream or --profile, not both.")
    counts = [int(count) for count in frames.split(",")]
    names = weights or ["fast"]
    from safa.bench import run_bench, run_profile, run_stream_bench, usable_engines

    chosen, obstacles = usable_engines(device) if engines is None else (engines.split(","), [])
    for obstacle in obstacles:
        stderr.print(f"warning: {escape(obstacle)}")
    with progress_bar("cases") as bar:
        task = bar.add_task("measuring", total=None, speed="-")

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        cases = [(name, engine, size) for name in names for engine in chosen for size in sizes]
        options: dict[str, Any] = {"rounds": rounds, "device": device}
        if stream is not None:
            runs = [
                run_stream_bench(name, size, frames=stream, engine=engine, on_progress=show, **options)
                for name, engine, size in cases
            ]
            _print([run.to_dict() for run in runs], [run.sentence() for run in runs], as_json)
            return
        if profile:
            profiles = [run_profile(*case, frames=counts[0], **options) for case in cases]
            tables = [_text(one.rows(), _title(one), markdown) for one in profiles]
            _print([one.to_dict() for one in profiles], tables, as_json)
            return
        scales = (None, 0, 1, 2) if forced else (None,)
        result = run_bench(names, sizes, counts, engines=chosen, scales=scales, on_progress=show, **options)
    title = f"{result.device}, {result.threads} threads, {result.peak / 1e9:.0f} GFLOP/s peak"
    _print(result.to_dict(), [_text(result.rows(), title, markdown)], as_json)


def _print(values: Any, texts: list[Table | str], as_json: bool) -> None:
    if as_json:
        stdout.print_line(json.dumps(values))
        return
    for text in texts:
        stdout.print(escape(text) if isinstance(text, str) else text)


def _text(rows: list[list[str]], title: str, markdown: bool) -> Table | str:
    """Return rows, of which the first is the heading, for a terminal or as Markdown."""
    if markdown:
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
    table = Table(*rows[0], title=title)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _title(profile: Profile) -> str:
    return f"{profile.weights}, {profile.engine}, {profile.width}x{profile.height}, {profile.frames} frames of a pair"


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or any(int(side) % 8 or not int(side) for side in match.groups()):
        raise SafaError(f"The size '{text}' must look like 320x184, with sides that are multiples of 8.")
    return int(match[1]), int(match[2])
