"""Reads options of times and rates into the values of ``UpscaleSettings`` and ``ReadOptions``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from safa.errors import SafaError
from safa.video.parse import parse_factor, parse_fps, parse_rate, parse_time


def parse_rates(rate: str | None, fps: str | None, slow: str | None) -> dict[str, Any]:
    """``rate``, ``fps`` and ``slow`` of ``UpscaleSettings``. Raises SafaError."""
    if rate is not None and fps is not None:
        raise SafaError("Both --rate and --fps are given; choose one of them.")
    return {
        "rate": parse_rate(rate) if rate is not None else None,
        "fps": parse_fps(fps) if fps is not None else None,
        "slow": parse_slow(slow),
    }


def parse_slow(slow: str | None) -> Fraction:
    """The factor of ``--slow``; 1 if it is not given. Raises SafaError."""
    return parse_factor(slow) if slow is not None else Fraction(1)


def parse_selection(source_fps: str | None, start: str | None = None, end: str | None = None) -> dict[str, Any]:
    """``source_fps``, ``start`` and ``end`` of ``ReadOptions``. Raises SafaError."""
    return {
        "source_fps": parse_fps(source_fps) if source_fps is not None else None,
        "start": parse_time(start) if start is not None else None,
        "end": parse_time(end) if end is not None else None,
    }


def check_source_fps(source_fps: str | None, sources: list[Path]) -> None:
    """Raise SafaError for ``--source-fps`` where no source is a folder."""
    if source_fps is not None and all(source.is_file() or str(source) == "-" for source in sources):
        raise SafaError("--source-fps is for folders of pictures; a video has frame times of its own. Leave it out.")
