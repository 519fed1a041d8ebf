"""The main job: a video file in, a larger and smoother one out.

Decoding, the network and encoding run in parallel, a few frames apart; memory does not grow with the length of the
video. Finished work is kept in segments beside the output, so the same call continues where an earlier one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Unpack

from safa.engine.images import Array
from safa.errors import JournalMismatch, SafaError
from safa.jobs.estimate import Forecast, forecast_job
from safa.jobs.pipeline import Meter, Progress, run_pipeline
from safa.jobs.plan import PIPE, Job, check_request, prepare_job
from safa.jobs.report import JobRun, Report, conclude, concluded_before, interrupted
from safa.jobs.weights_selection import LoadedNetwork, Networks, WeightsChoice
from safa.options import ComputeOptions, RunOptions, SettingsKeywords, UpscaleSettings, WeightsSpec
from safa.upscaler.memory_budget import TileBudget
from safa.upscaler.tiling import Tiling
from safa.upscaler.upscaler import Upscaler, engine_of
from safa.video.folder_source import open_reader
from safa.video.info import Frame
from safa.video.journal import Journal, is_of_pipe, work_folder
from safa.video.pipes import standard_output
from safa.video.schedule import OutputTime, plan_windows
from safa.video.segments import SegmentWriter
from safa.video.source import FrameSource
from safa.video.verify import Verification
from safa.video.y4m import Y4mWriter


@dataclass(frozen=True)
class JobEvents:
    """Functions that a job calls; see ``upscale``."""

    on_progress: Callable[[Progress], None] | None = None
    on_warning: Callable[[str], None] | None = None
    on_tiles: Callable[[Tiling], None] | None = None
    on_forecast: Callable[[Forecast], None] | None = None
    on_weights: Callable[[WeightsChoice], None] | None = None
    on_checked: Callable[[Path], None] | None = None


class UpscaleKeywords(SettingsKeywords, total=False):
    """Keywords of ``upscale``: settings and events."""

    on_progress: Callable[[Progress], None] | None
    on_warning: Callable[[str], None] | None
    on_tiles: Callable[[Tiling], None] | None
    on_forecast: Callable[[Forecast], None] | None
    on_weights: Callable[[WeightsChoice], None] | None
    on_checked: Callable[[Path], None] | None


def upscale(
    source: str | Path,
    output: str | Path,
    settings: UpscaleSettings | None = None,
    *,
    upscaler: Upscaler | None = None,
    overwrite: bool = False,
    restart: bool = False,
    **keywords: Unpack[UpscaleKeywords],
) -> Report:
    """Enlarge a video up to four times and raise its frame rate, keeping sound, times and colour.

    Args:
        source: a video file, a folder of numbered pictures, or "-" (YUV4MPEG2 on standard input).
        output: the file to write. It appears under its name when it is complete and checked. "frames/%06d.png" is a
            folder of pictures, "-" YUV4MPEG2 on standard output (without sound; nothing is kept or checked).
        settings: everything that can be requested; by default a rate of 2 and four times the size, but at most 4K.
        rate, fps, scale, size: change the settings: output frames per source frame or per second, enlargement or size.
        weights: change the settings: a name or a file; "auto", the default, chooses for the source.
        detail: changes the settings: for the weights fast and real, from 0 (true to the source) to 1 (sharpest). By
            default 0.3 with "auto", and 0 with weights that are named.
        device, engine, precision, memory: change the settings: where and how the network runs, see ``Upscaler``.
        upscaler: a loaded network, used instead of these weights.
        overwrite: replace an existing output.
        restart: delete the kept work of an interrupted run.
        on_progress: called after every output frame.
        on_warning: called before work starts with a sentence for everything that cannot be carried over.
        on_tiles: called before work starts if frames are computed in tiles.
        on_forecast: called before work starts with what will be made and an estimate of the cost, for which the first
            few frames are made and thrown away.
        on_weights: called with automatically chosen weights.
        on_checked: called with an output that has passed its check, before the kept work is deleted.

    Returns:
        The job's figures; ``report.verification.ok`` says whether the finished file passed its check.

    Raises:
        SafaError: unusable input, output or settings, or no space left.
        KeyboardInterrupt: after finished segments are safe.
        TypeError: an unknown keyword.
    """
    for name, path in (("source", source), ("output", output)):
        if not str(path):
            raise SafaError(f"The {name} has an empty name; give the name of a file, or of a folder.")
    events, changes = _split(dict(keywords))
    settings = (settings or UpscaleSettings()).changed(**changes)
    networks = Networks(settings.weights, settings.compute, events.on_weights)
    if upscaler is not None:
        _check_no_network_settings(settings, changes)
        networks = LoadedNetwork(upscaler)
    return run_job(Path(source), Path(output), settings, networks, RunOptions(overwrite, restart), events)


def _split(keywords: dict[str, Any]) -> tuple[JobEvents, dict[str, Any]]:
    """Return the events among the keywords, and the changes of the settings."""
    unknown = sorted(keywords.keys() - UpscaleKeywords.__annotations__.keys())
    if unknown:
        raise TypeError(f"upscale() got an unexpected keyword argument {unknown[0]!r}")
    events = {item.name: keywords.pop(item.name) for item in fields(JobEvents) if item.name in keywords}
    return JobEvents(**events), {name: value for name, value in keywords.items() if value is not None}


def _check_no_network_settings(settings: UpscaleSettings, changes: dict[str, Any]) -> None:
    named = {item.name for item in fields(ComputeOptions)} | {"weights", "detail"}
    given = [name for name in changes if name in named]
    if given:
        raise SafaError(f"An upscaler is given, and so is {' and '.join(given)}; give those to safa.load instead.")
    if settings.weights != WeightsSpec() or settings.compute != ComputeOptions():
        raise SafaError("An upscaler is given, and so are weights or compute options in the settings; leave them out.")


def run_job(
    source: Path,
    output: Path,
    settings: UpscaleSettings,
    networks: Networks,
    options: RunOptions,
    events: JobEvents,
) -> Report:
    """Do one job; see ``upscale``.

    Args:
        networks: the network is loaded once the job is known to be possible.
    """
    run = JobRun()
    check_request(source, output, settings, options.overwrite)
    if source == PIPE and output != PIPE and not options.restart and not is_of_pipe(work_folder(output)):
        raise JournalMismatch(
            f"work of another job is kept in {work_folder(output)}, and a pipe cannot continue it; choose another "
            "output, or give --restart to delete it."
        )
    with open_reader(source, settings.reading) as reader, ExitStack() as reserved:
        job = prepare_job(reader, source, output, settings, networks.ceiling, options.overwrite)
        for warning in job.warnings:
            if events.on_warning is not None:
                events.on_warning(warning)
        upscaler = networks.for_source(source)
        reserved.enter_context(upscaler.budget.reserve(job.memory.reserved))
        # Raises an error for frames that do not fit into memory, before anything is written.
        upscaler.tiles(reader.info.height, reader.info.width)
        if events.on_forecast is not None:
            events.on_forecast(forecast_job(job, reader.info, upscaler, options.restart))
        if output == PIPE:
            return _run_to_pipe(job, reader, upscaler, run, events)
        fingerprint = job.fingerprint(upscaler.checkpoint.sha256, engine_of(upscaler))
        restart = options.restart or source == PIPE  # a pipe cannot be read again
        writer = SegmentWriter(
            work_folder(output), job.spec, fingerprint, restart=restart, frames_per_segment=job.segment_frames
        )
        try:
            with writer:
                done = concluded_before(job, writer.journal, run.began)
                if done is not None:
                    return done
                size = reader.info.height, reader.info.width
                reserved.enter_context(_fixed_tiles(upscaler, size, writer.journal))
                run.resumed = writer.frames_done
                _render(job, reader, upscaler, writer, run, events)
                upscaler.engine.release()  # decoding the result needs memory, too
                # With the lock held: until the output is checked, no other run may join the same segments.
                return conclude(job, writer.journal, run, events.on_checked)
        except KeyboardInterrupt:
            raise interrupted(writer.journal) from None
        finally:
            if source == PIPE:
                writer.journal.remove()


def _run_to_pipe(job: Job, reader: FrameSource, upscaler: Upscaler, run: JobRun, events: JobEvents) -> Report:
    pipe = Y4mWriter(standard_output(), job.spec)
    try:
        with pipe:
            frames = _render(job, reader, upscaler, pipe, run, events)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{pipe.written} frames were written to standard output") from None
    return run.report(job, frames, Verification({}))


def _fixed_tiles(upscaler: Upscaler, size: tuple[int, int], journal: Journal) -> AbstractContextManager[None]:
    """Use the tiles of the job's earlier runs, because the free memory may differ from then."""

    def keep(budget: TileBudget) -> None:
        journal.settle(asdict(budget))

    recorded = TileBudget.recorded(journal.share)
    budget = recorded or upscaler.budget.tile_budget(size[0] * size[1])
    tiles = upscaler.fixed_tiles(*size, budget, keep)
    keep(budget)
    return tiles


def _render(
    job: Job,
    reader: FrameSource,
    upscaler: Upscaler,
    writer: SegmentWriter | Y4mWriter,
    run: JobRun,
    events: JobEvents,
) -> int:
    """Make and write every output frame that is not kept already; return the number of output frames."""
    tiles = upscaler.tiles(reader.info.height, reader.info.width)
    if len(tiles) > 1 and events.on_tiles is not None:
        events.on_tiles(Tiling.of(tiles))
    settings, timeline = job.settings, job.settings.timeline()
    meter = Meter(job.expected_frames, run.resumed, events.on_progress)

    def pictures(frames: Iterator[Frame]) -> Iterator[tuple[Array, OutputTime]]:
        windows = plan_windows(frames, timeline, settings.cuts, settings.dedup, upscaler.span, writer.needs)
        return upscaler.render(windows, (job.spec.height, job.spec.width), ahead=True)

    run_pipeline(reader.frames(job.alpha), pictures, writer.write, job.memory, meter.tick)
    assert timeline.end is not None
    writer.finish(timeline.end)
    run.problems = list(reader.problems)
    return meter.done
