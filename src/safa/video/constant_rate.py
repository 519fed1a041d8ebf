"""Constant frame rates, which outputs without times (y4m, numbered pictures) need."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

from safa.video.codecs import container_of
from safa.video.source import FrameSource

# NTSC's frames a second, and film's there.
TELEVISION = [Fraction(rate * 1000, 1001) for rate in (12, 15, 24, 30, 48, 60, 120, 240)]
# Outputs that show every frame equally long.
TIMELESS = {"yuv4mpegpipe", "png"}


def one_rate(reader: FrameSource, output: Path, rate: int) -> Fraction | None:
    """The one rate, frames per second, that `rate` frames an interval must be made for; None where they may vary."""
    usual = uneven_rate(reader, rate) if container_of(output) in TIMELESS else None
    return None if usual is None else usual * rate


def uneven_rate(reader: FrameSource, parts: int = 1) -> Fraction | None:
    """Return the usual frames per second of a source of varying rate; None if it is constant or cannot be read twice.

    It varies where even steps of the same number would miss a frame by more than half of one of the `parts` that
    every step is divided into: clocks that only count milliseconds are constant. Packets are read, nothing is decoded.
    """
    times = reader.times()
    if len(times) < 3:
        return None
    shown = times[:-1]  # the last one is the end
    step = (shown[-1] - shown[0]) / (len(shown) - 1)
    missed = max(abs(time - shown[0] - number * step) for number, time in enumerate(shown))
    if missed <= step / (2 * parts) and times[-1] - shown[-1] <= step * Fraction(3, 2):
        return None
    intervals = [after - before for before, after in pairwise(shown)]
    longest = median(intervals) * Fraction(3, 2)  # the rest are pauses
    usual = [interval for interval in intervals if interval <= longest]
    return _usual_rate(len(usual) / sum(usual, Fraction(0)))


def _usual_rate(rate: Fraction) -> Fraction:
    """Return the nearest whole number of frames a second, or a television rate such as 30000/1001."""
    return min(max(Fraction(round(rate)), Fraction(1)), *TELEVISION, key=lambda known: abs(known - rate))
