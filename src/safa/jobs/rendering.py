"""Source frames and a timeline in, the pictures of all output moments out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from safa.upscaler.upscaler import Array, EncodedFrame, Upscaler
from safa.video.read.source import Frame
from safa.video.schedule.schedule import FrameTask, planned
from safa.video.schedule.timeline import OutputTime, Timeline


def synthesised(
    frames: Iterable[Frame],
    timeline: Timeline,
    upscaler: Upscaler,
    wanted: Callable[[int], bool] | None = None,
    cuts: bool = True,
    dedup: bool = False,
    size: tuple[int, int] | None = None,
) -> Iterator[tuple[Array, OutputTime]]:
    """Every moment of the timeline with its picture; see ``planned`` for ``cuts`` and ``dedup``.

    Args:
        size: height and width of the pictures; four times the frames' if None.
        wanted: whether the moment with this number, counted from 0, is to be computed; all of them if None.
    """
    steps = planned(frames, timeline, cuts, dedup, upscaler.span)
    chosen = steps if wanted is None else (step for step in steps if wanted(step.number))
    return ((picture, step.moment) for picture, step in rendered(chosen, upscaler, size))


def rendered(
    steps: Iterable[FrameTask], upscaler: Upscaler, size: tuple[int, int] | None = None
) -> Iterator[tuple[Array, FrameTask]]:
    """The steps, which must be in order, with their pictures; ``size`` as in ``synthesised``.

    A picture depends on its step's window, place and time alone, never on the steps around it: a resumed job, and one
    that was done in parts in many places, equals an uninterrupted one. What windows share is computed once.
    """
    encoded: dict[int, EncodedFrame] = {}
    for _, group in itertools.groupby(steps, key=lambda step: [frame.number for frame in step.window]):
        batch = list(group)
        frames = batch[0].window
        encoded = {frame.number: encoded.get(frame.number) or upscaler.encode(frame.image) for frame in frames}
        asked = [(step.place, step.t) for step in batch]
        # Moments that show the same thing (the held last frame) share one picture.
        different = [ask for ask, before in zip(asked, [None, *asked], strict=False) if ask != before]
        pictures = upscaler.pictures(upscaler.window(list(encoded.values())), different, size=size)
        picture: Array | None = None
        before = None
        for ask, step in zip(asked, batch, strict=True):
            if picture is None or ask != before:
                picture, before = next(pictures), ask
            yield picture, step
