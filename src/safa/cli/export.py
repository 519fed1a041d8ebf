"""The command that exports a network for other programs: export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from safa.cli.common import Json, Reporter, path_named, progress_bar
from safa.formatting import format_quantity


def export_command(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="Name of shipped weights or a file.")],
    output: Annotated[Path, typer.Option("--output", "-o", parser=path_named, metavar="DIR", help="Folder to write.")],
    format: Annotated[str, typer.Option("--format", help="onnx, or torch for torch.export archives (.pt2).")] = "onnx",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    as_json: Json = False,
) -> None:
    """Export a network for other programs, checked against PyTorch at three sizes; see docs/export.md."""
    from safa.export import export_model

    reporter = Reporter(as_json)
    with progress_bar("parts") as bar:
        task = bar.add_task("exporting", total=None, speed="-")

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=name, completed=done, total=total)
            reporter.event("progress", part=name, done=done, total=total)

        exported = export_model(weights, output, format, overwrite, show)
    differences = exported.differences
    figures = {
        "largest_difference": differences.largest,
        "image_difference": differences.image,
        "runtime": exported.runtime,
    }
    reporter.event("done", output=str(exported.folder), files=exported.files, bytes=exported.bytes, **figures)
    reporter.say(
        f"{exported.folder}: {len(exported.files)} files, {format_quantity(exported.bytes, 'B')}; largest difference "
        f"from PyTorch {differences.largest:.1e} (images {differences.image:.1e}) in {exported.runtime}"
    )
