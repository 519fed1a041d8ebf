"""Results that others have published, from the data file beside this one; nothing in them is measured here."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safa.evaluation.protocols import FrameGroup, Variant

FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class PublishedRow:
    """One published number."""

    method: str
    part: FrameGroup
    psnr_y: float
    """dB."""
    ssim_y: float | None
    parameters: int
    variant: Variant
    source: str
    """Authors, method and place."""
    remark: str
    """What makes it not quite comparable; empty if nothing does."""


def published_rows(dataset: str, factor: int) -> list[PublishedRow]:
    """The rows for a data set by its name at a time factor, by part and then in the file's order."""
    methods: list[dict[str, Any]] = tomllib.loads(FILE.read_text())["method"]
    rows = [
        PublishedRow(
            method["name"],
            part,
            values[0],
            values[1] if len(values) > 1 else None,
            method["parameters"],
            result["variant"],
            method["source"],
            method.get("remark", ""),
        )
        for method in methods
        for result in method["result"]
        if (result["dataset"], result["factor"]) == (dataset, factor)
        for part, values in result["parts"].items()
    ]
    return sorted(rows, key=lambda row: row.part, reverse=True)
