"""What of a source is read, and how."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class ReadOptions:
    """What of a source is read, and how; `open_reader` takes it.

    Attributes:
        source_fps: frames per second of a folder of pictures; a video has frame times of its own.
        start, end: seconds as players show them, ``start <= time < end``; None for no limit.
        deinterlace: make whole frames of interlaced ones.
    """

    source_fps: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    deinterlace: bool = True


EVERYTHING = ReadOptions()
"""The whole of a video."""
