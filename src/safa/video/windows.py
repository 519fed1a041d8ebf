"""Windows of frames that are processed together: one grid on the source's frame numbers.

A network that carries features along the stream is given N frames at a time, with L more on either side, of one scene.
Which frames belong to a window follows from their numbers and from where scenes end, never from where a job began or
was cut, so that every way of doing a job gives the same pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np

Moment_ = TypeVar("Moment_")


@dataclass(frozen=True)
class Span:
    """Extent of a window: pairs that begin with one of ``length`` frames, ``margin`` more frames on each side."""

    length: int = 1
    margin: int = 0

    @property
    def frames(self) -> int:
        """Return the most frames that a window holds if none are left out as repeats."""
        return self.length + 1 + 2 * self.margin

    def reach(self, number: int) -> tuple[int, int]:
        """First and last frame, by number, of the window that the pair beginning with frame ``number`` belongs to."""
        begin = number // self.length * self.length
        return begin - self.margin, begin + self.length + self.margin


PAIR = Span()
"""Span of networks that use the two frames of a pair alone."""


@dataclass(frozen=True)
class Numbered:
    """A source frame's picture, H,W,3 or H,W,4, its place in the source, counted from 0, and its time in seconds."""

    number: int
    time: Fraction
    image: np.ndarray


@dataclass
class Interval(Generic[Moment_]):
    """Two consecutive frames of a scene, or one by itself, and the moments with t in [0, 1] wanted between them."""

    first: Numbered
    second: Numbered
    moments: list[tuple[Moment_, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Window(Generic[Moment_]):
    """Consecutive frames of one scene, and those of its intervals that are made from them."""

    frames: tuple[Numbered, ...]
    intervals: list[Interval[Moment_]]

    @property
    def pictures(self) -> list[tuple[Moment_, tuple[int, float]]]:
        """Every moment, with its place in ``frames`` and its t: between the frame at this place and the next."""
        places = {frame.number: place for place, frame in enumerate(self.frames)}
        return [(moment, (places[one.first.number], t)) for one in self.intervals for moment, t in one.moments]


class WindowGrid(Generic[Moment_]):
    """Frames and moments in, windows out as soon as no later frame can change them.

    The interval that begins with frame i belongs to window i // N, which holds the frames of the scene from
    N * (i // N) - L to N * (i // N + 1) + L.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._frames: list[Numbered] = []
        self._open: list[Interval[Moment_]] = []
        self._newest: Interval[Moment_] | None = None
        self._given: tuple[Numbered, ...] = ()  # frames of the window that was given last

    def push(self, frame: Numbered, moments: list[tuple[Moment_, float]]) -> Iterator[Window[Moment_]]:
        """Take the next frame of the scene, with the moments between the one before and it."""
        first = self._frames[-1] if self._frames else frame
        self._frames.append(frame)
        self._add(Interval(first, frame, moments))
        yield from self._settled(frame.number)

    def cut(
        self, frame: Numbered, before: list[tuple[Moment_, float]], after: list[tuple[Moment_, float]]
    ) -> Iterator[Window[Moment_]]:
        """Take the first frame of another scene. Of the moments between the scenes, ``before`` show the frame before
        the cut and ``after`` this one; each by itself, whatever their t says.
        """
        if self._frames:
            last = self._frames[-1]
            self._add(Interval(last, last, [(moment, 0.0) for moment, _ in before]))
        yield from self._settled(None)
        self._frames = [frame]
        self._add(Interval(frame, frame, [(moment, 0.0) for moment, _ in after]))

    def finish(self, moments: list[Moment_]) -> Iterator[Window[Moment_]]:
        """No more frames: all that is left, and ``moments`` that show the last frame."""
        newest = self._newest
        if newest is None:
            return
        t = 0.0 if newest.first is newest.second else 1.0
        end = [(moment, t) for moment in moments]
        if self._open:
            newest.moments += end
        elif end:
            yield Window(self._given, [Interval(newest.first, newest.second, end)])
        yield from self._settled(None)

    def _add(self, interval: Interval[Moment_]) -> None:
        self._open.append(interval)
        self._newest = interval

    def _settled(self, newest: int | None) -> Iterator[Window[Moment_]]:
        """Return the windows that frames after number ``newest`` cannot change; all if it is None."""
        while self._open:
            head = self._open[0]
            if head.first is head.second and self._span == PAIR:
                # Such a network makes something else of a frame by itself than of the frame and the next one.
                own = [head]
                frames: tuple[Numbered, ...] = (head.first,)
            else:
                low, high = reach = self._span.reach(head.first.number)
                if newest is not None and newest < high:
                    return
                own = [one for one in self._open if self._span.reach(one.first.number) == reach]
                high = max(high, own[-1].second.number)
                frames = tuple(frame for frame in self._frames if low <= frame.number <= high)
            if any(one.moments for one in own):
                yield Window(frames, own)
            self._given = frames
            self._open = self._open[len(own) :]
            low, _ = self._span.reach((self._open[0].first if self._open else self._frames[-1]).number)
            self._frames = [frame for frame in self._frames if frame.number >= low]
