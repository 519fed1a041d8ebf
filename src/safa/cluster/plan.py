"""What each segment is made from: the driver's pass over the source, which computes no picture."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from safa.jobs.settings import UpscaleSettings
from safa.video.read.source import Frame
from safa.video.schedule.schedule import FrameTask, planned
from safa.video.schedule.windows import PAIR, Span
from safa.video.write.segments import ticks_of

# Frames decoded before the first one that is needed: the deinterlacing filter looks back.
PREROLL = 3


@dataclass(frozen=True)
class Needed:
    """A source frame: its place in the source from 0, its time in the file in seconds, CRC-32 of its pixels."""

    number: int
    time: Fraction
    checksum: int


@dataclass(frozen=True)
class TaskNumbers:
    """A ``FrameTask`` with the numbers of its frames in their place."""

    first: int
    second: int
    t: float
    window: tuple[int, ...]

    @staticmethod
    def of(step: FrameTask) -> TaskNumbers:
        """What there is to tell of ``step``."""
        return TaskNumbers(step.first.number, step.second.number, step.t, tuple(frame.number for frame in step.window))


@dataclass(frozen=True)
class SegmentPlan:
    """All that a segment depends on beside the source's pixels and the network.

    Output frame ``first_frame + k`` is shown from ``ticks[k]`` on and made as ``parts[k]`` says. ``needed`` are the
    source frames it takes, in order, ``seek`` the time in the file to decode from, ``start`` and ``stop`` the times in
    the output of the first and last frame; all in seconds.
    """

    number: int
    first_frame: int
    ticks: tuple[int, ...]
    parts: tuple[TaskNumbers, ...]
    needed: tuple[Needed, ...]
    seek: Fraction
    start: Fraction
    stop: Fraction

    def describe(self) -> str:
        """For messages: which part of the film this is."""
        last = self.first_frame + len(self.ticks) - 1
        return (
            f"segment {self.number} (frames {self.first_frame} to {last}, {_clock(self.start)} to {_clock(self.stop)})"
        )


class Planner:
    """One pass over the source. ``frames`` and ``end`` (seconds) are complete once ``plans`` is exhausted."""

    def __init__(
        self, settings: UpscaleSettings, time_base: Fraction, frames_per_segment: int, span: Span = PAIR
    ) -> None:
        self.frames = 0
        """Output frames planned so far."""
        self.end: Fraction | None = None
        self._settings = settings
        self._time_base = time_base
        self._length = frames_per_segment
        self._span = span
        self._times: dict[int, Fraction] = {}  # of source frames that the open segment may still need
        self._needed: dict[int, Needed] = {}

    def plans(self, frames: Iterable[Frame], origin: Fraction, wants: Callable[[int], bool]) -> Iterator[SegmentPlan]:
        """A plan for every segment whose frames ``wants`` says are still to be made, as soon as it is settled.

        Args:
            frames: of the whole source, as the reader gives them; ``origin`` is the reader's.
            wants: the journal's.
        """
        timeline = self._settings.timeline()
        steps: list[FrameTask] = []
        ticks: list[int] = []
        last: int | None = None
        cuts, dedup = self._settings.cuts, self._settings.dedup
        for step in planned(self._noted(frames, origin), timeline, cuts, dedup, self._span):
            last = ticks_of(step.moment.time, self._time_base, last)
            self.frames = step.number + 1
            if wants(step.number):
                self._need(step)
                steps.append(step)
                ticks.append(last)
            if self.frames % self._length == 0:
                if steps:
                    yield self._plan(steps, ticks)
                steps, ticks = [], []
                self._forget(step.window[0].number)
        if steps:
            yield self._plan(steps, ticks)
        self.end = timeline.end

    def _noted(self, frames: Iterable[Frame], origin: Fraction) -> Iterator[Frame]:
        for number, frame in enumerate(frames):
            self._times[number] = frame.time + origin
            yield frame

    def _need(self, step: FrameTask) -> None:
        for frame in step.window:
            if frame.number not in self._needed:
                self._needed[frame.number] = Needed(frame.number, self._times[frame.number], checksum(frame.image))

    def _forget(self, number: int) -> None:
        """Source frames that no later segment needs."""
        self._times = {n: time for n, time in self._times.items() if n >= number - PREROLL}
        self._needed = {n: needed for n, needed in self._needed.items() if n >= number}

    def _plan(self, steps: list[FrameTask], ticks: list[int]) -> SegmentPlan:
        numbers = sorted({frame.number for step in steps for frame in step.window})
        earliest = max(min(self._times), numbers[0] - PREROLL)
        return SegmentPlan(
            steps[0].number // self._length,
            steps[0].number,
            tuple(ticks),
            tuple(TaskNumbers.of(step) for step in steps),
            tuple(self._needed[number] for number in numbers),
            self._times[earliest],
            steps[0].moment.time,
            steps[-1].moment.time,
        )


def checksum(image: np.ndarray) -> int:
    """CRC-32 of a picture: tells what was decoded differently, not who tampered with it."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def _clock(seconds: Fraction) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
