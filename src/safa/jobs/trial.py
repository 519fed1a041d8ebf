"""How long a job will take and how large its file will be, from making its first few frames."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from safa.engine.device import processor_threads
from safa.errors import SafaError
from safa.jobs.job import PIPE, SEGMENT_FRAMES, Job
from safa.upscaler.upscaler import Upscaler
from safa.video.read.folder import open_reader
from safa.video.schedule.cuts import with_changes
from safa.video.schedule.schedule import plan_windows
from safa.video.schedule.timeline import OutputTime
from safa.video.schedule.windows import PAIR, Span, Window
from safa.video.write.animation import convert
from safa.video.write.encoder import OutputSpec
from safa.video.write.segments import SegmentEncoder, ticks_of

READ = 24
"""Source frames that are read to measure how long that takes."""

TIME_LIMIT, LEAST = 6.0, 4
"""Seconds from the first picture on after which no further one is begun, once there are so many: the file's size cannot
be estimated from fewer.
"""


@dataclass(frozen=True)
class Estimate:
    """Of a whole job on this machine: ``seconds`` of work, and ``bytes`` of the video in its file, None where it
    cannot be estimated.
    """

    seconds: float
    bytes: int | None = None


@dataclass(frozen=True)
class Costs:
    """Seconds: for each frame of a window before any picture of it, for a picture at a source frame's time and for one
    between two.
    """

    frame: float
    at: float
    between: float

    @staticmethod
    def of(spent: Sequence[float], times: Sequence[float], frames: int) -> Costs:
        """From the pictures of one window of so many ``frames``.

        Args:
            spent: seconds for each; what all of them need is part of the first.
            times: where they lie, 0 at a source frame and less than 1.
        """
        kinds: dict[bool, list[float]] = {True: [], False: []}
        for seconds, t in list(zip(spent, times, strict=False))[1:]:
            kinds[t == 0].append(seconds)
        means = {kind: sum(values) / len(values) for kind, values in kinds.items() if values}
        if not means:
            return Costs(spent[0] / frames, 0.0, 0.0)
        at, between = (means.get(kind, means.get(not kind, 0.0)) for kind in (True, False))
        first = at if times[0] == 0 else between
        return Costs(max(0.0, spent[0] - first) / frames, at, between)


def estimate(job: Job, upscaler: Upscaler, height: int, width: int, kept: int = 0) -> Estimate | None:
    """Make the job's first pictures of frames of this size and measure them; nothing is kept.

    Args:
        kept: so many frames of the output were made by an earlier run. Its source is read from the beginning all the
            same.

    Returns:
        None where there is no estimate: a pipe, which can be read once; a source that does not say how long it is;
        frames in tiles, a whole window of which would have to be made.
    """
    total = job.expected_frames
    if PIPE in (job.source, job.spec.path) or not total or len(upscaler.tiles(height, width)) > 1:
        return None
    settings, span = job.settings, upscaler.span
    try:
        with open_reader(job.source, settings.reading) as reader:
            began = _processor_seconds()
            frames = list(itertools.islice(reader.frames(job.alpha), span.length + span.margin + 3))
            windows = list(plan_windows(frames, settings.timeline(), settings.cuts, settings.dedup, span))
            times = [moment.time for window in windows for moment, _ in window.pictures]
            read = (_processor_seconds() - began) / len(frames)
            sources = max(2, round(total / max(1, len(times)) * len(frames)))
    except SafaError:
        return None  # the job itself reports the error
    pictures, costs = _timed(windows, upscaler, job)
    try:
        writing, checking, sizes = encoded(pictures, times, job.spec)
    except (av.error.FFmpegError, OSError):
        return None  # no room for temporary files, which the job does without
    shares = [t for window in windows for _, (_, t) in window.pictures]
    at = shares.count(0) / max(1, len(shares))
    network = costs.frame * encodings(sources, span) + (at * costs.at + (1 - at) * costs.between) * total
    rest = max(0, total - kept)
    network *= rest / total
    others = read * sources + writing * rest
    # On a processor they share the cores; beside another device they are done while that works.
    seconds = network + others if upscaler.device == "cpu" else max(network, others)
    seconds += checking * total  # when all else is done
    return Estimate(seconds, bytes_of(sizes, total) if job.spec.codec != "rgb" else None)


def _timed(windows: list[Window[OutputTime]], upscaler: Upscaler, job: Job) -> tuple[list[np.ndarray], Costs]:
    # Next to a cut they are short; the longest is measured, and of equals a later one, whose first frame is known.
    window = max(reversed(windows), key=lambda one: len(one.frames))
    encoded = [upscaler.encode(frame.image) for frame in window.frames]
    size = job.spec.height, job.spec.width
    # The film's last frame comes in a window of its own, with the frames of the window before.
    asks = [ask for one in windows if one.frames is window.frames for _, ask in one.pictures]
    ends = encoded[: 2 if len(encoded) > 1 else 1]
    list(upscaler.pictures(upscaler.window(ends), [(0, 0.5)], size=size))  # the first time is slower
    most = job.plan.write_behind + 2  # what the job has room for
    made: list[np.ndarray] = []
    stamps = [time.perf_counter()]
    for picture in upscaler.pictures(upscaler.window(encoded), asks[:most], size=size):
        made.append(picture)
        stamps.append(time.perf_counter())
        if len(made) >= LEAST and stamps[-1] - stamps[1] > TIME_LIMIT:
            break
    spent = [after - before for before, after in itertools.pairwise(stamps)]
    if not upscaler.config.propagation:
        each = sum(spent) / len(spent)
        return made, Costs(0.0, each, each)
    return made, Costs.of(spent, [t for _, t in asks], len(encoded))


def reading_seconds(job: Job) -> float:
    """Processor seconds to read a frame of the source and to look for cuts, from its first few."""
    count = 0
    with open_reader(job.source, job.settings.reading) as reader:
        began = _processor_seconds()
        for _ in with_changes(itertools.islice(reader.frames(job.alpha), READ), lambda frame: frame.image):
            count += 1
        return (_processor_seconds() - began) / max(1, count)


def encoded(pictures: list[np.ndarray], times: list[Fraction], spec: OutputSpec) -> tuple[float, float, list[int]]:
    """Seconds to write a picture beside other work, and to make of it what the output is made of and check that, with
    nothing beside; the bytes of all in the order stored.
    """
    with tempfile.TemporaryDirectory(prefix="safa-") as folder:
        began = _processor_seconds()
        encoder = SegmentEncoder(Path(folder) / "trial.mkv", spec)
        last: int | None = None
        for picture, time_shown in zip(pictures, times, strict=False):
            last = ticks_of(time_shown, spec.time_base, last)
            encoder.write(picture, last)
        path = encoder.finish()[0]
        writing, began = _processor_seconds() - began, time.process_time()
        with av.open(str(path)) as container:
            sizes = [packet.size for packet in container.demux(video=0) if packet.size]
            container.seek(0)
            convert(container.decode(video=0), spec)
        checking = time.process_time() - began
        return writing / len(pictures), checking / len(pictures), sizes


def _processor_seconds() -> float:
    """Of all threads, as if they were spread over all cores that the network has."""
    return time.process_time() / processor_threads()


def encodings(sources: int, span: Span) -> int:
    """How many frames there are in all windows of a scene of so many."""
    if span == PAIR:
        return 2 * (sources - 1)
    reaches = [span.reach(first) for first in range(0, sources - 1, span.length)]
    return sum(min(sources - 1, high) - max(0, low) + 1 for low, high in reaches)


def bytes_of(sizes: list[int], total: int) -> int | None:
    """Of ``total`` frames from the sizes of the first, a keyframe and others; None if they are too few."""
    if len(sizes) < 4:
        return None
    whole = -(-total // SEGMENT_FRAMES)  # each segment begins with a keyframe
    return round(whole * sizes[0] + (total - whole) * sum(sizes[1:]) / len(sizes[1:]))
