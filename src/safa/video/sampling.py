"""A few frames from places all over a video, without decoding what lies between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer

from safa.video import containers

PLACES = 8
"""Places of a video that frames are taken from; equally many at each, one after the other."""

SKIPPED_PIXELS = 100_000_000
"""Most pixels that are decoded between a keyframe and the first selected frame."""

GROUP = 300
"""Packets that are counted at each place, if no keyframe comes before."""


def places_of(container: InputContainer, stream: av.VideoStream, count: int = PLACES) -> list[Fraction]:
    """Times in the file, seconds, in the middle of ``count`` equal parts."""
    start = (stream.start_time or 0) * containers.time_base(stream)
    duration = containers.stated_duration(container, stream) or Fraction(0)
    return [start + duration * (2 * number + 1) / (2 * count) for number in range(count)]


def runs_at(
    container: InputContainer, stream: av.VideoStream, places: list[Fraction], length: int
) -> Iterator[list[av.VideoFrame]]:
    """Up to ``length`` frames in a row from each place on, or from as near to it as is reached from the keyframe
    before. No frame is given twice.
    """
    tick = containers.time_base(stream)
    most = SKIPPED_PIXELS // max(1, stream.width * stream.height)
    reached: Fraction | None = None
    for place in places:
        if not seek(container, stream, place):
            continue
        run: list[av.VideoFrame] = []
        skipped = 0
        for frame in decoded(container, stream):
            time = frame.pts * tick if frame.pts is not None else None
            seen = time is not None and reached is not None and time <= reached
            if seen and skipped > most:
                break  # everything that can be reached from here has been given
            if seen or (not run and time is not None and time < place and skipped < most):
                skipped += 1
                continue
            run.append(frame)
            reached = time if time is not None else reached
            if len(run) == length:
                break
        if run:
            yield run


def group_sizes(container: InputContainer, stream: av.VideoStream, places: list[Fraction]) -> list[int]:
    """Bytes of the packets at all places, each from a keyframe up to the next."""
    sizes: list[int] = []
    for place in places:
        if not seek(container, stream, place):
            continue
        group: list[int] = []
        with suppress(av.error.FFmpegError, OSError):
            for packet in container.demux(stream):
                if len(group) == GROUP or (group and packet.is_keyframe):
                    break
                if packet.size:
                    group.append(packet.size)
        sizes += group
    return sizes


def seek(container: InputContainer, stream: av.VideoStream, time: Fraction) -> bool:
    """Go to the keyframe at or before a time in the file; False where that is impossible."""
    try:
        container.seek(int(time / containers.time_base(stream)), stream=stream)
    except (av.error.FFmpegError, OSError, OverflowError):
        return False
    return True


def decoded(
    container: InputContainer, stream: av.VideoStream, sizes: list[int] | None = None
) -> Iterator[av.VideoFrame]:
    """Frames from where the container stands; ``sizes`` gets the bytes of every packet. Damage is passed over."""
    with suppress(av.error.FFmpegError, OSError):
        for packet in container.demux(stream):
            if packet.size and sizes is not None:
                sizes.append(packet.size)
            with suppress(av.error.FFmpegError, ValueError):
                yield from packet.decode()  # the last packet is empty and flushes the decoder


def claimed_frames(container: InputContainer, stream: av.VideoStream, path: Path) -> int | None:
    """Return the number of frames that the headers state or imply."""
    if stated := containers.stated_frames(container, stream, path):
        return stated
    duration = containers.stated_duration(container, stream)
    return round(duration * containers.nominal_rate(stream)) if duration else None
