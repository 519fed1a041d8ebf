"""Source frames and a timeline in, the pictures of all output moments out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from safa.upscaler import Array, EncodedFrame, EncodedPair, Upscaler
from safa.video.source import Frame
from safa.video.steps import Step, planned
from safa.video.timeline import Moment, Timeline


def synthesised(
    frames: Iterable[Frame],
    timeline: Timeline,
    upscaler: Upscaler,
    wanted: Callable[[int], bool] | None = None,
    cuts: bool = True,
    dedup: bool = False,
) -> Iterator[tuple[Array, Moment]]:
    """Every moment of the timeline with its picture; see ``planned`` for ``cuts`` and ``dedup``.

    Args:
        wanted: whether the moment with this number, counted from 0, is to be computed; all of them if None.
    """
    steps = planned(frames, timeline, cuts, dedup)
    chosen = steps if wanted is None else (step for step in steps if wanted(step.number))
    return ((picture, step.moment) for picture, step in rendered(chosen, upscaler))


def rendered(steps: Iterable[Step], upscaler: Upscaler) -> Iterator[tuple[Array, Step]]:
    """The steps, which must be in order, with their pictures.

    A picture depends on its step's frames and time alone, never on the steps around it: a resumed job, and one that
    was done in parts in many places, equals an uninterrupted one. What neighbours share is computed once.
    """
    encoded: dict[int, EncodedFrame] = {}
    pair: EncodedPair | None = None
    picture: Array | None = None
    before: Step | None = None
    for step in steps:
        same_pair = before is not None and _numbers(before) == _numbers(step)
        if pair is None or not same_pair:
            encoded = {frame.number: encoded.get(frame.number) or upscaler.encode(frame.image) for frame in step.frames}
            pair = upscaler.pair(
                encoded[step.first.number],
                encoded[step.second.number],
                encoded[step.before.number] if step.before else None,
                encoded[step.after.number] if step.after else None,
            )
        if picture is None or not same_pair or before is None or before.t != step.t:
            picture = upscaler.at(pair, step.t)
        before = step
        yield picture, step


def _numbers(step: Step) -> list[int]:
    # Two steps may share their frames and yet differ in which of them the picture lies between.
    return [frame.number for frame in (step.first, step.second, *step.frames)]
