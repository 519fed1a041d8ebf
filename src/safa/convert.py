"""The main job: a video file in, a larger and smoother one out.

Decoding, the network and encoding run side by side, a few frames apart; memory does not grow with length. Finished
work is kept in segments beside the output, so the same call goes on where an earlier one was stopped.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av

from safa.budget import JobPlan, plan_job
from safa.checkpoint import DEFAULT
from safa.errors import OutputError, SafaError
from safa.ops import SCALE
from safa.sequence import synthesised
from safa.tiling import Tiling
from safa.upscaler import Upscaler, load
from safa.video.codecs import Choice, choose_codec
from safa.video.copying import plan_streams
from safa.video.folder import FolderReader, open_reader
from safa.video.journal import work_folder
from safa.video.mux import mux
from safa.video.output import OutputSpec, check_encoder, check_output
from safa.video.proof import Proof, prove
from safa.video.reader import VideoReader
from safa.video.source import Frame, VideoInfo
from safa.video.timeline import Timeline, output_time_base
from safa.video.writer import SegmentWriter
from safa.video.y4m import Y4mWriter

# Output frames in one closed segment: what a crash can cost, against a keyframe at every segment's start.
SEGMENT_FRAMES = 96
# Settings that decide what the frames show; the encoder's are checked where frames are encoded.
DECIDING = ("rate", "fps", "slow", "source_fps", "start", "end", "deinterlace", "cuts", "dedup")

PIPE = Path("-")

Item = TypeVar("Item")
_END: Any = object()


@dataclass(frozen=True)
class Progress:
    """State of a running job. ``total`` is an estimate from the file's header, None if it says nothing."""

    done: int
    total: int | None
    frames_per_second: float
    seconds_left: float | None


@dataclass(frozen=True)
class Report:
    """What a finished job did."""

    output: Path
    """The finished file; one that failed its check has another name than was asked for."""
    width: int
    height: int
    frames: int
    resumed_frames: int
    """Frames kept from an earlier run."""
    seconds: float
    warnings: list[str]
    """What of the source could not be carried over."""
    problems: list[str]
    """Damage found in the source."""
    proof: Proof

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "output": str(self.output), "proof": self.proof.to_dict()}


@dataclass(frozen=True)
class UpscaleSettings:
    """What the result should be.

    Attributes:
        rate: output frames per source interval; ignored when ``fps`` is given.
        fps: output frames per second at exact times, any rational number.
        slow: how much longer everything takes (2 = half speed); sound is stretched with its pitch kept.
        codec, crf, preset: see ``safa.video.output``; None means the container's usual codec and its usual quality.
        source_fps: frames per second of a folder of pictures.
        start, end: part of the source in seconds, ``start <= time < end``.
        audio: keep the sound.
        deinterlace: make whole frames of interlaced ones.
        cuts: do not interpolate across scene cuts and flashes.
        dedup: leave out frames that repeat the one before and spread the motion over their time.
    """

    rate: int = 2
    fps: Fraction | None = None
    slow: Fraction = Fraction(1)
    codec: str | None = None
    crf: float | None = None
    preset: str = "medium"
    source_fps: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    audio: bool = True
    deinterlace: bool = True
    cuts: bool = True
    dedup: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rate, int) or self.rate < 1:
            raise SafaError(f"The rate is {self.rate!r}; it must be a whole number of at least 1.")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SafaError("The end lies before the start; give an end after it.")

    def timeline(self) -> Timeline:
        """A fresh timeline for one pass over the source."""
        return Timeline(None if self.fps is not None else self.rate, self.fps, self.slow)


def upscale(
    source: str | Path,
    output: str | Path,
    *,
    rate: int = 2,
    settings: UpscaleSettings | None = None,
    upscaler: Upscaler | None = None,
    weights: str | Path = DEFAULT,
    device: str = "auto",
    engine: str = "auto",
    memory: int | None = None,
    overwrite: bool = False,
    restart: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_tiles: Callable[[Tiling], None] | None = None,
) -> Report:
    """Enlarge a video four times and make it smoother, keeping sound, time and colour.

    Args:
        source: a video file, a folder of numbered pictures, or "-" (YUV4MPEG2 on standard input).
        output: the file to write; it appears, whole and checked, by one rename at the end. "frames/%06d.png" is a
            folder of pictures, "-" YUV4MPEG2 on standard output (no sound, nothing kept, nothing checked).
        rate: short for ``settings=UpscaleSettings(rate=rate)``.
        upscaler: a loaded network; otherwise ``weights`` are loaded onto ``device`` for ``engine``, with ``memory``
            bytes as the most that the whole process may take (see ``Upscaler``).
        overwrite: replace an existing output.
        restart: throw away what an interrupted run of this job kept.
        on_progress: called after every output frame.
        on_warning: called before work starts for everything that cannot be carried over.
        on_tiles: called before work starts if frames are computed in tiles.

    Returns:
        The job's figures; ``report.proof.ok`` says whether the finished file is what it should be.

    Raises:
        SafaError: unusable input, output or settings, or no space left.
        KeyboardInterrupt: after finished segments are safe.
    """
    source, output = Path(source), Path(output)
    settings = settings or UpscaleSettings(rate=rate)
    began = time.monotonic()
    check_output(output, source, settings.codec)
    if is_finished(output) and not overwrite:
        raise OutputError(f"{output} exists already; choose another name or add --overwrite.")
    with (
        open_reader(source, settings.source_fps, settings.start, settings.end, settings.deinterlace) as reader,
        ExitStack() as reserved,
    ):
        info = reader.info
        choice = choose_codec(output, settings.codec, info.bit_depth, info.has_alpha)
        spec = _output_spec(reader, output, settings, choice)
        job = plan_job(upscaler.budget.ceiling if upscaler else memory, spec, _pixel_bytes(info, choice))
        spec = dataclasses.replace(spec, economy=job.economy)
        check_encoder(spec)
        plan = plan_streams(info, spec, reader.origin, reader.is_cut, settings.audio, settings.slow)
        warnings = [*choice.warnings, *plan.warnings]
        for warning in warnings:
            if on_warning is not None:
                on_warning(warning)
        upscaler = upscaler or load(weights, device, engine=engine, memory=memory)
        reserved.enter_context(upscaler.budget.reserve(job.aside))
        tiles = upscaler.tiles(info.height, info.width)
        if len(tiles) > 1 and on_tiles is not None:
            on_tiles(Tiling.of(tiles))
        timeline = settings.timeline()
        frames = reader.frames(alpha=_has_alpha(choice))
        if output == PIPE:
            meter = _Meter(_expected_frames(reader, settings), 0, on_progress)
            with Y4mWriter(sys.stdout.buffer, spec) as pipe:
                _run(frames, timeline, upscaler, pipe, meter, settings, job)
                assert timeline.end is not None
                pipe.finish(timeline.end)
            return _report(spec, meter.done, 0, began, warnings, reader.problems, Proof({}))
        fingerprint = {
            "input": _content_digest(source),
            "weights": upscaler.checkpoint.sha256,
            "engine": f"{upscaler.engine.name} {upscaler.dtype}",
            **{name: str(getattr(settings, name)) for name in DECIDING},
        }
        folder = work_folder(output)
        restart = restart or source == PIPE  # what came down a pipe cannot be read again
        writer = SegmentWriter(folder, spec, fingerprint, restart=restart, frames_per_segment=SEGMENT_FRAMES)
        try:
            with writer:
                resumed = writer.frames_done
                meter = _Meter(_expected_frames(reader, settings), resumed, on_progress)
                _run(frames, timeline, upscaler, writer, meter, settings, job)
                assert timeline.end is not None
                journal = writer.finish(timeline.end)
            upscaler.engine.release()  # decoding the result needs memory, too
            expected = mux(journal, spec, plan)
            proof = prove(output, expected)
        except KeyboardInterrupt:
            kept = f"{writer.frames_done} finished frames are kept in {folder}"
            raise KeyboardInterrupt(f"{kept}; the same command goes on from there") from None
        if proof.ok:
            journal.remove()
        else:
            spec = dataclasses.replace(spec, path=_put_aside(output))
        return _report(spec, expected.frames, resumed, began, warnings, reader.problems, proof)


def is_finished(output: Path) -> bool:
    """Whether the output is there and checked: until it is, the work folder beside it remains."""
    return output != PIPE and output.exists() and not work_folder(output).exists()


def _report(
    spec: OutputSpec,
    frames: int,
    resumed: int,
    began: float,
    warnings: list[str],
    problems: list[str],
    proof: Proof,
) -> Report:
    seconds = time.monotonic() - began
    return Report(spec.path, spec.width, spec.height, frames, resumed, seconds, warnings, list(problems), proof)


def _put_aside(output: Path) -> Path:
    """Rename an output that failed its check, so that nothing under the asked-for name claims to be complete."""
    whole = output.parent if "%" in output.name else output
    aside = whole.with_name(f"{whole.stem}.failed-check{whole.suffix}")
    os.replace(whole, aside)
    return aside


def _has_alpha(choice: Choice) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(choice.pixel_format).components)


def _pixel_bytes(info: VideoInfo, choice: Choice) -> int:
    """Of a frame on its way to the encoder."""
    return (4 if info.has_alpha and _has_alpha(choice) else 3) * (2 if info.bit_depth > 8 else 1)


def _output_spec(
    reader: VideoReader | FolderReader, output: Path, settings: UpscaleSettings, choice: Choice
) -> OutputSpec:
    info = reader.info
    rate = None if settings.fps is not None else settings.rate
    return OutputSpec(
        path=output,
        width=info.width * SCALE,
        height=info.height * SCALE,
        time_base=output_time_base(info.time_base, rate, settings.fps, settings.slow),
        rate=settings.fps or info.average_rate * settings.rate / settings.slow,
        colour=info.colour.resolved(info.height, info.is_rgb),
        codec=choice.codec,
        pixel_format=choice.pixel_format,
        crf=settings.crf,
        preset=settings.preset,
        sample_aspect_ratio=info.sample_aspect_ratio,
        display_matrix=info.display_matrix,
        mastering=info.mastering,
        metadata=info.metadata,
    )


def _expected_frames(reader: VideoReader | FolderReader, settings: UpscaleSettings) -> int | None:
    info = reader.info
    duration = info.duration
    if reader.is_cut:
        stop = settings.end if duration is None or (settings.end and settings.end < duration) else duration
        duration = stop - (settings.start or 0) if stop is not None else None
    if settings.fps is not None:
        return round(duration * settings.slow * settings.fps) if duration else None
    frames = (
        info.frames if info.frames and not reader.is_cut else round(duration * info.average_rate) if duration else 0
    )
    return (frames - 1) * settings.rate + 1 if frames else None


def _content_digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files; nothing can be said of a pipe."""
    if path == PIPE:
        return "pipe"
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(child for child in path.iterdir() if child.is_file()):
        digest.update(f"{file_path.name} {_content_digest(file_path)}\n".encode())
    return digest.hexdigest()


def _run(
    frames: Iterator[Frame],
    timeline: Timeline,
    upscaler: Upscaler,
    writer: SegmentWriter | Y4mWriter,
    meter: _Meter,
    settings: UpscaleSettings,
    job: JobPlan,
) -> None:
    """Read, synthesise and write every output frame that is not safe yet."""
    with ThreadPoolExecutor(1, "reader") as reading, ThreadPoolExecutor(1, "writer") as writing:
        behind: deque[Future[None]] = deque()
        try:
            early = _prefetched(frames, reading, job.read_ahead)
            skip = writer.frames_done
            for picture, moment in synthesised(early, timeline, upscaler, skip, settings.cuts, settings.dedup):
                behind.append(writing.submit(writer.write, picture, moment))
                if len(behind) > job.write_behind:
                    behind.popleft().result()
                del picture  # or it would outlive the making of the next
                meter.tick()
            for write in behind:
                write.result()
        except BaseException:
            for executor in (reading, writing):
                executor.shutdown(wait=False, cancel_futures=True)
            raise


def _prefetched(items: Iterator[Item], executor: ThreadPoolExecutor, ahead: int) -> Iterator[Item]:
    """The same items, fetched by ``executor``'s one thread up to ``ahead`` items early."""
    pending = deque(executor.submit(next, items, _END) for _ in range(ahead))
    while (item := pending.popleft().result()) is not _END:
        pending.append(executor.submit(next, items, _END))
        yield item


class _Meter:
    """Counts output frames and tells the caller."""

    def __init__(self, total: int | None, resumed: int, tell: Callable[[Progress], None] | None) -> None:
        self.total, self.resumed, self.done, self.tell = total, resumed, resumed, tell
        self.began = time.monotonic()

    def tick(self) -> None:
        self.done += 1
        if self.tell is None:
            return
        speed = (self.done - self.resumed) / max(1e-9, time.monotonic() - self.began)
        left = max(0, self.total - self.done) / speed if self.total is not None else None
        self.tell(Progress(self.done, self.total, speed, left))
