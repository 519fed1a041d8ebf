"""A second of an upload with every network, side by side, while its choices are still being made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from safa.jobs.pipeline import Progress
from safa.jobs.preview import Tried, preview, previewed_weights
from safa.jobs.weights import AUTO
from safa.video.read.pictures import load_picture
from safa.video.read.reader import VideoReader
from safa.web.choices import FORMATS, upscale_settings
from safa.web.job_record import WebJob

SHEET, THUMBNAIL = "result.png", 320


def do_trial(
    job: WebJob,
    place: Path,
    weights: Mapping[str, str],
    computing: Mapping[str, str],
    tell: Callable[[Progress], None],
) -> dict[str, Any]:
    """Make the clip and the sheet beside the input, with the device, engine and precision of ``computing``.

    ``tell`` is called after every network and may raise to stop it.
    """
    done = 0
    # With "auto", all weights that could be chosen.
    names = {name: name for name in previewed_weights()} if AUTO in weights.values() else weights

    def tried(one: Tried) -> None:
        nonlocal done
        done += 1
        tell(Progress(done, len(names), 0.0, None))

    tell(Progress(0, len(names), 0.0, None))
    made = preview(
        place / "input",
        place / SHEET,
        settings=upscale_settings(job.settings),
        suffix=FORMATS[job.settings["format"]][1],
        weights=list(names.values()),
        overwrite=True,
        **computing,  # type: ignore[arg-type]
        on_tried=tried,
    )
    _save_thumbnail(made.sheet, place / "after.webp")
    with VideoReader(made.clip) as reader:
        info = reader.info
    return {
        "file": made.clip.name,
        "width": info.width,
        "height": info.height,
        "frames": info.frames or 0,
        "bytes": made.clip.stat().st_size,
        "note": made.note,
        "told": [[name, one.told()] for name, one in zip(names, made.tried, strict=True)],
    }


def _save_thumbnail(sheet: Path, path: Path) -> None:
    small = Image.fromarray(load_picture(sheet))
    small.thumbnail((2 * THUMBNAIL, THUMBNAIL))
    small.save(path, "WEBP", quality=85)
