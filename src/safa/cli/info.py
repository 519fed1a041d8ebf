"""What a file holds, or what is installed: info."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from safa.cli.console import Json, stdout


def info(
    file: Annotated[str | None, typer.Argument(metavar="[FILE|WEIGHTS]", help="Video, weights file or name.")] = None,
    as_json: Json = False,
) -> None:
    """Say what a video or a weights file holds; without one, what this installation has."""
    if file is None:
        facts = _installation()
    elif _is_weights(file):
        facts = _weights_facts(file)
    else:
        from safa.video.read.reader import VideoReader

        with VideoReader(Path(file)) as reader:
            facts = reader.info.to_dict()
    if as_json:
        print(json.dumps(facts, default=str))
    else:
        for name, value in facts.items():
            stdout.print(f"{name.replace('_', ' ')}: {escape(str(value))}")


def _is_weights(name: str) -> bool:
    """Whether it is the name of shipped weights or a weights file; a film may lack a suffix, too."""
    from safa.checkpoint import shipped_names

    path = Path(name)
    if not path.is_file():
        # What is not there and looks like no file is taken for a name, so that the error lists those that there are.
        plain = name != "-" and not path.exists() and path.name == name and not path.suffix
        return name in shipped_names() or path.suffix.lower() == ".safetensors" or plain
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix.lower() == ".safetensors" or name in shipped_names() or head[8:] == b"{"


def _installation() -> dict[str, Any]:
    import platform
    from importlib.metadata import version

    import av
    import torch

    from safa.checkpoint import shipped_names
    from safa.engine import availability

    return {
        "safa_video": version("safa-video"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "av": av.__version__,
        "threads": torch.get_num_threads(),
        "engines": availability(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "not available",
        "mps": "available" if torch.backends.mps.is_available() else "not available",
        "weights": ", ".join(shipped_names()),
    }


def _weights_facts(name: str) -> dict[str, Any]:
    from safa.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(name)
    return {
        "weights": checkpoint.name,
        "sha256": checkpoint.sha256,
        "parameters": sum(parameter.numel() for parameter in checkpoint.network.parameters()),
        **checkpoint.network.config.to_dict(),
        **checkpoint.provenance,
    }
