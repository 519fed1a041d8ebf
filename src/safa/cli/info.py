"""What a file holds, or what is installed: info."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from safa.cli.console import Json, stdout

Facts = dict[str, Any]
Tables = dict[str, list[tuple[str, str]]]


def info_command(
    file: Annotated[str | None, typer.Argument(metavar="[FILE|WEIGHTS]", help="Video, weights file or name.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a video or a weights file holds and what its pictures are like; without one, what is installed.

    Of a video up to 48 frames are looked at, which takes seconds. --json gives everything, for programs.
    """
    if file is None:
        facts, tables = _installation()
    elif _is_weights(file):
        facts, tables = _weights(file)
    else:
        facts, tables = _video(Path(file))
    if as_json:
        stdout.print_line(json.dumps(facts, default=str))
        return
    for heading, rows in tables.items():
        stdout.print(f"[bold]{escape(heading)}[/bold]")
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2))
        for name, value in rows:
            table.add_row(f"  {name}", escape(value))
        stdout.print(table, soft_wrap=False)


def _is_weights(name: str) -> bool:
    """Whether it is the name of shipped weights or a weights file; a film may lack a suffix, too."""
    from safa.checkpoint import SHARPENED, shipped_names

    path = Path(name)
    if not path.is_file():
        if name.partition("@")[0] in SHARPENED:
            return True
        # What is not there and looks like no file is taken for a name, so that the error lists those that there are.
        plain = name != "-" and not path.exists() and path.name == name and not path.suffix
        return name in shipped_names() or path.suffix.lower() == ".safetensors" or plain
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix.lower() == ".safetensors" or name in shipped_names() or head[8:] == b"{"


def _video(path: Path) -> tuple[Facts, Tables]:
    from safa.cli.facts import look_rows, video_rows
    from safa.errors import MediaError
    from safa.jobs.weights import usual_name
    from safa.video.look import look_at
    from safa.video.read.reader import VideoReader

    with VideoReader(path) as reader:
        info = reader.info
    facts: Facts = {**info.to_dict(), "bytes": None, "look": None, "weights": None}
    if not path.is_file():  # a pipe cannot be read again
        return facts, {str(path): video_rows(info, None, None)}
    size = facts["bytes"] = path.stat().st_size
    try:
        look = look_at(path)
    except MediaError:  # of its frames none is whole
        return facts, {str(path): video_rows(info, None, size)}
    facts["look"], facts["weights"] = look.to_dict(), usual_name(look)
    heading = f"in {look.frames} frames" + (f" over {look.seconds:.1f} s" if look.seconds else "")
    return facts, {str(path): video_rows(info, look, size), heading: look_rows(look)}


def _installation() -> tuple[Facts, Tables]:
    import platform
    from importlib.metadata import version

    import av

    from safa.checkpoint import DEFAULT, shipped_names
    from safa.cli.facts import installation_rows
    from safa.engine import availability, usual_precision
    from safa.engine.device import processor_threads

    facts = {
        "safa_video": version("safa-video"),
        "python": platform.python_version(),
        "torch": None,
        "av": av.__version__,
        "threads": processor_threads(),
        "engines": availability(),
        "precision": usual_precision(),
        "cuda": "not available",
        "xpu": "not available",
        "mps": "not available",
        "weights": ", ".join(shipped_names()),
    }
    with suppress(ModuleNotFoundError):
        import torch

        facts["torch"] = torch.__version__
        if torch.cuda.is_available():
            facts["cuda"] = torch.cuda.get_device_name()
        if torch.xpu.is_available():
            facts["xpu"] = torch.xpu.get_device_name()
        if torch.backends.mps.is_available():
            facts["mps"] = "available"
    return facts, {"this installation": installation_rows(facts, DEFAULT)}


def _weights(name: str) -> tuple[Facts, Tables]:
    from safa.checkpoint import DEFAULT, load_checkpoint, shipped_names
    from safa.cli.facts import weights_rows

    checkpoint = load_checkpoint(name)
    facts = {
        "weights": checkpoint.name,
        "sha256": checkpoint.sha256,
        "parameters": checkpoint.parameters,
        **checkpoint.config.to_dict(),
        **checkpoint.provenance,
    }
    return facts, {name: weights_rows(checkpoint, name == DEFAULT and name in shipped_names())}
