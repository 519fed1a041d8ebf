"""A few seconds of a video that show what it is like: much motion, and no cut inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from safa.video import containers
from safa.video.cuts import HEIGHT, WIDTH, Change, with_changes
from safa.video.folder_source import open_reader
from safa.video.info import EVERYTHING, Frame, ReadOptions
from safa.video.sampling import places_of, runs_at

PLACES, RUN = 12, 4
"""Number of places at which motion is measured, and frames at each."""

TRIED = 4
"""Number of the liveliest places that are searched for one without a cut."""

LITTLE = Fraction(1, 2)
"""Seconds: where a video is no longer than the part and this, the part is its beginning."""

Cut = Callable[[np.ndarray], np.ndarray]


def places_by_motion(path: Path) -> list[Fraction]:
    """Times in seconds, as players show them, at which something moves, the liveliest first; nothing for a video whose
    places cannot be found.
    """
    with containers.open_container(path) as container:
        stream = containers.find_video(container, path)
        stream.thread_type = "AUTO"
        zero, tick = containers.clock_zero(container, stream), containers.time_base(stream)
        small, found = VideoReformatter(), []
        for run in runs_at(container, stream, places_of(container, stream, PLACES), RUN):
            shots = [_thumbnail(small, frame) for frame in run]
            steps = [float(np.abs(after - before).mean()) for before, after in pairwise(shots)]
            if steps and run[0].pts is not None:
                found.append((median(steps), run[0].pts * tick - zero))
    return [time for _, time in sorted(found, reverse=True)]


def liveliest_part(
    path: Path, seconds: Fraction, most: int, cut: Cut, options: ReadOptions = EVERYTHING
) -> tuple[Fraction, list[Frame]]:
    """Return the start of the liveliest part, in seconds as players show them, and its frames.

    Args:
        seconds, most: how long it is, and how many frames it has, at most.
        cut: applied to every picture, so that large frames need not all be kept.
        options: how it is read; `start` and `end` are not used.

    Raises:
        MediaError: it cannot be read.
    """
    with open_reader(path, replace(options, start=None, end=None)) as reader:
        duration = reader.info.duration or Fraction(0)
        last = max(Fraction(0), duration - seconds)
        is_folder = reader.is_folder
    if last < LITTLE:
        last = Fraction(0)
    starts = [last / 2] if is_folder or not last else [min(time, last) for time in places_by_motion(path)[:TRIED]]
    best: tuple[Fraction, list[Frame]] | None = None
    for start in starts or [Fraction(0)]:
        frames, is_whole = part_at(path, start, seconds, most, cut, options)
        if best is None or len(frames) > len(best[1]):
            best = start, frames
        if is_whole:
            return start, frames
    assert best is not None
    return best


def part_at(
    path: Path, start: Fraction, seconds: Fraction, most: int, cut: Cut, options: ReadOptions = EVERYTHING
) -> tuple[list[Frame], bool]:
    """Frames from ``start`` on up to the first cut, at least one; and whether there was no cut. See
    ``liveliest_part``.
    """
    frames: list[Frame] = []
    with open_reader(path, replace(options, start=start or None, end=start + seconds)) as reader:
        for frame, change in with_changes(reader.frames(alpha=False), lambda frame: frame.image):
            if change is Change.CUT:
                return frames, False
            frames.append(replace(frame, image=np.ascontiguousarray(cut(frame.image))))
            if len(frames) == most:
                break
    return frames, True


def _thumbnail(small: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    made = small.reformat(frame, WIDTH, HEIGHT, "gray", interpolation=Interpolation.AREA)
    return made.to_ndarray().astype(np.float32)
