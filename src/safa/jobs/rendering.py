"""Windows of source frames in, the pictures of all their moments out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from safa.upscaler.upscaler import Array, EncodedFrame, Upscaler
from safa.video.schedule.timeline import OutputTime
from safa.video.schedule.windows import Numbered, Window


def render_windows(
    windows: Iterable[Window[OutputTime]], upscaler: Upscaler, size: tuple[int, int] | None = None
) -> Iterator[tuple[Array, OutputTime]]:
    """Every moment of the windows, which must be in order, with its picture.

    A picture depends on its window, place and time alone, never on the windows around it: a resumed job, and one that
    was done in parts in many places, equals an uninterrupted one. What windows share is computed once.

    Args:
        size: height and width of the pictures; four times the frames' if None.
    """
    encoded: dict[int, EncodedFrame] = {}
    frames: tuple[Numbered, ...] = ()
    for window in windows:
        if window.frames is not frames:  # the film's last frame comes with those of the window before
            frames = window.frames
            encoded = {frame.number: encoded.get(frame.number) or upscaler.encode(frame.image) for frame in frames}
            joined = upscaler.window(list(encoded.values()))
        asked = [ask for _, ask in window.pictures]
        # Moments that show the same thing (the held last frame) share one picture.
        different = [ask for ask, before in zip(asked, [None, *asked], strict=False) if ask != before]
        pictures = upscaler.pictures(joined, different, size=size)
        picture: Array | None = None
        before = None
        for moment, ask in window.pictures:
            if picture is None or ask != before:
                picture, before = next(pictures), ask
            yield picture, moment
