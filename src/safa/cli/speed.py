"""The command that measures speed: bench."""

from __future__ import annotations

import json
import re
from typing import Annotated

import typer
from rich.table import Table

from safa.cli.console import Device, Json, progress_bar, stdout
from safa.errors import SafaError


def bench(
    weights: Annotated[list[str] | None, typer.Argument(help='Names, files, or "paper" (random weights).')] = None,
    size: Annotated[list[str] | None, typer.Option(help="Size of the input, WIDTHxHEIGHT; may be repeated.")] = None,
    frames: Annotated[str, typer.Option(help="Output frames per pair: 2, or several as 2,4,8,16.")] = "2",
    engines: Annotated[str, typer.Option(help="Engines to compare.")] = "torch,native",
    forced: Annotated[bool, typer.Option("--forced", help="Also force each scale in every block.")] = False,
    rounds: Annotated[int, typer.Option(help="Measurements of each case.")] = 5,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    device: Device = "cpu",
    as_json: Json = False,
) -> None:
    """Measure the speed of each engine on this machine."""
    sizes = [_size(text) for text in (size or ["160x96"])]
    if not re.fullmatch(r"\d+(,\d+)*", frames) or rounds < 1:
        raise SafaError("Give --frames as whole numbers such as 2,4,8 and --rounds of at least 1.")
    from safa.bench import run_bench

    with progress_bar("cases") as bar:
        task = bar.add_task("measuring", total=None, speed="-")
        result = run_bench(
            weights or ["fast"],
            sizes,
            [int(count) for count in frames.split(",")],
            engines=engines.split(","),
            scales=(None, 0, 1, 2) if forced else (None,),
            rounds=rounds,
            device=device,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    rows = result.rows()
    if as_json:
        print(json.dumps(result.to_dict()))
    elif markdown:
        for number, row in enumerate(rows):
            print(f"| {' | '.join(row)} |" + ("\n|" + " --- |" * len(row) if not number else ""))
    else:
        table = Table(
            *rows[0], title=f"{result.device}, {result.threads} threads, {result.peak / 1e9:.0f} GFLOP/s peak"
        )
        for row in rows[1:]:
            table.add_row(*row)
        stdout.print(table)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or any(int(side) % 8 or not int(side) for side in match.groups()):
        raise SafaError(f"The size '{text}' must look like 320x184, with sides that are multiples of 8.")
    return int(match[1]), int(match[2])
