"""Which source frames each output frame is made from, settled without computing a picture.

This is where it is decided: never from both sides of a cut, never from one of repeats. A step names all that its
picture depends on, so steps can be made up anywhere, in any order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from safa.video.cuts import Change, with_changes
from safa.video.duplicates import DuplicateDetector
from safa.video.source import Frame
from safa.video.timeline import Moment, Timeline


@dataclass(frozen=True)
class Numbered:
    """A source frame's picture, H,W,3 or H,W,4, and its place in the source, counted from 0."""

    number: int
    image: np.ndarray


@dataclass(frozen=True)
class Step:
    """One output frame, the `number`-th: the picture at `t` in [0, 1] between `first` and `second`.

    Where the two are the same frame, that frame is enlarged by itself. `before` and `after` are the frames next to
    these two in the same scene, None where there is none; a network may look at them, too.
    """

    number: int
    moment: Moment
    first: Numbered
    second: Numbered
    t: float
    before: Numbered | None = None
    after: Numbered | None = None

    @property
    def frames(self) -> list[Numbered]:
        """All of them, in order; a repeated one once."""
        pair = [self.first] if self.first is self.second else [self.first, self.second]
        return [frame for frame in (self.before, *pair, self.after) if frame is not None]


@dataclass
class _Interval:
    """Two consecutive frames, whether the scene changes between them, and the moments (with t) that they make."""

    before: Numbered | None
    first: Numbered
    second: Numbered
    changes: bool
    moments: list[tuple[Moment, float]]

    def steps(self, made: int, after: Numbered | None) -> Iterator[Step]:
        """One for each moment, numbered from `made` on; `after` is the frame that follows in the same scene."""
        for number, (moment, t) in enumerate(self.moments, start=made):
            if not self.changes:
                yield Step(number, moment, self.first, self.second, t, self.before, after)
            elif t < 0.5:
                yield Step(number, moment, self.first, self.first, 0.0, self.before, None)
            else:
                yield Step(number, moment, self.second, self.second, 0.0, None, after)


def planned(frames: Iterable[Frame], timeline: Timeline, cuts: bool = True, dedup: bool = False) -> Iterator[Step]:
    """A step for every moment of the timeline, in order, as soon as it is settled; a few frames are held at a time.

    With `cuts`, next to scene cuts and flashes the nearer frame stands by itself, as there is no motion to follow.
    With `dedup`, frames that repeat the one before are left out and the motion is spread over their time.
    """
    repeats = DuplicateDetector() if dedup else None
    previous: Numbered | None = None
    interval: _Interval | None = None  # the last one, whose steps wait for the frame after it
    last: Frame | None = None
    made = 0
    watched = with_changes(frames, _image_of) if cuts else ((frame, Change.NONE) for frame in frames)
    for number, (frame, change) in enumerate(watched):
        last = frame
        is_repeat = repeats is not None and repeats.is_duplicate(frame.image)
        moments = timeline.push(frame.time, is_repeat)
        if is_repeat:
            continue
        current, changes = Numbered(number, frame.image), change is not Change.NONE
        if interval is not None:
            yield from interval.steps(made, None if changes else current)
            made += len(interval.moments)
        if previous is not None:
            before = interval.first if interval is not None and not interval.changes else None
            interval = _Interval(before, previous, current, changes, [(m, float(m.t)) for m in moments])
        previous = current
    if previous is None or last is None:
        return
    interval = interval or _Interval(None, previous, previous, False, [])
    interval.moments += [(moment, 1.0) for moment in timeline.finish(last.duration)]
    yield from interval.steps(made, None)


def _image_of(frame: Frame) -> Any:
    return frame.image
