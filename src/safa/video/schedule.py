"""Frames that repeat the one before: animation on twos, telecine, screen recordings."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import attrgetter

import cv2
import numpy as np

from safa.video.cuts import Change, with_changes
from safa.video.info import Frame
from safa.video.windows import PAIR, Numbered, Span, Window, WindowGrid

BLOCK = 8  # pixels
# Difference of the most different block, of 255. Below SAME nothing moved. A repeat that was encoded again differs
# by more than that, but by far less than the frames that are no repeats: under SHARE of their usual difference.
SAME = 2.0
SHARE = 0.3
RECENT = 9  # differing frames that "usual" is taken over


class DuplicateDetector:
    """Decides for each frame whether it shows the same picture as the last one that was not a duplicate.

    Every block must agree, so a moving mouth in a still picture is motion; and comparing with the last *different*
    frame lets slow motion add up until it is seen. After `longest` duplicates in a row the next frame counts as
    different: the motion after a still shot must not be spread over all of it.
    """

    def __init__(self, longest: int = 4) -> None:
        self._longest = longest
        self._run = 0
        self._reference: np.ndarray | None = None
        self._differences: deque[float] = deque(maxlen=RECENT)

    def begin(self, image: np.ndarray) -> None:
        """Take the first frame of another scene: what was usual before says nothing about it."""
        self._reference, self._run = np.ascontiguousarray(image[..., :3]), 0
        self._differences.clear()

    def is_duplicate(self, image: np.ndarray) -> bool:
        """Take the next frame, H,W,3 or H,W,4 RGB, uint8 or uint16; the first one never is a duplicate."""
        picture = np.ascontiguousarray(image[..., :3])
        if self._reference is None:
            self._reference = picture
            return False
        difference = _largest_block(self._reference, picture)
        usual = float(np.median(self._differences)) if self._differences else 0.0
        if self._run < self._longest and difference < max(SAME, SHARE * usual):
            self._run += 1
            return True
        self._reference, self._run = picture, 0
        self._differences.append(difference)
        return False


def _largest_block(first: np.ndarray, second: np.ndarray) -> float:
    """Mean difference of the most different block, of 255."""
    difference = cv2.absdiff(first, second).max(-1).astype(np.float32)
    height, width = difference.shape
    size = (max(1, round(width / BLOCK)), max(1, round(height / BLOCK)))
    blocks = cv2.resize(difference, size, interpolation=cv2.INTER_AREA)
    return float(blocks.max()) / (257 if first.dtype == np.uint16 else 1)


# When the output frames are shown, and between which source frames each one lies.

HALF = Fraction(1, 2)


@dataclass(frozen=True)
class OutputTime:
    """Output frame `number`, from 0: at `t` in [0, 1) between source frames `index` and `index + 1`, shown at `time`
    seconds.

    t == 0 means exactly on source frame `index`. A frame is shown until the next one; the last until
    `Timeline.end`.
    """

    number: int
    index: int
    t: Fraction
    time: Fraction


class Timeline:
    """The output moments for source frames that arrive one by one.

    Exactly one of the two plans:
    - `rate=N`: N evenly spread moments in every source interval (so also for a variable frame rate), then the
      last source frame: (n - 1) * N + 1 frames for n source frames. The last one lasts as long as it did in
      the source.
    - `fps=F`: moments at start + k / F, exactly, whatever the source rate. Up to the last source frame they
      lie where they fall; beyond it the last frame is *held* (t == 0) on the same grid for as long as the
      source shows it, so that the output has a truly constant rate even where durations are not stored. A
      rest shorter than half a frame is added to the frame before.

    `slow` multiplies all times (2 = half speed) before the plan is laid over them.
    `end` is when the last output frame stops being shown: the source's own end times `slow`. Known after
    `finish`.
    """

    def __init__(self, rate: int | None = None, fps: Fraction | None = None, slow: Fraction = Fraction(1)) -> None:
        if (rate is None) == (fps is None):
            raise ValueError("give either rate or fps")
        if (rate is not None and rate < 1) or (fps is not None and fps <= 0) or slow <= 0:
            raise ValueError("rate must be at least 1; fps and slow must be above 0")
        self.rate = rate
        self.fps = fps
        self.slow = slow
        self.end: Fraction | None = None
        self._index = -1  # source frame that the open interval starts with; duplicates are not counted
        self._marks: list[Fraction] = []  # its time and those of its duplicates, on the output clock
        self._grid: Fraction | None = None  # next moment of the fps plan
        self._made = 0  # output frames so far

    def push(self, time: Fraction, duplicate: bool = False) -> list[OutputTime]:
        """Take the next source frame's time (seconds) and return the moments before it, in order.

        A `duplicate` shows the same picture as the frame before it: it gets no index, and the motion to the
        next different frame is spread over the whole interval. Indices therefore count the frames that are no
        duplicates. Raises ValueError where times do not increase.
        """
        time = time * self.slow
        if self._marks and time <= self._marks[-1]:
            raise ValueError(f"source times must increase: {time} after {self._marks[-1]}")
        if self._grid is None:
            self._grid = time
        if duplicate and self._marks:
            self._marks.append(time)
            return []
        moments = self._inside(time) if self._marks else []
        self._index += 1
        self._marks = [time]
        return moments

    def finish(self, duration: Fraction) -> list[OutputTime]:
        """Take the last source frame's duration (seconds), set `end` and return the remaining moments."""
        if duration <= 0:
            raise ValueError("the last source frame must last longer than 0")
        if not self._marks:
            return []
        last = self._marks[-1]
        self.end = last + duration * self.slow
        if self.rate is not None:
            times = [*self._spread(last), last]
        else:
            times = self._grid_until(last, inclusive=True)
            times += self._grid_until(self.end - HALF / self._fps, inclusive=True)
        return [self._moment(Fraction(0), time) for time in times]

    @property
    def _fps(self) -> Fraction:
        assert self.fps is not None
        return self.fps

    def _inside(self, stop: Fraction) -> list[OutputTime]:
        """Return the moments from the open interval's first frame up to, not including, the frame at `stop`."""
        start = self._marks[0]
        times = self._spread(stop) if self.rate is not None else self._grid_until(stop, inclusive=False)
        return [self._moment((time - start) / (stop - start), time) for time in times]

    def _moment(self, t: Fraction, time: Fraction) -> OutputTime:
        self._made += 1
        return OutputTime(self._made - 1, self._index, t, time)

    def _spread(self, stop: Fraction) -> list[Fraction]:
        """`rate` even steps in each interval between the marks and `stop`; nothing where `stop` is the last mark."""
        assert self.rate is not None
        marks = self._marks if self._marks[-1] == stop else [*self._marks, stop]
        return [a + (b - a) * k / self.rate for a, b in pairwise(marks) for k in range(self.rate)]

    def _grid_until(self, stop: Fraction, inclusive: bool) -> list[Fraction]:
        """Walk the fps grid up to `stop`."""
        assert self._grid is not None
        times = []
        while self._grid < stop or (inclusive and self._grid == stop):
            times.append(self._grid)
            self._grid += 1 / self._fps
        return times


def output_time_base(
    source: Fraction, rate: int | None = None, fps: Fraction | None = None, slow: Fraction = Fraction(1)
) -> Fraction:
    """Return the coarsest time base (seconds per tick, 1 / integer) that holds all moments of a `Timeline` exactly.

    `source` is the time base of the source frames' times. Encoders and containers take no finer tick than 1
    ns; where exactness would need one, the answer is 1 microsecond and times are rounded to it.
    """
    if fps is None:
        tick = source * slow / (rate or 1)
    else:
        stretched = source * slow
        step = 1 / fps
        numerator = math.gcd(stretched.numerator * step.denominator, step.numerator * stretched.denominator)
        tick = Fraction(numerator, stretched.denominator * step.denominator)
    exact = Fraction(1, tick.denominator)
    return exact if exact.denominator <= 10**9 else Fraction(1, 10**6)


# Which source frames each output frame is made from, settled without computing a picture.


def plan_windows(
    frames: Iterable[Frame],
    timeline: Timeline,
    cuts: bool = True,
    dedup: bool = False,
    span: Span = PAIR,
    is_needed: Callable[[int], bool] | None = None,
) -> Iterator[Window[OutputTime]]:
    """The windows that all moments of the timeline are made from, as soon as they are settled; about `span.frames`
    source frames are held.

    Args:
        cuts: next to scene cuts and flashes the nearer frame stands by itself, as there is no motion to follow.
        dedup: frames that repeat the one before are left out and the motion is spread over their time.
        is_needed: whether the output frame with this number is to be made; all of them if None.
    """
    repeats = DuplicateDetector() if dedup else None
    grid: WindowGrid[OutputTime] = WindowGrid(span)
    last: Frame | None = None
    begun = Fraction(0)  # when the last frame that repeats none was shown

    def chosen(moments: list[OutputTime]) -> list[OutputTime]:
        return moments if is_needed is None else [moment for moment in moments if is_needed(moment.number)]

    watched = with_changes(frames, attrgetter("image")) if cuts else ((frame, Change.NONE) for frame in frames)
    for number, (frame, change) in enumerate(watched):
        before_it, last = last, frame
        if repeats is not None and change is not Change.NONE:
            repeats.begin(frame.image)
        is_repeat = repeats is not None and change is Change.NONE and repeats.is_duplicate(frame.image)
        moments = [(moment, float(moment.t)) for moment in chosen(timeline.push(frame.time, is_repeat))]
        if is_repeat:
            continue
        current = Numbered(number, frame.time, frame.image)
        if change is Change.NONE:
            yield from grid.push(current, moments)
        else:
            # The middle of the source's last interval; with repeats, moments are spread over more than that one.
            middle = 0.5
            if before_it is not None:
                middle = float(((before_it.time + frame.time) / 2 - begun) / (frame.time - begun))
            before, after = ([one for one in moments if (one[1] >= middle) is late] for late in (False, True))
            yield from grid.cut(current, before, after)
        begun = frame.time
    if last is not None:
        yield from grid.finish(chosen(timeline.finish(last.duration)))
