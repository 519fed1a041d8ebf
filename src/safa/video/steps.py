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

    Where the two are the same frame, that frame is enlarged from itself alone.
    """

    number: int
    moment: Moment
    first: Numbered
    second: Numbered
    t: float


def planned(frames: Iterable[Frame], timeline: Timeline, cuts: bool = True, dedup: bool = False) -> Iterator[Step]:
    """A step for every moment of the timeline, in order, as soon as it is settled; a few frames are held at a time.

    With `cuts`, next to scene cuts and flashes the nearer frame stands by itself, as there is no motion to follow.
    With `dedup`, frames that repeat the one before are left out and the motion is spread over their time.
    """
    repeats = DuplicateDetector() if dedup else None
    previous: Numbered | None = None
    interval: tuple[Numbered, Numbered, bool] | None = None
    last: Frame | None = None
    made = 0
    watched = with_changes(frames, _image_of) if cuts else ((frame, Change.NONE) for frame in frames)
    for number, (frame, change) in enumerate(watched):
        last = frame
        is_repeat = repeats is not None and repeats.is_duplicate(frame.image)
        moments = timeline.push(frame.time, is_repeat)
        if is_repeat:
            continue
        current = Numbered(number, frame.image)
        if previous is not None:
            interval = previous, current, change is not Change.NONE
            for moment in moments:
                yield Step(made, moment, *_between(*interval, float(moment.t)))
                made += 1
        previous = current
    if previous is None or last is None:
        return
    for moment in timeline.finish(last.duration):
        yield Step(made, moment, *_between(*(interval or (previous, previous, False)), 1.0))
        made += 1


def _between(first: Numbered, second: Numbered, is_cut: bool, t: float) -> tuple[Numbered, Numbered, float]:
    if not is_cut:
        return first, second, t
    nearer = first if t < 0.5 else second
    return nearer, nearer, 0.0


def _image_of(frame: Frame) -> Any:
    return frame.image
