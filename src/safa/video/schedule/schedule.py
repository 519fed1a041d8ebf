"""Which source frames each output frame is made from, settled without computing a picture.

This is where it is decided: never from both sides of a cut, never from one of repeats. A step names all that its
picture depends on, so steps can be made up anywhere, in any order.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from safa.video.read.source import Frame
from safa.video.schedule.cuts import Change, with_changes
from safa.video.schedule.duplicates import DuplicateDetector
from safa.video.schedule.timeline import OutputTime, Timeline
from safa.video.schedule.windows import PAIR, Numbered, Span, Window, WindowGrid


@dataclass(frozen=True)
class FrameTask:
    """One output frame, the `number`-th: the picture at `t` in [0, 1] between `first` and `second`.

    Where the two are the same frame, that frame is enlarged by itself. `window` holds all frames that the picture may
    depend on, in order, these two among them; steps of one window come one after the other.
    """

    number: int
    moment: OutputTime
    first: Numbered
    second: Numbered
    t: float
    window: tuple[Numbered, ...]

    @property
    def place(self) -> int:
        """Where `first` is in `window`."""
        return next(place for place, frame in enumerate(self.window) if frame is self.first)


def planned(
    frames: Iterable[Frame], timeline: Timeline, cuts: bool = True, dedup: bool = False, span: Span = PAIR
) -> Iterator[FrameTask]:
    """A step for every moment of the timeline, in order, as soon as it is settled; about `span.frames` are held.

    With `cuts`, next to scene cuts and flashes the nearer frame stands by itself, as there is no motion to follow.
    With `dedup`, frames that repeat the one before are left out and the motion is spread over their time.
    """
    repeats = DuplicateDetector() if dedup else None
    grid: WindowGrid[OutputTime] = WindowGrid(span)
    last: Frame | None = None
    made = 0

    def steps(windows: Iterable[Window[OutputTime]]) -> Iterator[FrameTask]:
        nonlocal made
        for window in windows:
            for interval in window.intervals:
                for moment, t in interval.moments:
                    yield FrameTask(made, moment, interval.first, interval.second, t, window.frames)
                    made += 1

    watched = with_changes(frames, _image_of) if cuts else ((frame, Change.NONE) for frame in frames)
    for number, (frame, change) in enumerate(watched):
        last = frame
        is_repeat = repeats is not None and repeats.is_duplicate(frame.image)
        moments = [(moment, float(moment.t)) for moment in timeline.push(frame.time, is_repeat)]
        if is_repeat:
            continue
        current = Numbered(number, frame.image)
        if change is Change.NONE:
            yield from steps(grid.push(current, moments))
        else:
            before, after = ([one for one in moments if (one[1] >= 0.5) is late] for late in (False, True))
            yield from steps(grid.cut(current, before, after))
    if last is not None:
        yield from steps(grid.finish(timeline.finish(last.duration)))


def _image_of(frame: Frame) -> Any:
    return frame.image
