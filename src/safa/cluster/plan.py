"""What each segment is made from: the driver's pass over the source, which computes no picture."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from safa.jobs.settings import UpscaleSettings
from safa.video.read.info import Frame
from safa.video.schedule.schedule import plan_windows
from safa.video.schedule.timeline import OutputTime
from safa.video.schedule.windows import PAIR, Span, Window
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
class PicturePlan:
    """One output frame: at ``t`` between the source frames ``first`` and ``second``, made from those in ``window``; all
    by their numbers. Where the two are the same frame, that frame is enlarged by itself.
    """

    first: int
    second: int
    t: float
    window: tuple[int, ...]


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
    parts: tuple[PicturePlan, ...]
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
        pictures: list[tuple[OutputTime, PicturePlan]] = []
        ticks: list[int] = []
        last: int | None = None
        cuts, dedup = self._settings.cuts, self._settings.dedup
        for window in plan_windows(self._noted(frames, origin), timeline, cuts, dedup, self._span):
            numbers = tuple(frame.number for frame in window.frames)
            for first, second, moment, t in _pictures_of(window):
                last = ticks_of(moment.time, self._time_base, last)
                self.frames = moment.number + 1
                if wants(moment.number):
                    self._need(window)
                    pictures.append((moment, PicturePlan(first, second, t, numbers)))
                    ticks.append(last)
                if self.frames % self._length == 0:
                    if pictures:
                        yield self._plan(pictures, ticks)
                    pictures, ticks = [], []
                    self._forget(numbers[0])
        if pictures:
            yield self._plan(pictures, ticks)
        self.end = timeline.end

    def _noted(self, frames: Iterable[Frame], origin: Fraction) -> Iterator[Frame]:
        for number, frame in enumerate(frames):
            self._times[number] = frame.time + origin
            yield frame

    def _need(self, window: Window[OutputTime]) -> None:
        for frame in window.frames:
            if frame.number not in self._needed:
                self._needed[frame.number] = Needed(frame.number, self._times[frame.number], checksum(frame.image))

    def _forget(self, number: int) -> None:
        """Source frames that no later segment needs."""
        self._times = {n: time for n, time in self._times.items() if n >= number - PREROLL}
        self._needed = {n: needed for n, needed in self._needed.items() if n >= number}

    def _plan(self, pictures: list[tuple[OutputTime, PicturePlan]], ticks: list[int]) -> SegmentPlan:
        numbers = sorted({number for _, picture in pictures for number in picture.window})
        earliest = max(min(self._times), numbers[0] - PREROLL)
        first, last = pictures[0][0], pictures[-1][0]
        return SegmentPlan(
            first.number // self._length,
            first.number,
            tuple(ticks),
            tuple(picture for _, picture in pictures),
            tuple(self._needed[number] for number in numbers),
            self._times[earliest],
            first.time,
            last.time,
        )


def _pictures_of(window: Window[OutputTime]) -> Iterator[tuple[int, int, OutputTime, float]]:
    for interval in window.intervals:
        for moment, t in interval.moments:
            yield interval.first.number, interval.second.number, moment, t


def checksum(image: np.ndarray) -> int:
    """CRC-32 of a picture: detects that it was decoded differently; it does not protect against tampering."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def _clock(seconds: Fraction) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
