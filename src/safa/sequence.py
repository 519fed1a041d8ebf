"""Source frames and a timeline in, the pictures of all output moments out.

This is where it is decided which pair of frames a moment is made from: never one across a cut, never one of repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from safa.upscaler import Array, EncodedFrame, EncodedPair, Upscaler
from safa.video.cuts import Change, with_changes
from safa.video.duplicates import DuplicateDetector
from safa.video.source import Frame
from safa.video.timeline import Moment, Timeline


@dataclass
class _Held:
    """A source frame, encoded when first needed."""

    image: Array
    encoded: EncodedFrame | None = None
    still: Array | None = None
    """The frame enlarged from itself alone, shown next to a cut."""


@dataclass
class _Interval:
    """Two neighbouring source frames, joined when first needed.

    Across a cut there is no motion to follow: the nearer frame is shown, enlarged from itself.
    """

    upscaler: Upscaler
    first: _Held
    second: _Held
    is_cut: bool = False
    _pair: EncodedPair | None = field(default=None, repr=False)

    def at(self, t: float) -> Array:
        if self.is_cut:
            nearer = self.first if t < 0.5 else self.second
            if nearer.still is None:
                nearer.still = _Interval(self.upscaler, nearer, nearer).at(0.0)
            return nearer.still
        if self._pair is None:
            self._pair = self.upscaler.pair(self._encoded(self.first), self._encoded(self.second))
        return self.upscaler.at(self._pair, t)

    def _encoded(self, held: _Held) -> EncodedFrame:
        held.encoded = held.encoded or self.upscaler.encode(held.image)
        return held.encoded


def synthesised(
    frames: Iterable[Frame],
    timeline: Timeline,
    upscaler: Upscaler,
    skip: int = 0,
    cuts: bool = True,
    dedup: bool = False,
) -> Iterator[tuple[Array, Moment]]:
    """Every moment of the timeline with its picture, except the first ``skip``, for which nothing is computed.

    A picture depends on the frames and its moment alone, never on ``skip``: a resumed job equals an uninterrupted one.

    Args:
        cuts: look for scene cuts and flashes and do not interpolate across them.
        dedup: frames that repeat the one before are left out and the motion is spread over their time.
    """
    repeats = DuplicateDetector() if dedup else None
    previous: _Held | None = None
    interval: _Interval | None = None
    last: Frame | None = None
    done = 0
    watched = with_changes(frames, _image_of) if cuts else ((frame, Change.NONE) for frame in frames)
    for frame, change in watched:
        last = frame
        is_repeat = repeats is not None and repeats.is_duplicate(frame.image)
        moments = timeline.push(frame.time, is_repeat)
        if is_repeat:
            continue
        current = _Held(frame.image)
        if previous is not None:
            interval = _Interval(upscaler, previous, current, change is not Change.NONE)
            for moment in moments:
                if done >= skip:
                    yield interval.at(float(moment.t)), moment
                done += 1
        previous = current
    if previous is None or last is None:
        return
    interval = interval or _Interval(upscaler, previous, previous)
    picture: Array | None = None  # the last frame, which a constant frame rate may need more than once
    for moment in timeline.finish(last.duration):
        if done >= skip:
            picture = interval.at(1.0) if picture is None else picture
            yield picture, moment
        done += 1


def _image_of(frame: Frame) -> Array:
    return frame.image
