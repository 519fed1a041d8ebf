"""A finished segment in the work folder, and the record beside it that says what is in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safa.video.files import write_json


@dataclass(frozen=True)
class Segment:
    """A finished segment: how many frames, and the first and last one's ticks of the output's time base.

    `reorder` is how many frames the encoder delays presentation by (0 without B-frames), `bytes` the file's size.
    """

    path: Path
    frames: int
    first: int
    last: int
    reorder: int
    bytes: int

    @property
    def record(self) -> Path:
        """The file that says all this, and the time of every frame."""
        return self.path.with_suffix(".json")

    def times(self) -> list[int]:
        """Ticks of all its frames in the order shown, read from the record: in memory they would grow with the film."""
        times: list[int] = json.loads(self.record.read_text())["times"]
        return times


def segment_name(number: int) -> str:
    """The name of a segment's file in the work folder."""
    return f"{number:06d}.mkv"


def write_record(path: Path, times: list[int], reorder: int) -> Segment:
    """Record a segment whose file is in place; `times` are its frames' ticks in the order shown."""
    segment = Segment(path, len(times), times[0], times[-1], reorder, path.stat().st_size)
    write_json(segment.record, {"times": times, "reorder": reorder, "bytes": segment.bytes})
    return segment


def read_record(path: Path) -> Segment | None:
    """The segment in the file `path`; None where it or its record is missing or damaged, so that it is made again."""
    try:
        stored = json.loads(path.with_suffix(".json").read_text())
        times = stored["times"]
        segment = Segment(path, len(times), times[0], times[-1], stored["reorder"], stored["bytes"])
        return segment if path.stat().st_size == segment.bytes else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None
