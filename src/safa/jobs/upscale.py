"""The main job: a video file in, a larger and smoother one out.

Decoding, the network and encoding run in parallel, a few frames apart; memory does not grow with length. Finished
work is kept in segments beside the output, so the same call goes on where an earlier one was stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path

from safa.errors import JournalMismatch, SafaError
from safa.jobs.forecast import Forecast, forecast_of
from safa.jobs.job import PIPE, Job, Report, conclude, concluded_before, engine_of, interrupted
from safa.jobs.job import SEGMENT_FRAMES as SEGMENT_FRAMES
from safa.jobs.pipeline import Meter, Progress, run_pipeline
from safa.jobs.prepare import check_request, prepare_job
from safa.jobs.settings import UpscaleSettings
from safa.jobs.weights import Networks, Pick
from safa.upscaler.memory_budget import Share
from safa.upscaler.size import ScaleFactor
from safa.upscaler.tiling import Tiling
from safa.upscaler.upscaler import Array, Upscaler
from safa.video.pipes import standard_output
from safa.video.read.folder import open_reader
from safa.video.read.info import Frame
from safa.video.schedule.schedule import plan_windows
from safa.video.schedule.timeline import OutputTime, Timeline
from safa.video.verify import Verification
from safa.video.write.journal import Journal, is_of_pipe, work_folder
from safa.video.write.segments import SegmentWriter
from safa.video.write.y4m import Y4mWriter


def upscale(
    source: str | Path,
    output: str | Path,
    *,
    rate: int | None = None,
    scale: ScaleFactor | None = None,
    size: str | None = None,
    settings: UpscaleSettings | None = None,
    upscaler: Upscaler | None = None,
    weights: str | Path | None = None,
    detail: float | None = None,
    device: str | None = None,
    engine: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    overwrite: bool = False,
    restart: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    on_warning: Callable[[str], None] | None = None,
    on_tiles: Callable[[Tiling], None] | None = None,
    on_forecast: Callable[[Forecast], None] | None = None,
    on_weights: Callable[[Pick], None] | None = None,
    on_checked: Callable[[Path], None] | None = None,
) -> Report:
    """Enlarge a video up to four times and make it smoother, keeping sound, time and colour.

    Args:
        source: a video file, a folder of numbered pictures, or "-" (YUV4MPEG2 on standard input).
        output: the file to write; it appears, whole and checked, by one rename at the end. "frames/%06d.png" is a
            folder of pictures, "-" YUV4MPEG2 on standard output (no sound, nothing kept, nothing checked).
        rate, scale, size: short for ``settings=UpscaleSettings(rate=rate, scale=scale, size=size)``; a rate of 2 and
            four times as large, but at most 4K, if nothing is said.
        upscaler: a loaded network; otherwise ``weights`` (a name or a file; "auto", the default, chooses by a look at
            the source) are loaded onto ``device`` for ``engine`` with ``precision`` ("auto"), with ``memory`` bytes as
            the most that the whole process may take (see ``Upscaler``).
        detail: for the weights fast and real, how sharp the result shall look, from 0 (as true as possible) to 1; if
            None, 0.3 with "auto" and 0 with weights that are named.
        overwrite: replace an existing output.
        restart: throw away what an interrupted run of this job kept.
        on_progress: called after every output frame.
        on_warning: called before work starts for everything that cannot be carried over.
        on_tiles: called before work starts if frames are computed in tiles.
        on_forecast: called before work starts with what will be made, how long that will take and about how large it
            will be; for that the first few frames are made and thrown away.
        on_weights: called with the weights that were chosen, if they were not given.
        on_checked: called with an output that has passed its check, before the kept work is deleted.

    Returns:
        The job's figures; ``report.verification.ok`` says whether the finished file is what it should be.

    Raises:
        SafaError: unusable input, output or settings, arguments that exclude each other, or no space left.
        KeyboardInterrupt: after finished segments are safe.
    """
    for name, path in (("source", source), ("output", output)):
        if not str(path):
            raise SafaError(f"The {name} has an empty name; give the name of a file, or of a folder.")
    source, output = Path(source), Path(output)
    began = time.monotonic()
    for name, value in (("rate", rate), ("scale", scale), ("size", size)):
        if value is not None and settings is not None:
            raise SafaError(
                f"Both {name} and settings are given; give the {name} as settings=UpscaleSettings({name}=...)."
            )
    settings = settings or UpscaleSettings(rate=2 if rate is None else rate, scale=scale, size=size)
    network = {
        "weights": weights,
        "detail": detail,
        "device": device,
        "engine": engine,
        "precision": precision,
        "memory": memory,
    }
    given = {name: value for name, value in network.items() if value is not None}
    if upscaler is not None and given:
        raise SafaError(f"An upscaler is given, and so is {' and '.join(given)}; give those to safa.load instead.")
    check_request(source, output, settings, overwrite)
    if source == PIPE and output != PIPE and not restart and not is_of_pipe(work_folder(output)):
        raise JournalMismatch(
            f"work of another job is kept in {work_folder(output)}, and what comes from a pipe cannot go on from it; "
            "choose another output, or give --restart to delete it."
        )
    networks = Networks(**given, on_pick=on_weights)  # type: ignore[arg-type]
    with open_reader(source, settings.reading) as reader, ExitStack() as reserved:
        job = prepare_job(reader, source, output, settings, upscaler.budget.ceiling if upscaler else memory, overwrite)
        for warning in job.warnings:
            if on_warning is not None:
                on_warning(warning)
        upscaler = upscaler or networks.for_source(source)
        reserved.enter_context(upscaler.budget.reserve(job.plan.aside))
        frame = reader.info.height, reader.info.width
        upscaler.tiles(*frame)  # or it is refused before anything is written
        if on_forecast is not None:
            on_forecast(forecast_of(job, reader.info, upscaler, restart))
        timeline = job.settings.timeline()
        frames = reader.frames(job.alpha)
        if output == PIPE:
            _report_tiles(upscaler, frame, on_tiles)
            meter = Meter(job.expected_frames, 0, on_progress)
            pipe = Y4mWriter(standard_output(), job.spec)
            try:
                with pipe:
                    _run(frames, timeline, upscaler, pipe, meter, job)
                    assert timeline.end is not None
                    pipe.finish(timeline.end)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"{pipe.written} frames were written to standard output") from None
            return job.report(meter.done, 0, began, reader.problems, Verification({}))
        folder = work_folder(output)
        fingerprint = job.fingerprint(upscaler.checkpoint.sha256, engine_of(upscaler))
        restart = restart or source == PIPE  # a pipe cannot be read again
        writer = SegmentWriter(folder, job.spec, fingerprint, restart=restart, frames_per_segment=SEGMENT_FRAMES)
        try:
            with writer:
                done = concluded_before(job, writer.journal, began)
                if done is not None:
                    return done
                reserved.enter_context(_settled(upscaler, frame, writer.journal))
                _report_tiles(upscaler, frame, on_tiles)
                resumed = writer.frames_done
                meter = Meter(job.expected_frames, resumed, on_progress)
                _run(frames, timeline, upscaler, writer, meter, job)
                assert timeline.end is not None
                journal = writer.finish(timeline.end)
                upscaler.engine.release()  # decoding the result needs memory, too
                # Within: until the output is there and checked, no other run may begin to join the same segments.
                return conclude(job, journal, resumed, began, reader.problems, on_checked=on_checked)
        except KeyboardInterrupt:
            raise interrupted(writer.journal) from None
        finally:
            if source == PIPE:
                writer.journal.remove()


def _settled(upscaler: Upscaler, size: tuple[int, int], journal: Journal) -> AbstractContextManager[None]:
    """The tiles of the job's earlier runs, if there were any: what is free now may differ from what was free then."""

    def keep(share: Share) -> None:
        journal.settle(asdict(share))

    share = Share(**journal.share) if journal.share else upscaler.budget.share(size[0] * size[1])  # type: ignore[arg-type]
    settled = upscaler.settled(*size, share, keep)
    keep(share)
    return settled


def _report_tiles(upscaler: Upscaler, size: tuple[int, int], on_tiles: Callable[[Tiling], None] | None) -> None:
    tiles = upscaler.tiles(*size)
    if len(tiles) > 1 and on_tiles is not None:
        on_tiles(Tiling.of(tiles))


def _run(
    frames: Iterator[Frame],
    timeline: Timeline,
    upscaler: Upscaler,
    writer: SegmentWriter | Y4mWriter,
    meter: Meter,
    job: Job,
) -> None:
    """Read, synthesise and write every output frame that is not safe yet."""

    def pictures(early: Iterator[Frame]) -> Iterator[tuple[Array, OutputTime]]:
        cuts, dedup = job.settings.cuts, job.settings.dedup
        windows = plan_windows(early, timeline, cuts, dedup, upscaler.span, writer.wants)
        return upscaler.render(windows, (job.spec.height, job.spec.width), ahead=True)

    run_pipeline(frames, pictures, writer.write, job.plan, meter.tick)
