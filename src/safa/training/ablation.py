"""The ablation table: named recipes that differ in one setting, trained for the same budget and compared.

A table is a recipe with a ``[rows]`` part: every row has a label and the settings in which it differs. Finished rows
are kept beside their runs, so a table that was stopped goes on where it was. Every run's folder says in
``setting.json`` what it was made with; one that was made with anything else is moved aside, never mixed in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from safa.checkpoint import load_checkpoint
from safa.data.dataset import open_material
from safa.data.material import Material
from safa.errors import SafaError
from safa.files import write_text
from safa.training.config import TrainConfig, merge, parse_overrides, read_recipe
from safa.training.monitor import Validator
from safa.training.trainer import TrainProgress, train
from safa.video.files import appearance

# Size that operations are stated for, in output pixels.
FRAME = (384, 640)
SETTING = "setting.json"


@dataclass(frozen=True)
class Row:
    """One line of the table before it is trained."""

    name: str
    label: str
    config: TrainConfig
    missing: str | None
    """A file the row needs that is not there; it is then left out."""


@dataclass(frozen=True)
class AblationResult:
    """One line of the finished table; the figures of a row that was left out are None."""

    name: str
    label: str
    steps: int = 0
    parameters: int | None = None
    gigaflop: float | None = None
    """Operations of an output frame of 384x640 pixels when a pair is asked for three times, or a window for its frames
    and one time between, at the scales that were chosen on the held-out samples; 2 operations a multiply-add,
    convolutions and matrix products only.
    """
    inputs: float | None = None
    """Y-PSNR in dB on the held-out samples at the input times."""
    between: float | None = None
    """Y-PSNR in dB at the times between them."""
    skipped: str | None = None
    """Why it was left out."""


def read_rows(path: Path, overrides: Sequence[str] = (), only: Sequence[str] = ()) -> list[Row]:
    """Rows of a table.

    Args:
        overrides: settings for all rows, such as ``network.channels=16``; they win over the rows' own.
        only: names of the rows to take; all by default.

    Raises:
        SafaError: an unreadable table, an unknown row or setting.
    """
    values = read_recipe(path)
    rows: dict[str, dict[str, Any]] = values.pop("rows", {})
    unknown = [name for name in only if name not in rows]
    if unknown or not rows:
        raise SafaError(f"The table {path} has no row {unknown[0] if unknown else 'at all'}; it has {', '.join(rows)}.")
    result = []
    for name, changes in rows.items():
        if only and name not in only:
            continue
        label = str(changes.pop("label", name))
        config = TrainConfig.from_dict(merge(merge(values, changes), parse_overrides(overrides)))
        files = (config.extractor_weights, config.perceptual_weights)
        missing = next((file for file in files if file is not None and not Path(file).is_file()), None)
        result.append(Row(name, label, config, missing))
    return result


def ablate(
    rows: Sequence[Row],
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    accelerator: str = "auto",
    devices: int | str = "auto",
    on_progress: Callable[[Row, TrainProgress], None] | None = None,
    on_result: Callable[[AblationResult], None] | None = None,
) -> list[AblationResult]:
    """Train every row for ``minutes`` or ``steps`` and measure it on the held-out samples; equal rows are trained once.

    Args:
        rows: from ``read_rows``.
        data: a pack, or a folder of which a part is held out.
        out: gets a run's folder for every row and ``table.md``. Rows of an earlier call are kept, and unfinished ones
            gone on with, where settings, budget and data were the same.
        on_progress, on_result: called after every step, and after every row.

    Raises:
        SafaError: neither or both budgets, no held-out data, or a run that cannot be trained.
    """
    if (minutes is None) == (steps is None):
        raise SafaError("Give the budget of a row either in minutes or in steps.")
    material = open_material(data, rows[0].config.held_out if rows else 0.0)
    if not material.held_out:
        raise SafaError(f"{data} holds nothing out to measure on; pack more clips, or raise held_out.")
    looks, results = _looks(data), []
    same: dict[TrainConfig, AblationResult] = {}  # every axis has a row that is the base itself: it is trained once
    for row in rows:
        config = row.config
        if steps is not None:
            config = dataclasses.replace(config, steps=steps, epochs=None, hours=None)
        setting = {"config": config.to_dict(), "minutes": minutes, "data": looks}
        result = _kept(out / row.name, setting)
        if result is None and row.config in same:
            result = same[row.config]
        if result is not None:
            result = dataclasses.replace(result, name=row.name, label=row.label)
        else:
            result = AblationResult(row.name, row.label, skipped=f"needs {row.missing}")
            if row.missing is None:
                _make_room(out / row.name, setting)

                def report(progress: TrainProgress, row: Row = row) -> None:
                    if on_progress is not None:
                        on_progress(row, progress)

                with _stopwatch(out / row.name / "spent.json") as spent:
                    done = train(
                        config,
                        data,
                        out / row.name,
                        minutes=None if minutes is None else max(0.0, minutes - spent),
                        resume=(out / row.name / "state.safetensors").is_file(),
                        accelerator=accelerator,
                        devices=devices,
                        on_progress=report,
                    )
                result = _measured(row, config, done, material, out / row.name)
                write_text(out / row.name / "result.json", json.dumps(dataclasses.asdict(result), indent=1))
        results.append(result)
        same.setdefault(row.config, result)
        if on_result is not None:
            on_result(result)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "table.md", as_table(results) + "\n")
    return results


def as_table(results: Sequence[AblationResult]) -> str:
    """Markdown."""
    lines = [
        "| row | setting | steps | parameters | GFLOP | inputs dB | between dB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results:
        if row.parameters is None or row.gigaflop is None or row.inputs is None or row.between is None:
            lines.append(f"| {row.name} | {row.label} | - | - | - | {row.skipped} | - |")
        else:
            lines.append(
                f"| {row.name} | {row.label} | {row.steps} | {row.parameters / 1e6:.2f} M | {row.gigaflop:.1f} | "
                f"{row.inputs:.2f} | {row.between:.2f} |"
            )
    return "\n".join(lines)


def _kept(folder: Path, setting: dict[str, Any]) -> AblationResult | None:
    """Return the result of a run with this setting, if there is one."""
    path = folder / "result.json"
    return AblationResult(**json.loads(path.read_text())) if path.is_file() and _is_of(folder, setting) else None


def _is_of(folder: Path, setting: dict[str, Any]) -> bool:
    """Return whether a run was made with this setting; False for one that cannot be read."""
    try:
        stored = json.loads((folder / SETTING).read_text())
    except (OSError, ValueError):
        return False
    return bool(stored == json.loads(json.dumps(setting)))


def _make_room(folder: Path, setting: dict[str, Any]) -> None:
    """A folder in which a run with this setting can begin or go on; any other run in it is moved aside."""
    if folder.exists() and not _is_of(folder, setting):
        numbers = itertools.count(1)
        while (aside := folder.with_name(f"{folder.name}.earlier-{next(numbers)}")).exists():
            pass
        folder.rename(aside)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / SETTING, json.dumps(setting, indent=1))


@contextmanager
def _stopwatch(path: Path) -> Iterator[float]:
    """Minutes that earlier calls have spent on a run; those of this one are added, however it ends."""
    spent = float(json.loads(path.read_text())) if path.is_file() else 0.0
    began = monotonic()
    try:
        yield spent
    finally:
        write_text(path, json.dumps(spent + (monotonic() - began) / 60))


def _looks(data: Path) -> str:
    """A digest by which other data are told apart: of a pack's size and ends, of a folder's names and sizes."""
    if data.is_file():
        return appearance(data)
    files = sorted(path for path in data.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(data).as_posix()} {path.stat().st_size}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _measured(row: Row, config: TrainConfig, steps: int, material: Material, folder: Path) -> AblationResult:
    network = load_checkpoint(folder / "last.safetensors").network
    validator = Validator(material, config, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        validation = validator.measure(network, steps)
    assert validation is not None  # held-out material was checked for
    frames = sum(len(batch.t) * (config.frames + 1) for batch in validator.batches)
    share = FRAME[0] * FRAME[1] / config.patch**2
    parameters = sum(parameter.numel() for parameter in network.parameters())
    gigaflop = counter.get_total_flops() / frames * share / 1e9
    return AblationResult(row.name, row.label, steps, parameters, gigaflop, validation.inputs, validation.between)
