"""The source frames of one segment, read on a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from safa.cluster.plan import Needed, SegmentPlan, checksum
from safa.errors import MediaError
from safa.video.read.folder import open_reader
from safa.video.read.info import Frame
from safa.video.read.options import ReadOptions
from safa.video.schedule.timeline import OutputTime
from safa.video.schedule.windows import Interval, Numbered, Window

INSTANT = Fraction(1, 10**9)


class DecodeMismatch(Exception):
    """A frame is not there, or is not what the plan saw."""


@dataclass(frozen=True)
class Reading:
    """How the driver reads the source; a worker must read it alike.

    ``zero`` is the source's ``clock_zero``, which ``start`` and ``end`` count from; ``alpha`` is as for the reader's
    ``frames``.
    """

    options: ReadOptions
    zero: Fraction
    alpha: bool


def near_frames(path: Path, reading: Reading, plan: SegmentPlan) -> Iterator[Numbered]:
    """The needed frames, decoded from a keyframe at or before the first one.

    Raises ``DecodeMismatch`` where that gives other pictures than decoding from the beginning gave the driver: in some
    damaged files, and in those whose keyframes cannot be decoded by themselves.
    """
    start, end = plan.seek - reading.zero, plan.needed[-1].time - reading.zero + INSTANT
    try:
        with open_reader(path, replace(reading.options, start=start, end=end)) as reader:
            numbers = {needed.time: needed for needed in plan.needed}
            found = (
                (numbers[frame.time + reader.origin], frame)
                for frame in reader.frames(reading.alpha)
                if frame.time + reader.origin in numbers
            )
            yield from _checked(found, plan)
    except MediaError as error:
        raise DecodeMismatch(str(error)) from error


def all_frames(path: Path, reading: Reading, plan: SegmentPlan, check: bool = True) -> Iterator[Numbered]:
    """The needed frames, decoded from the beginning as the driver does; ``check`` as in ``near_frames``."""
    numbers = {needed.number: needed for needed in plan.needed}
    with open_reader(path, reading.options) as reader:
        found = (
            (numbers[number], frame) for number, frame in enumerate(reader.frames(reading.alpha)) if number in numbers
        )
        yield from _checked(found, plan, check)


def windows_of(plan: SegmentPlan, frames: Iterator[Numbered]) -> Iterator[Window[OutputTime]]:
    """The plan's windows; ``frames`` are the needed ones in order, of which few are held at a time."""
    held: dict[int, Numbered] = {}
    for numbers, parts in groupby(enumerate(plan.parts, plan.first_frame), key=lambda numbered: numbered[1].window):
        held = {number: frame for number, frame in held.items() if number >= numbers[0]}
        while numbers[-1] not in held:
            frame = next(frames)
            held[frame.number] = frame
        intervals = []
        for number, part in parts:
            moment = OutputTime(number, part.first, Fraction(part.t), plan.start)
            intervals.append(Interval(held[part.first], held[part.second], [(moment, part.t)]))
        yield Window(tuple(held[number] for number in numbers), intervals)


def _checked(found: Iterator[tuple[Needed, Frame]], plan: SegmentPlan, check: bool = True) -> Iterator[Numbered]:
    """All needed frames, in order, and no other."""
    for wanted in plan.needed:
        needed, frame = next(found, (None, None))
        if frame is None or needed != wanted:
            raise DecodeMismatch(f"source frame {wanted.number} at {float(wanted.time):.3f} s is not there")
        if check and checksum(frame.image) != wanted.checksum:
            raise DecodeMismatch(f"source frame {wanted.number} at {float(wanted.time):.3f} s looks different")
        yield Numbered(wanted.number, wanted.time, frame.image)
