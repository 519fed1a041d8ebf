"""How much more a whole video takes than a part of its pictures: bytes from the source's own packets, and work.

The part has more motion and detail than the rest: it is the middle of the frame in the liveliest seconds of the film.
In proportion to pixels and frames alone, the estimate would be twice as much as the result takes, or more.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from safa.errors import OutOfMemory, SafaError
from safa.jobs.job import Job
from safa.jobs.trial import encoded
from safa.upscaler.upscaler import Upscaler
from safa.video.read import source
from safa.video.read.folder import open_reader
from safa.video.sampling import group_sizes, places_of, seek

COMPARED = 8
"""Source frames that are encoded whole and cut."""

LARGE = 2_000_000
"""Pixels from which on only every second row and column of them is encoded."""


@dataclass(frozen=True)
class Whole:
    """The whole file: its frames' size, how much more pixels and bytes one has than one of the part, and processor
    seconds to read it.
    """

    height: int
    width: int
    pixels: float
    bytes: float
    read: float

    def work(self, upscaler: Upscaler, job: Job) -> float | None:
        """How much more the network has to do for a frame, with the margins of tiles where there must be some; None
        where it does not fit into memory.
        """
        try:
            with upscaler.budget.reserve(job.plan.aside):
                tiles = upscaler.tiles(self.height, self.width)
        except OutOfMemory:
            return None
        if len(tiles) == 1:
            return self.pixels
        return self.pixels * sum(tile.cost for tile in tiles) / (self.height * self.width)


def in_frame(path: Path, start: Fraction, job: Job, cut: Callable[[np.ndarray], np.ndarray]) -> float | None:
    """Bytes of whole frames over bytes of what ``cut`` takes of them, as the job's encoder makes them of the source's
    own; None where it cannot.
    """
    options = replace(job.settings.reading, start=start or None, end=None)
    try:
        with open_reader(path, options) as reader:
            step = 2 if reader.info.width * reader.info.height > LARGE else 1
            frames = list(itertools.islice(reader.frames(alpha=False), COMPARED))
        times = [frame.time for frame in frames]
        sizes = []
        for pictures in ([frame.image for frame in frames], [cut(frame.image) for frame in frames]):
            height, width = (side // step // 2 * 2 for side in pictures[0].shape[:2])
            spec = replace(job.spec, height=height, width=width)
            small = [np.ascontiguousarray(picture[::step, ::step][:height, :width]) for picture in pictures]
            sizes.append(sum(encoded(small, times, spec)[2]))
        return sizes[0] / sizes[1]
    except (SafaError, av.error.FFmpegError, OSError, ValueError, ZeroDivisionError):
        return None


def in_time(path: Path, start: Fraction, seconds: Fraction) -> float:
    """Bytes of a frame in the whole file over those of one in a part, by the source's packets; 1 where these say
    nothing. ``start`` is in seconds as players show them.
    """
    try:
        with source.open_container(path) as container:
            stream = source.find_video(container, path)
            everywhere = group_sizes(container, stream, places_of(container, stream))
            begin = start + source.clock_zero(container, stream)
            here = _sizes_between(container, stream, begin, begin + seconds)
    except (SafaError, av.error.FFmpegError, OSError):
        return 1.0
    if not sum(here) or not sum(everywhere):
        return 1.0
    return sum(everywhere) / len(everywhere) / (sum(here) / len(here))


def _sizes_between(container: InputContainer, stream: av.VideoStream, begin: Fraction, end: Fraction) -> list[int]:
    sizes: list[int] = []
    if not seek(container, stream, begin):
        return sizes
    tick = source.time_base(stream)
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            time = packet.pts * tick
            if time >= end + 1:  # some are stored before others that are shown earlier
                break
            # The keyframe that the part hangs on belongs to it.
            if begin <= time < end or not sizes:
                sizes.append(packet.size)
    return sizes
