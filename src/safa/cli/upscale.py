"""The command that enlarges videos and makes them smoother: upscale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from safa.cli.console import (
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
    path_named,
    progress_bar,
    stderr,
    stdout,
)
from safa.cli.progress import UpscaleReporter
from safa.cli.times import check_source_fps, parse_rates, parse_selection
from safa.errors import SafaError
from safa.video.parse import parse_memory

if TYPE_CHECKING:
    from safa.cluster import ClusterSettings
    from safa.jobs.batch import Outcome
    from safa.jobs.weights import Networks


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
    preset: Annotated[str, typer.Option(help="The encoder's speed preset.")] = "medium",
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
        bool, typer.Option("--dry-run", help="Say what would be made and how long it takes; make nothing.")
    ] = False,
    finish: Annotated[
        bool,
        typer.Option("--finish", help="Join what a stopped run has finished into OUT.so-far.mp4; it can still go on."),
    ] = False,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use a Ray cluster: auto, host:port or ray://host:port.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Cluster: number of workers; as many as it has room for if not given.")
    ] = None,
    cpus_per_worker: Annotated[
        float | None, typer.Option(min=0.1, help="Cluster: processors, and threads, of a worker; 1 if not given.")
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="Cluster: GPUs of a worker; 1 where there are any.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Enlarge a video and make it smoother; sound is kept.

    Without --scale and --size the result is four times as wide and high, but no more than 4K.

    The same command goes on where an interrupted one stopped; with --finish it makes a file to watch meanwhile. Of a
    folder every video is upscaled, except in folders that this command has filled before; what was finished with the
    same settings is skipped. With --source-fps its pictures are upscaled instead.
    """
    rates = parse_rates(rate, fps, slow)
    shape = {"--workers": workers, "--cpus-per-worker": cpus_per_worker, "--gpus-per-worker": gpus_per_worker}
    for name, value in shape.items():
        if value is not None and cluster is None:
            raise SafaError(f"{name} is for clusters; add --cluster, or leave it out.")
    if dry_run and cluster is not None:
        raise SafaError("How long a cluster takes cannot be estimated; leave out --dry-run or --cluster.")
    if finish and (cluster is not None or dry_run or restart):
        raise SafaError("--finish only joins finished work; leave out --cluster, --dry-run and --restart.")
    check_source_fps(source_fps, sources)
    selection = parse_selection(source_fps, start, end)
    ceiling = parse_memory(memory) if memory is not None else None
    from safa.cli.dry_run import forecast_all
    from safa.cli.so_far import join_all
    from safa.jobs.batch import Outcome, holds_videos, plan_batch, skipped_files, upscale_many
    from safa.jobs.settings import UpscaleSettings
    from safa.jobs.upscale import upscale as run
    from safa.jobs.weights import Networks

    choices = {"scale": scale, "size": size, "codec": codec, "crf": crf, "preset": preset, "audio": audio}
    choices |= {"deinterlace": deinterlace, "cuts": cuts, "dedup": dedup}
    settings = UpscaleSettings(**rates, **selection, **choices)  # type: ignore[arg-type]
    # Where standard output carries the video, messages go to standard error.
    out = stderr if str(output) == "-" else stdout
    common: dict[str, Any] = {"settings": settings, "overwrite": overwrite, "restart": restart}
    pictures = source_fps is not None
    several = len(sources) > 1 or holds_videos(sources[0], output, pictures)
    jobs = plan_batch(sources, output, codec, pictures=pictures) if several else [(sources[0], output)]
    with progress_bar("frames") as bar:
        label = f"{len(jobs)} files" if several and cluster is not None else None
        reporter = UpscaleReporter(as_json, out, bar, label)
        networks = Networks(weights, detail, device, engine, precision, ceiling, reporter.weights)
        for sentence in skipped_files(sources, output) if several else ():
            reporter.warn(sentence)
        if dry_run:
            forecast_all(jobs, several, networks.for_source, settings, overwrite, restart, reporter)
            return
        if finish:
            join_all(jobs, several, networks.for_source, settings, reporter)
            return
        events: dict[str, Any] = {"on_progress": reporter.progress, "on_warning": reporter.warn}
        events["on_tiles"] = reporter.tiles
        # Programs and scripts do not wait for an estimate that they did not ask for.
        if as_json or (out.is_terminal and stderr.is_terminal):
            events["on_forecast"] = reporter.forecast
        try:
            if cluster is not None:
                from safa.cluster import ClusterSettings, WorkerShape

                workers_shape = WorkerShape(workers, cpus_per_worker or 1, gpus_per_worker)
                where = ClusterSettings(cluster, workers_shape, device, engine, precision, ceiling)
                outcomes = _on_cluster(jobs, where, networks, reporter, is_batch=several, **common)
            elif several:
                listeners: dict[str, Any] = {"on_start": reporter.start, "on_outcome": reporter.outcome, **events}
                outcomes = upscale_many(jobs, networks.for_source, **common, **listeners)
            else:
                reporter.start(*jobs[0])
                network: dict[str, Any] = {"weights": weights, "detail": detail, "device": device, "engine": engine}
                network |= {"precision": precision, "memory": ceiling, "on_weights": reporter.weights}
                source, target = jobs[0]
                outcomes = [Outcome(source, target, run(source, target, **network, **common, **events))]
                reporter.outcome(outcomes[0])
        except SafaError as error:
            reporter.event("failed", source=str(sources[0]), output=str(output), error=str(error))
            raise
        except KeyboardInterrupt as stop:
            reporter.event("stopped", kept=str(stop))
            stderr.print(f"safa: stopped; {escape(str(stop) or 'nothing was written')}.")
            raise SystemExit(INTERRUPTED) from None
    failed = sum(outcome.failed for outcome in outcomes)
    if several:
        reporter.summary(len(outcomes), failed)
    if failed:
        raise SystemExit(1)


def _on_cluster(
    jobs: list[tuple[Path, Path]],
    cluster: ClusterSettings,
    networks: Networks,
    reporter: UpscaleReporter,
    **common: Any,
) -> list[Outcome]:
    """The jobs, those with the same weights together."""
    from safa.cluster import Listeners, upscale_on_cluster

    listeners = Listeners(reporter.start, reporter.outcome, reporter.progress, reporter.warn)
    groups: dict[str, list[tuple[Path, Path]]] = {}
    for job in jobs:
        groups.setdefault(networks.name_for(job[0]), []).append(job)
    outcomes = []
    for name, some in groups.items():
        outcomes += upscale_on_cluster(some, cluster, weights=name, listeners=listeners, **common)
    return outcomes
