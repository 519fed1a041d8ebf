"""The plan of each segment: what it is made from, found by one pass over the source that makes no picture."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from safa.formatting import format_clock
from safa.options import UpscaleSettings
from safa.video.info import Frame
from safa.video.schedule import OutputTime, plan_windows
from safa.video.segments import ticks_of
from safa.video.windows import PAIR, Span, Window

# Frames decoded before the first one that is needed, because the deinterlacing filter uses them.
PREROLL = 3


@dataclass(frozen=True)
class NeededFrame:
    """A source frame of a segment.

    Args:
        number: its index in the source.
        time: in seconds, as stored in the file.
        checksum: CRC-32 of its pixels.
    """

    number: int
    time: Fraction
    checksum: int


@dataclass(frozen=True)
class PicturePlan:
    """An output frame at ``t`` between two source frames; if both are the same, that frame is only enlarged.

    Args:
        first, second: indices of the two source frames.
        t: in [0, 1].
        window: indices of the source frames that the network sees.
    """

    first: int
    second: int
    t: float
    window: tuple[int, ...]


@dataclass(frozen=True)
class SegmentPlan:
    """Everything that a segment depends on, apart from the source's pixels and the network.

    Args:
        number: of the segment.
        first_frame: index of its first output frame.
        ticks: times of the output frames in units of the output's time base.
        pictures: how the output frames are made.
        needed: the source frames, in order.
        seek: time in the file, in seconds, from which to decode.
        start, stop: times of the first and last output frame in seconds.
    """

    number: int
    first_frame: int
    ticks: tuple[int, ...]
    pictures: tuple[PicturePlan, ...]
    needed: tuple[NeededFrame, ...]
    seek: Fraction
    start: Fraction
    stop: Fraction

    def describe(self) -> str:
        """Return number, frames and times of the segment as text."""
        last = self.first_frame + len(self.ticks) - 1
        times = f"{format_clock(self.start)} to {format_clock(self.stop)}"
        return f"segment {self.number} (frames {self.first_frame} to {last}, {times})"


class Planner:
    """Plans the segments of a job in one pass over the source.

    Args:
        time_base: of the output.
        frames_per_segment: number of output frames in a segment.
        span: of the network's windows.

    Attributes:
        frames: output frames planned so far.
        end: time in seconds until which the last output frame is shown, once all are planned.
    """

    def __init__(
        self, settings: UpscaleSettings, time_base: Fraction, frames_per_segment: int, span: Span = PAIR
    ) -> None:
        self.frames = 0
        self.end: Fraction | None = None
        self._settings = settings
        self._time_base = time_base
        self._length = frames_per_segment
        self._span = span
        self._times: dict[int, Fraction] = {}  # of source frames that the current segment may still need
        self._needed: dict[int, NeededFrame] = {}

    def plans(self, frames: Iterable[Frame], origin: Fraction, wants: Callable[[int], bool]) -> Iterator[SegmentPlan]:
        """Yield a plan for every segment that is still to be made, as soon as it is known.

        Args:
            frames: all source frames.
            origin: of the reader, added to the frames' times.
            wants: returns whether an output frame is still to be made.
        """
        timeline = self._settings.timeline()
        pictures: list[tuple[OutputTime, PicturePlan]] = []
        ticks: list[int] = []
        last: int | None = None
        cuts, dedup = self._settings.cuts, self._settings.dedup
        for window in plan_windows(self._noted(frames, origin), timeline, cuts, dedup, self._span):
            numbers = tuple(frame.number for frame in window.frames)
            for first, second, moment, t in _output_frames(window):
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
                self._needed[frame.number] = NeededFrame(frame.number, self._times[frame.number], checksum(frame.image))

    def _forget(self, number: int) -> None:
        """Forget source frames that no later segment needs."""
        self._times = {n: time for n, time in self._times.items() if n >= number - PREROLL}
        self._needed = {n: needed for n, needed in self._needed.items() if n >= number}

    def _plan(self, pictures: list[tuple[OutputTime, PicturePlan]], ticks: list[int]) -> SegmentPlan:
        numbers = sorted({number for _, picture in pictures for number in picture.window})
        earliest = max(min(self._times), numbers[0] - PREROLL)
        first, last = pictures[0][0], pictures[-1][0]
        return SegmentPlan(
            number=first.number // self._length,
            first_frame=first.number,
            ticks=tuple(ticks),
            pictures=tuple(picture for _, picture in pictures),
            needed=tuple(self._needed[number] for number in numbers),
            seek=self._times[earliest],
            start=first.time,
            stop=last.time,
        )


def _output_frames(window: Window[OutputTime]) -> Iterator[tuple[int, int, OutputTime, float]]:
    for interval in window.intervals:
        for moment, t in interval.moments:
            yield interval.first.number, interval.second.number, moment, t


def checksum(image: np.ndarray) -> int:
    """Return the CRC-32 of a picture, which detects that it was decoded differently, but not tampering."""
    return zlib.crc32(np.ascontiguousarray(image).data)
