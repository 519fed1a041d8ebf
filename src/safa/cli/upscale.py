"""The command that enlarges videos and raises their frame rate: upscale."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from safa.cli.common import (
    INTERRUPTED,
    AutoWeights,
    CodecOption,
    Crf,
    Deinterlace,
    Detail,
    Device,
    EngineName,
    Fps,
    Json,
    Memory,
    Precision,
    Rate,
    ScaleOption,
    SizeOption,
    Slow,
    SourceFps,
    UpscaleReporter,
    path_named,
    progress_bar,
    stderr,
    stdout,
)
from safa.errors import SafaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safa.cluster import ClusterSettings
    from safa.jobs.batch import BatchEvents, Files, Outcome
    from safa.jobs.weights_selection import Networks
    from safa.options import RunOptions, UpscaleSettings

EXAMPLES = {
    "What it would make, and how long that takes": "safa upscale clip.mp4 -o clip-4x.mp4 --dry-run",
    "An old DVD": "safa upscale dvd.vob -o dvd-2x.mkv --scale 2",
    "A clip from a phone": "safa upscale phone.mp4 -o phone-60.mp4 --scale 2 --fps 60",
    "A screen recording": "safa upscale screen.mkv -o screen-2x.mp4 --scale 2 --rate 1 --crf 14 --detail 0",
    "Animation": "safa upscale cartoon.mp4 -o cartoon-4x.mp4 --dedup",
    "Drone footage": "safa upscale drone.mp4 -o drone-2x.mp4 --scale 2 --codec h265 --memory 4G",
    "Slow motion": "safa upscale jump.mp4 -o jump-slow.mp4 --slow 4 --rate 4",
    "24 to 60 frames per second, same size": "safa upscale film.mp4 -o film-60.mp4 --fps 60 --scale 1",
    "A part of a file": "safa upscale holiday.mp4 -o part.mp4 --start 1:02.5 --end 1:10",
    "A folder overnight": "safa upscale holidays -o holidays-large --scale 2",
    "Something to watch after Ctrl-C": "safa upscale film.mp4 -o film-60.mp4 --fps 60 --scale 1 --finish",
}
"""Examples at the end of --help; docs/recipes.md explains them."""


def epilog() -> str:
    """Return the examples for typer; the mark at the beginning keeps the lines as they are."""
    lines = [f"{what}:\n  {command}" for what, command in EXAMPLES.items()]
    return "\b\nExamples:\n" + "\n".join(lines)


def upscale_command(
    sources: Annotated[
        list[Path], typer.Argument(parser=path_named, metavar="IN...", help="Videos, folders, or - for y4m.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", parser=path_named, metavar="OUT", help="File to write; a folder for several inputs."
        ),
    ],
    rate: Rate = None,
    fps: Fps = None,
    slow: Slow = None,
    scale: ScaleOption = None,
    size: SizeOption = None,
    weights: AutoWeights = "auto",
    detail: Detail = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    precision: Precision = "auto",
    memory: Memory = None,
    codec: CodecOption = None,
    crf: Crf = None,
    preset: Annotated[str, typer.Option(help="Speed preset of the encoder.")] = "medium",
    source_fps: SourceFps = None,
    start: Annotated[str | None, typer.Option(help="Begin at this time, such as 62.5 or 1:02.5.")] = None,
    end: Annotated[str | None, typer.Option(help="End before this time.")] = None,
    audio: Annotated[bool, typer.Option(help="Keep the sound.")] = True,
    deinterlace: Deinterlace = True,
    cuts: Annotated[bool, typer.Option(help="Do not interpolate across scene cuts and flashes.")] = True,
    dedup: Annotated[bool, typer.Option("--dedup", help="Spread motion over repeated frames.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Delete the kept work of an interrupted run.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would be made and how long it takes; make nothing.")
    ] = False,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Join the finished part of a stopped run into OUT.so-far.mp4; it can continue."),
    ] = False,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use a Ray cluster: auto, host:port or ray://host:port.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cluster: number of workers; by default as many as it has room for.")
    ] = None,
    cpus_per_worker: Annotated[
        float | None, typer.Option(min=0.1, help="Cluster: processors, and threads, of a worker; 1 by default.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="Cluster: GPUs of a worker; 1 by default if there are any.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enlarge a video and raise its frame rate; the sound is kept.

    Without --scale and --size the result is four times as wide and high, but at most 4K.

    The same command continues where an interrupted one stopped; with --finish it makes a file to watch meanwhile. Every
    video in a folder is upscaled, except in folders that this command has filled before; files that were finished with
    the same settings are skipped. With --source-fps, the pictures in a folder are upscaled instead.
    """
    from safa.options import (
        ComputeOptions,
        RunOptions,
        UpscaleSettings,
        WeightsSpec,
        check_source_fps,
        parse_factor,
        parse_fps,
        parse_memory,
        parse_optional,
        parse_rates,
        parse_time,
    )
    from safa.video.info import ReadOptions

    rates = parse_rates(rate, fps)
    factor = parse_optional(parse_factor, slow) or Fraction(1)
    shape = {"--workers": workers, "--cpus-per-worker": cpus_per_worker, "--gpus-per-worker": gpus_per_worker}
    for name, value in shape.items():
        if value is not None and cluster is None:
            raise SafaError(f"{name} is for clusters; add --cluster, or leave it out.")
    if dry_run and cluster is not None:
        raise SafaError("The time on a cluster cannot be estimated; leave out --dry-run or --cluster.")
    if finish and (cluster is not None or dry_run or restart):
        raise SafaError("--finish only joins finished work; leave out --cluster, --dry-run and --restart.")
    check_source_fps(source_fps, sources)
    reading = ReadOptions(
        source_fps=parse_optional(parse_fps, source_fps),
        start=parse_optional(parse_time, start),
        end=parse_optional(parse_time, end),
        deinterlace=deinterlace,
    )
    compute = ComputeOptions(device, engine, precision, memory=parse_optional(parse_memory, memory))
    from safa.jobs.batch import forecast_many, holds_videos, join_many, plan_batch, skipped_files, upscale_many
    from safa.jobs.weights_selection import Networks

    settings = UpscaleSettings(
        *rates,
        slow=factor,
        scale=scale,
        size=size,
        codec=codec,
        crf=crf,
        preset=preset,
        audio=audio,
        cuts=cuts,
        dedup=dedup,
        reading=reading,
        weights=WeightsSpec(weights, detail),
        compute=compute,
    )
    # Where standard output carries the video, messages go to standard error.
    out = stderr if str(output) == "-" else stdout
    pictures = source_fps is not None
    several = len(sources) > 1 or holds_videos(sources[0], output, pictures)
    options = RunOptions(overwrite, restart, is_batch=several)
    jobs = plan_batch(sources, output, codec, pictures=pictures) if several else [(sources[0], output)]
    with progress_bar("frames") as bar:
        label = f"{len(jobs)} files" if several and cluster is not None else None
        reporter = UpscaleReporter(as_json, out, bar, label)
        # Scripts do not wait for an estimate that they did not ask for.
        events = reporter.events(with_forecast=as_json or (out.is_terminal and stderr.is_terminal))
        networks = Networks(settings.weights, compute, reporter.weights)
        for sentence in skipped_files(sources, output, pictures=pictures) if several or pictures else ():
            reporter.warn(sentence)
        if dry_run:
            _exit_if_failed(forecast_many(jobs, settings, networks, options, _only_outcomes(reporter.outcome)))
            return
        if finish:
            outcomes = join_many(jobs, settings, networks, options, _only_outcomes(reporter.joined))
            reporter.say("the same command without --finish continues where it stopped")
            _exit_if_failed(outcomes)
            return
        try:
            if cluster is not None:
                from safa.cluster import ClusterSettings, WorkerShape

                where = ClusterSettings(cluster, WorkerShape(workers, cpus_per_worker or 1, gpus_per_worker))
                outcomes = _upscale_on_cluster(jobs, where, settings, networks, options, events)
            else:
                outcomes = upscale_many(jobs, settings, networks, options, events)
        except SafaError as error:
            reporter.event("failed", source=str(sources[0]), output=str(output), error=str(error))
            raise
        except KeyboardInterrupt as stop:
            reporter.event("stopped", kept=str(stop))
            stderr.print(f"safa: stopped; {escape(str(stop) or 'nothing was written')}.")
            raise SystemExit(INTERRUPTED) from None
    if several:
        reporter.summary(len(outcomes), sum(outcome.failed for outcome in outcomes))
    _exit_if_failed(outcomes)


def _only_outcomes(on_outcome: Callable[[Outcome], None]) -> BatchEvents:
    from safa.jobs.batch import BatchEvents

    return BatchEvents(on_outcome=on_outcome)


def _exit_if_failed(outcomes: list[Outcome]) -> None:
    if any(outcome.failed for outcome in outcomes):
        raise SystemExit(1)


def _upscale_on_cluster(
    jobs: list[Files],
    cluster: ClusterSettings,
    settings: UpscaleSettings,
    networks: Networks,
    options: RunOptions,
    events: BatchEvents,
) -> list[Outcome]:
    """Do jobs with the same weights together."""
    from safa.cluster import upscale_on_cluster

    groups: dict[str, list[Files]] = {}
    for job in jobs:
        groups.setdefault(networks.name_for(job[0]), []).append(job)
    outcomes = []
    for name, group in groups.items():
        outcomes += upscale_on_cluster(group, cluster, settings, name, options, events)
    return outcomes
