"""Which source frames each output frame is made from, settled without computing a picture.

No picture is made from both sides of a cut, and none from a frame that repeats the one before. A window names all that
its pictures depend on, so they can be made anywhere, in any order.
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from operator import attrgetter

from safa.video.read.info import Frame
from safa.video.schedule.cuts import Change, with_changes
from safa.video.schedule.duplicates import DuplicateDetector
from safa.video.schedule.timeline import OutputTime, Timeline
from safa.video.schedule.windows import PAIR, Numbered, Span, Window, WindowGrid


def plan_windows(
    frames: Iterable[Frame],
    timeline: Timeline,
    cuts: bool = True,
    dedup: bool = False,
    span: Span = PAIR,
    wanted: Callable[[int], bool] | None = None,
) -> Iterator[Window[OutputTime]]:
    """The windows that all moments of the timeline are made from, as soon as they are settled; about `span.frames`
    source frames are held.

    Args:
        cuts: next to scene cuts and flashes the nearer frame stands by itself, as there is no motion to follow.
        dedup: frames that repeat the one before are left out and the motion is spread over their time.
        wanted: whether the output frame with this number is to be made; all of them if None.
    """
    repeats = DuplicateDetector() if dedup else None
    grid: WindowGrid[OutputTime] = WindowGrid(span)
    last: Frame | None = None
    begun = Fraction(0)  # when the last frame that repeats none was shown

    def chosen(moments: list[OutputTime]) -> list[OutputTime]:
        return moments if wanted is None else [moment for moment in moments if wanted(moment.number)]

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
