"""Records of the finished outputs of a batch, in a hidden folder beside them.

    .safa-finished/<name of the output>.json     what the output was made from, and how it looks

A record says what its output was made from. It is written once the output has passed its check, before the work folder
is deleted.
"""

import json
from pathlib import Path
from typing import Any

from safa.video.files import appearance, write_json

FOLDER = ".safa-finished"
VERSION = 1


def record_finished(output: Path, request: dict[str, Any]) -> None:
    """Note what `output`, which is as it should be, was made from (JSON-ready)."""
    path = _record(output)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"version": VERSION, "request": request, "appearance": appearance(output)})


def made_from(output: Path) -> dict[str, Any] | None:
    """What `output` was made from; None where that is not known, or the file has been changed since."""
    try:
        stored = json.loads(_record(output).read_text())
        known = stored["version"] == VERSION and stored["appearance"] == appearance(output) != ""
        return dict(stored["request"]) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def has_records(folder: Path) -> bool:
    """Whether a batch put its outputs there."""
    return (folder / FOLDER).is_dir()


def _record(output: Path) -> Path:
    return output.parent / FOLDER / f"{output.name}.json"
