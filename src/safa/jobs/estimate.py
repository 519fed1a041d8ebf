"""Seconds, bytes and frames that a job will need, before it starts.

The first few output frames are made and thrown away, and their cost is extended to the whole job. For a preview, which
makes an excerpt, the cost is extended by what the source's own packets say about the rest of the file.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer

from safa.engine.device import processor_threads
from safa.errors import OutOfMemory, SafaError
from safa.formatting import format_bytes, format_duration, format_fps
from safa.jobs.plan import PIPE, Job, check_request, prepare_job
from safa.options import RunOptions, UpscaleSettings
from safa.upscaler.state_cache import EncodedFrame
from safa.upscaler.upscaler import Upscaler
from safa.video import containers as packets
from safa.video.animation import convert
from safa.video.codecs import codec_entry
from safa.video.cuts import with_changes
from safa.video.encoder import OutputSpec
from safa.video.folder_source import open_reader
from safa.video.info import VideoInfo
from safa.video.journal import kept_frames, work_folder
from safa.video.sampling import group_sizes, places_of, seek
from safa.video.schedule import OutputTime, plan_windows
from safa.video.segments import SegmentEncoder, ticks_of
from safa.video.windows import PAIR, Span, Window

READ_FRAMES = 24
"""Source frames that are read to measure the cost of reading."""

TIME_LIMIT, MIN_PICTURES = 6.0, 4
"""Seconds after the first picture at which no further one is begun, if there are at least so many: the file's size
cannot be estimated from fewer."""

COMPARED_FRAMES = 8
"""Source frames that are encoded whole and cropped, to compare their sizes."""

LARGE = 2_000_000
"""Pixels of a frame from which on only every second row and column is encoded for that comparison."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a whole job on this machine.

    Attributes:
        seconds: of work.
        bytes: of the video in the output; None if it cannot be estimated.
    """

    seconds: float
    bytes: int | None = None

    @classmethod
    def of(cls, upscaler: Upscaler, seconds: StageSeconds, size: int | None) -> Estimate:
        """Combine the stages: on a CPU they share the cores, beside another device they run at the same time."""
        others = seconds.reading + seconds.writing
        work = seconds.network + others if upscaler.device == "cpu" else max(seconds.network, others)
        return cls(work + seconds.checking, size)


@dataclass(frozen=True)
class StageSeconds:
    """Seconds for each stage of a whole job; checking begins when all else is done."""

    network: float
    reading: float
    writing: float
    checking: float


@dataclass(frozen=True)
class Forecast:
    """The result that a job will make, and an estimate of the cost.

    Attributes:
        source, output: their paths.
        source_width, source_height, width, height: in stored pixels.
        source_rate, rate: frames per second of source and output.
        frames: output frames; None if the source does not say how many it has.
        codec, crf: of the output.
        weights, engine: of the network.
        device: reason for the device where it was chosen by measurement, as text; else "".
        sound: what happens to the sound, as text.
        left_out: a sentence for everything that cannot be carried over.
        estimate: None if there is none.
        kept: output frames that an earlier run has made.
    """

    source: Path
    output: Path
    source_width: int
    source_height: int
    source_rate: Fraction
    width: int
    height: int
    rate: Fraction
    frames: int | None
    codec: str
    crf: float | None
    weights: str
    engine: str
    sound: str
    left_out: tuple[str, ...]
    estimate: Estimate | None = None
    kept: int = 0
    device: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as JSON-ready values."""
        values = {
            name: str(value) if isinstance(value, (Path, Fraction)) else value for name, value in vars(self).items()
        }
        del values["estimate"]
        cost = self.estimate
        return values | {"seconds": cost.seconds if cost else None, "bytes": cost.bytes if cost else None}

    def lines(self) -> list[str]:
        """Return the forecast as three lines of text, and one more for a device that was chosen by measurement."""
        before = f"{self.source_width}x{self.source_height} at {format_fps(self.source_rate)}"
        frames = f", {self.frames} frames" if self.frames else ""
        frames += f", {self.kept} of them already made" if self.kept else ""
        quality = f" (crf {self.crf:g})" if self.crf is not None else ""
        count = len(self.left_out)
        lost = f"; changed or left out: see the {f'{count} warnings' if count > 1 else 'warning'}" if count else ""
        return [
            f"{self.source.name}: {before} becomes {self.width}x{self.height} at {format_fps(self.rate)}{frames}",
            f"{self.codec}{quality}, weights {self.weights}, {self.sound}{lost}",
            self._cost(),
            *([f"device {self.device}"] if self.device else []),
        ]

    def _cost(self) -> str:
        if self.estimate is None:
            return f"the time cannot be estimated ({self.engine} engine)"
        size = self.estimate.bytes
        video = f"; the video will be roughly {format_bytes(size)} if the rest is like its first frames" if size else ""
        return f"takes about {format_duration(self.estimate.seconds)} on this machine ({self.engine} engine){video}"


def forecast(
    source: Path, output: Path, settings: UpscaleSettings, upscaler: Upscaler, options: RunOptions | None = None
) -> Forecast:
    """Return what a job would make, without making it.

    Args:
        options: the output is not checked in a batch, and kept work does not count with ``restart``.

    Raises:
        SafaError: the request is impossible.
    """
    options = options or RunOptions()
    if not options.is_batch:
        check_request(source, output, settings, options.overwrite)
    with open_reader(source, settings.reading) as reader:
        job = prepare_job(reader, source, output, settings, upscaler.budget.ceiling, options.overwrite)
        with upscaler.budget.reserve(job.memory.reserved):
            return forecast_job(job, reader.info, upscaler, options.restart)


def forecast_job(job: Job, info: VideoInfo, upscaler: Upscaler, restart: bool = False) -> Forecast:
    """Return the forecast of a prepared job, for whose encoder and queues memory is reserved.

    Args:
        info: of the source.
        restart: kept work does not count.
    """
    spec = job.spec
    kept = 0 if restart or PIPE in (job.source, spec.path) else kept_frames(work_folder(spec.path))
    return Forecast(
        source=job.source,
        output=spec.path,
        source_width=info.width,
        source_height=info.height,
        source_rate=info.average_rate,
        width=spec.width,
        height=spec.height,
        rate=spec.rate,
        frames=job.expected_frames,
        codec=spec.container if spec.codec == "rgb" else spec.codec,
        crf=codec_entry(spec.codec).crf if spec.crf is None else spec.crf,
        weights=upscaler.checkpoint.name,
        engine=upscaler.engine.name,
        sound=_sound(job, info),
        left_out=tuple(job.warnings),
        estimate=estimate_job(job, upscaler, info.height, info.width, kept),
        kept=kept,
        device=upscaler.device_reason,
    )


def _sound(job: Job, info: VideoInfo) -> str:
    sounds = {stream.index for stream in info.streams if stream.kind == "audio"}
    if not sounds:
        return "no sound in the source"
    if sounds & set(job.streams.stretched):
        return "sound stretched"
    return "sound kept" if sounds & set(job.streams.copied) else "sound left out"


# From the first output frames


@dataclass(frozen=True)
class UnitCosts:
    """Seconds of the network per encoded frame, per output frame at a source frame's time, per interpolated one."""

    frame: float
    at: float
    between: float

    @staticmethod
    def of(spent: Sequence[float], times: Sequence[float], frames: int) -> UnitCosts:
        """Divide the cost of the pictures of one window.

        Args:
            spent: seconds for each picture; the first includes the work that all of them need.
            times: ``t`` of each picture, 0 at a source frame and less than 1.
            frames: source frames of the window.
        """
        kinds: dict[bool, list[float]] = {True: [], False: []}
        for seconds, t in list(zip(spent, times, strict=False))[1:]:
            kinds[t == 0].append(seconds)
        means = {kind: sum(values) / len(values) for kind, values in kinds.items() if values}
        if not means:
            return UnitCosts(spent[0] / frames, 0.0, 0.0)
        at, between = (means.get(kind, means.get(not kind, 0.0)) for kind in (True, False))
        first = at if times[0] == 0 else between
        return UnitCosts(max(0.0, spent[0] - first) / frames, at, between)


def estimate_job(job: Job, upscaler: Upscaler, height: int, width: int, kept: int = 0) -> Estimate | None:
    """Make the first output frames of a job, measure them, and throw them away.

    Args:
        height, width: of the source frames.
        kept: output frames that an earlier run has made. Their source frames are read nevertheless.

    Returns:
        None for a pipe, which can be read only once; for a source that does not say how long it is; and for frames in
        tiles, for which a whole window would have to be made.
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
            reading = (_processor_seconds() - began) / len(frames)
            source_frames = max(2, round(total / max(1, len(times)) * len(frames)))
    except SafaError:
        return None  # the job itself reports the error
    pictures, costs = _measure_network(windows, upscaler, job)
    try:
        sample = encode_sample(pictures, times, job.spec)
    except (av.error.FFmpegError, OSError):
        return None  # no room for temporary files, which the job itself does not need
    positions = [t for window in windows for _, (_, t) in window.pictures]
    at_source = positions.count(0) / max(1, len(positions))
    network = costs.frame * encoded_frames(source_frames, span)
    network += (at_source * costs.at + (1 - at_source) * costs.between) * total
    remaining = max(0, total - kept)
    seconds = StageSeconds(
        network=network * remaining / total,
        reading=reading * source_frames,
        writing=sample.writing * remaining,
        checking=sample.checking * total,
    )
    size = extrapolate_bytes(sample.sizes, total, job.segment_frames) if job.spec.codec != "rgb" else None
    return Estimate.of(upscaler, seconds, size)


def _measure_network(
    windows: list[Window[OutputTime]], upscaler: Upscaler, job: Job
) -> tuple[list[np.ndarray], UnitCosts]:
    # Windows next to a cut are short. The longest is measured; of equals a later one, whose first frame is known.
    window = max(reversed(windows), key=lambda one: len(one.frames))
    encoded = [upscaler.encode(frame.image) for frame in window.frames]
    size = job.spec.height, job.spec.width
    # The last output frame comes in a window of its own, with the source frames of the window before.
    times = [time for one in windows if one.frames is window.frames for _, time in one.pictures]
    warm_up(upscaler, encoded[:2], size)
    most = job.memory.write_behind + 2  # as many pictures as the job itself holds in memory
    pictures: list[np.ndarray] = []
    stamps = [time.perf_counter()]
    for picture in upscaler.pictures(upscaler.window(encoded), times[:most], size=size):
        pictures.append(picture)
        stamps.append(time.perf_counter())
        if len(pictures) >= MIN_PICTURES and stamps[-1] - stamps[1] > TIME_LIMIT:
            break
    spent = [after - before for before, after in itertools.pairwise(stamps)]
    if not upscaler.config.propagation:
        each = sum(spent) / len(spent)
        return pictures, UnitCosts(0.0, each, each)
    return pictures, UnitCosts.of(spent, [t for _, t in times], len(encoded))


def warm_up(upscaler: Upscaler, frames: Sequence[EncodedFrame], size: tuple[int, int]) -> None:
    """Make one picture of one or two frames, because the first one takes longer than all others."""
    list(upscaler.pictures(upscaler.window(frames), [(0, 0.5)], size=size))


@dataclass(frozen=True)
class EncodedSample:
    """Cost of encoding a few pictures.

    Attributes:
        writing: seconds per picture, while other work is done.
        checking: seconds per picture for the final conversion and check, when nothing else is done.
        sizes: bytes of the encoded pictures in stored order.
    """

    writing: float
    checking: float
    sizes: list[int]


def encode_sample(pictures: list[np.ndarray], times: list[Fraction], spec: OutputSpec) -> EncodedSample:
    """Encode pictures that are shown at these times in seconds, and measure it."""
    with tempfile.TemporaryDirectory(prefix="safa-") as folder:
        began = _processor_seconds()
        encoder = SegmentEncoder(Path(folder) / "sample.mkv", spec)
        last: int | None = None
        for picture, shown in zip(pictures, times, strict=False):
            last = ticks_of(shown, spec.time_base, last)
            encoder.write(picture, last)
        path = encoder.finish()[0]
        writing, began = _processor_seconds() - began, time.process_time()
        with av.open(str(path)) as container:
            sizes = [packet.size for packet in container.demux(video=0) if packet.size]
            container.seek(0)
            convert(container.decode(video=0), spec)
        checking = time.process_time() - began
        return EncodedSample(writing / len(pictures), checking / len(pictures), sizes)


def reading_seconds(job: Job) -> float:
    """Return the processor seconds for reading a source frame and looking for cuts, measured on the first frames."""
    count = 0
    with open_reader(job.source, job.settings.reading) as reader:
        began = _processor_seconds()
        for _ in with_changes(itertools.islice(reader.frames(job.alpha), READ_FRAMES), lambda frame: frame.image):
            count += 1
        return (_processor_seconds() - began) / max(1, count)


def encoded_frames(source_frames: int, span: Span) -> int:
    """Return the number of frames in all windows of a scene; a frame counts once for every window it is in."""
    if span == PAIR:
        return 2 * (source_frames - 1)
    reaches = [span.reach(first) for first in range(0, source_frames - 1, span.length)]
    return sum(min(source_frames - 1, high) - max(0, low) + 1 for low, high in reaches)


def extrapolate_bytes(sizes: list[int], total: int, segment_frames: int) -> int | None:
    """Return the bytes of ``total`` encoded frames, with a keyframe at the start of each segment.

    Args:
        sizes: bytes of the first frames, a keyframe and others.

    Returns:
        None if they are too few.
    """
    if len(sizes) < MIN_PICTURES:
        return None
    keyframes = -(-total // segment_frames)
    return round(keyframes * sizes[0] + (total - keyframes) * sum(sizes[1:]) / len(sizes[1:]))


def _processor_seconds() -> float:
    """Return the processor time of all threads, as if it were spread over all cores that the network uses."""
    return time.process_time() / processor_threads()


# From an excerpt. It has more motion and detail than the rest: it is the middle of the frame in the liveliest seconds
# of the video. In proportion to pixels and frames alone, the estimate would be at least twice the real cost.


@dataclass(frozen=True)
class WholeFile:
    """The whole file relative to an excerpt.

    Args:
        height, width: of its frames.
        pixel_ratio: pixels of a frame over pixels of a frame of the excerpt.
        byte_ratio: encoded bytes per frame over those of the excerpt.
        reading: processor seconds to read a source frame.
    """

    height: int
    width: int
    pixel_ratio: float
    byte_ratio: float
    reading: float

    def work_ratio(self, upscaler: Upscaler, job: Job) -> float | None:
        """Return the network's work per frame relative to the excerpt, margins of tiles included.

        Returns:
            None if the frames do not fit into memory.
        """
        try:
            with upscaler.budget.reserve(job.memory.reserved):
                tiles = upscaler.tiles(self.height, self.width)
        except OutOfMemory:
            return None
        if len(tiles) == 1:
            return self.pixel_ratio
        return self.pixel_ratio * sum(tile.cost for tile in tiles) / (self.height * self.width)


@dataclass(frozen=True)
class RenderedExcerpt:
    """Pictures made from an excerpt.

    Args:
        source_frames: number of frames of the excerpt.
        pictures: the output frames.
        times: of the output frames, in seconds.
        seconds: for making all of them.
    """

    source_frames: int
    pictures: list[np.ndarray]
    times: list[Fraction]
    seconds: float


def estimate_from_excerpt(
    job: Job, upscaler: Upscaler, whole: WholeFile, excerpt: RenderedExcerpt, encoded: int
) -> Estimate | None:
    """Return the cost of a whole job from the pictures of an excerpt.

    Args:
        encoded: number of pictures to encode for the size of the file.

    Returns:
        None if the file does not say how long it is, or its frames do not fit into memory.
    """
    total, work_ratio = job.expected_frames, whole.work_ratio(upscaler, job)
    if not total or work_ratio is None:
        return None
    height, width = excerpt.pictures[0].shape[:2]
    spec = replace(job.spec, height=height, width=width)
    sample = encode_sample(excerpt.pictures[:encoded], excerpt.times, spec)
    count = len(excerpt.pictures)
    seconds = StageSeconds(
        network=excerpt.seconds / count * work_ratio * total,
        reading=whole.reading * excerpt.source_frames / count * total,
        writing=sample.writing * whole.pixel_ratio * total,
        checking=sample.checking * whole.pixel_ratio * total,
    )
    size = extrapolate_bytes(sample.sizes, total, job.segment_frames) if spec.codec != "rgb" else None
    return Estimate.of(upscaler, seconds, round(size * whole.byte_ratio) if size else None)


def byte_ratio_in_frame(
    path: Path, start: Fraction, job: Job, crop: Callable[[np.ndarray], np.ndarray]
) -> float | None:
    """Return the bytes of whole frames over those of their cropped part, encoded as the job would.

    Args:
        start: time in seconds of the first of a few frames.
        crop: returns the part of a frame.

    Returns:
        None if they cannot be encoded.
    """
    options = replace(job.settings.reading, start=start or None, end=None)
    try:
        with open_reader(path, options) as reader:
            step = 2 if reader.info.width * reader.info.height > LARGE else 1
            frames = list(itertools.islice(reader.frames(alpha=False), COMPARED_FRAMES))
        times = [frame.time for frame in frames]
        sizes = []
        for pictures in ([frame.image for frame in frames], [crop(frame.image) for frame in frames]):
            height, width = (side // step // 2 * 2 for side in pictures[0].shape[:2])
            spec = replace(job.spec, height=height, width=width)
            small = [np.ascontiguousarray(picture[::step, ::step][:height, :width]) for picture in pictures]
            sizes.append(sum(encode_sample(small, times, spec).sizes))
        return sizes[0] / sizes[1]
    except (SafaError, av.error.FFmpegError, OSError, ValueError, ZeroDivisionError):
        return None


def byte_ratio_in_time(path: Path, start: Fraction, seconds: Fraction) -> float:
    """Return the bytes of an average frame of the file over those of one in an excerpt, from the source's packets.

    Args:
        start: of the excerpt, in seconds as players show them.

    Returns:
        1 if the packets do not say.
    """
    try:
        with packets.open_container(path) as container:
            stream = packets.find_video(container, path)
            everywhere = group_sizes(container, stream, places_of(container, stream))
            begin = start + packets.clock_zero(container, stream)
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
    tick = packets.time_base(stream)
    for packet in container.demux(stream):
        if packet.size and packet.pts is not None:
            shown = packet.pts * tick
            if shown >= end + 1:  # a second later, because packets are not stored in the order in which they are shown
                break
            # The keyframe from which the excerpt is decoded belongs to it.
            if begin <= shown < end or not sizes:
                sizes.append(packet.size)
    return sizes
