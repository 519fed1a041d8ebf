"""Commands for people with a video: upscale, between, compare."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from safa.cli.console import (
    INTERRUPTED,
    AutoWeights,
    Codec,
    Crf,
    Deinterlace,
    Detail,
    Device,
    EngineName,
    Fps,
    Json,
    Memory,
    Rate,
    ScaleOption,
    SizeOption,
    Slow,
    SourceFps,
    Voice,
    Weights,
    progress_bar,
    stderr,
    stdout,
)
from safa.errors import SafaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from safa.jobs.forecast import Forecast
    from safa.jobs.job import Report
    from safa.jobs.pipeline import Progress
    from safa.jobs.settings import UpscaleSettings
    from safa.upscaler.tiling import Tiling
    from safa.upscaler.upscaler import Upscaler


def upscale(
    sources: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, folders, or - for y4m.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="File to write; a folder for several inputs.")
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
    memory: Memory = None,
    codec: Codec = None,
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
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an interrupted run kept.")] = False,
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
        int | None, typer.Option(min=1, help="Cluster: workers; as many as it carries if not given.")
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
    folder every video is made larger, but no result of an earlier command; what was finished with the same settings is
    skipped.
    """
    from safa.video.parse import parse_factor, parse_fps, parse_memory, parse_rate, parse_time

    if rate is not None and fps is not None:
        raise SafaError("Both --rate and --fps are given; choose one of them.")
    shape = {"--workers": workers, "--cpus-per-worker": cpus_per_worker, "--gpus-per-worker": gpus_per_worker}
    for name, value in shape.items():
        if value is not None and cluster is None:
            raise SafaError(f"{name} is for clusters; add --cluster, or leave it out.")
    if dry_run and cluster is not None:
        raise SafaError("How long a cluster takes cannot be told beforehand; leave out --dry-run or --cluster.")
    if finish and (cluster is not None or dry_run or restart):
        raise SafaError("--finish only joins what is there; leave out --cluster, --dry-run and --restart.")
    if source_fps is not None and all(source.is_file() or str(source) == "-" for source in sources):
        raise SafaError("--source-fps is for folders of pictures; a video has frame times of its own. Leave it out.")
    times: dict[str, Any] = {
        "rate": parse_rate(rate) if rate is not None else None,
        "fps": parse_fps(fps) if fps is not None else None,
        "slow": parse_factor(slow) if slow is not None else Fraction(1),
        "source_fps": parse_fps(source_fps) if source_fps is not None else None,
        "start": parse_time(start) if start is not None else None,
        "end": parse_time(end) if end is not None else None,
    }
    ceiling = parse_memory(memory) if memory is not None else None
    from safa.cli.so_far import join_all
    from safa.jobs.batch import Outcome, holds_videos, plan_batch, upscale_many
    from safa.jobs.settings import UpscaleSettings
    from safa.jobs.upscale import upscale as run
    from safa.jobs.weights import Networks, Pick

    choices = {"scale": scale, "size": size, "codec": codec, "crf": crf, "preset": preset, "audio": audio}
    settings = UpscaleSettings(**times, **choices, deinterlace=deinterlace, cuts=cuts, dedup=dedup)  # type: ignore[arg-type]
    # Where standard output carries the video, words go to standard error.
    voice = Voice(as_json, stderr if str(output) == "-" else stdout)
    options: dict[str, Any] = {"settings": settings, "overwrite": overwrite, "restart": restart}
    several = len(sources) > 1 or holds_videos(sources[0], output)
    jobs = plan_batch(sources, output) if several else [(sources[0], output)]
    with progress_bar("frames") as bar:
        task = bar.add_task("", total=None, speed="-")

        def begin(path: Path, target: Path) -> None:
            name = f"{len(jobs)} files" if several and cluster is not None else escape(path.name)
            bar.reset(task, description=name, total=None, speed="-")
            voice.event("start", source=str(path), output=str(target))

        def show(progress: Progress) -> None:
            speed = f"{progress.frames_per_second:.2f}"
            bar.update(task, completed=progress.done, total=progress.total, speed=speed)
            voice.event("progress", **vars(progress))

        def tell_tiles(tiling: Tiling) -> None:
            voice.event("tiles", **vars(tiling))
            voice.say(f"memory: frames are computed in {tiling.count} tiles of up to {tiling.width}x{tiling.height}")

        def tell(outcome: Outcome) -> None:
            if outcome.report is not None:
                _conclude(outcome.report, voice)
            elif outcome.error is not None:
                voice.failed(outcome.source, outcome.error)
            else:
                voice.event("skipped", source=str(outcome.source), output=str(outcome.output))
                voice.say(f"{outcome.output}: finished before")

        def tell_weights(pick: Pick) -> None:
            voice.event("weights", **vars(pick))
            voice.say(f"weights: {pick.name}, as {pick.reason}")

        networks = Networks(weights, detail, device, engine, ceiling, tell_weights)
        if dry_run:
            _foretell(jobs, several, networks.for_source, settings, overwrite, voice)
            return
        if finish:
            join_all(jobs, several, networks.for_source, settings, voice)
            return
        # A program that reads our words is not kept waiting for a guess that it did not ask for.
        if cluster is None and (as_json or (voice.out.is_terminal and stderr.is_terminal)):
            options["on_forecast"] = partial(_tell_forecast, voice)
        options |= {"on_progress": show, "on_warning": voice.warn, "on_tiles": tell_tiles}
        try:
            if cluster is not None:
                from safa.cluster import ClusterSettings, Listeners, WorkerShape, upscale_on_cluster

                shape_of = WorkerShape(workers, cpus_per_worker or 1, gpus_per_worker)
                cluster_settings = ClusterSettings(cluster, shape_of, device, engine, ceiling)
                groups: dict[str, list[tuple[Path, Path]]] = {}
                for job in jobs:
                    groups.setdefault(networks.name_for(job[0]), []).append(job)
                options = {"settings": settings, "overwrite": overwrite, "restart": restart, "is_batch": several}
                listeners = Listeners(begin, tell, show, voice.warn)
                outcomes = []
                for name, some in groups.items():
                    outcomes += upscale_on_cluster(some, cluster_settings, weights=name, listeners=listeners, **options)
            elif several:
                outcomes = upscale_many(jobs, networks.for_source, on_start=begin, on_outcome=tell, **options)
            else:
                begin(*jobs[0])
                options |= {"device": device, "engine": engine, "memory": ceiling, "on_weights": tell_weights}
                report = run(*jobs[0], weights=weights, detail=detail, **options)
                outcomes = [Outcome(*jobs[0], report)]
                tell(outcomes[0])
        except KeyboardInterrupt as stop:
            stderr.print(f"safa: stopped; {escape(str(stop) or 'nothing was written')}.")
            raise SystemExit(INTERRUPTED) from None
    failed = sum(outcome.failed for outcome in outcomes)
    if several:
        voice.event("summary", done=len(outcomes) - failed, failed=failed)
        voice.say(f"{len(outcomes) - failed} of {len(outcomes)} files are done, {failed} failed.")
    if failed:
        raise SystemExit(1)


def _foretell(
    jobs: list[tuple[Path, Path]],
    several: bool,
    upscaler_for: Callable[[Path], Upscaler],
    settings: UpscaleSettings,
    overwrite: bool,
    voice: Voice,
) -> None:
    """Say of each file what would be made of it."""
    from safa.jobs.batch import settled_before
    from safa.jobs.forecast import forecast

    failed = False
    for source, output in jobs:
        upscaler = upscaler_for(source)
        if several and not overwrite and (done := settled_before(source, output, settings, upscaler.checkpoint.sha256)):
            failed = failed or done.failed
            voice.event("skipped", source=str(source), output=str(output), error=str(done.error or ""))
            voice.say(str(done.error) if done.error else f"{output}: finished before")
            continue
        try:
            made = forecast(source, output, settings, upscaler, overwrite=overwrite, check=not several)
        except SafaError as error:
            if not several:
                raise
            failed = True
            voice.failed(source, error)
            continue
        for warning in made.left_out:
            voice.warn(warning)
        _tell_forecast(voice, made)
    if failed:
        raise SystemExit(1)


def _tell_forecast(voice: Voice, made: Forecast) -> None:
    voice.event("forecast", **made.to_dict())
    for line in made.lines():
        voice.say(line)


def _conclude(report: Report, voice: Voice) -> None:
    for problem in report.problems:
        voice.warn(f"the source is damaged: {problem}")
    voice.event("done", **report.to_dict())
    resumed = f", {report.resumed_frames} of them from an earlier run" if report.resumed_frames else ""
    retries = f", {report.retries} parts tried again" if report.retries else ""
    size = f"{report.width}x{report.height}"
    voice.say(f"{report.output}: {size}, {report.frames} frames{resumed}, in {report.seconds:.1f} s{retries}")
    voice.checked(report)


def between(
    first: Annotated[Path, typer.Argument(metavar="A", help="First picture.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Second picture, of the same size.")],
    at: Annotated[list[float], typer.Option(metavar="T", help="Time between 0 (A) and 1 (B); may be repeated.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results.")],
    scale: ScaleOption = None,
    size: SizeOption = None,
    weights: Weights = "fast",
    detail: Detail = None,
    device: Device = "auto",
    engine: EngineName = "auto",
    memory: Memory = None,
) -> None:
    """Write the pictures at the given times between two pictures, enlarged.

    Without --scale and --size they are four times as wide and high.
    """
    from safa.video.parse import parse_memory

    ceiling = parse_memory(memory) if memory is not None else None
    from safa.checkpoint import with_detail
    from safa.upscaler.upscaler import load
    from safa.video.read.pictures import load_picture, save_picture

    pictures = load_picture(first), load_picture(second)
    if not output.parent.is_dir():
        raise SafaError(f"{output.parent} is no folder; make it first or choose another output.")
    named = weights if detail is None else with_detail(weights, detail)
    upscaler = load(named, device, engine=engine, memory=ceiling)
    results = upscaler.between(pictures[0], pictures[1], at, scale=scale, size=size)
    output.mkdir(exist_ok=True)
    for t, picture in zip(at, results, strict=True):
        path = output / f"{first.stem}-{second.stem}-{t:.4f}.png"
        save_picture(picture, path)
        stdout.print(escape(str(path)))


def compare(
    source: Annotated[Path, typer.Argument(metavar="IN", help="The small video.")],
    result: Annotated[Path, typer.Argument(metavar="OUT", help="What 'safa upscale' made of it.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PNG", help="Picture to write.")],
    at: Annotated[str | None, typer.Option(help="Time in the source; the middle of the result if not given.")] = None,
    slow: Annotated[str | None, typer.Option(metavar="X", help="What 'safa upscale' was given as --slow.")] = None,
    start: Annotated[str | None, typer.Option(help="What it was given as --start.")] = None,
    source_fps: SourceFps = None,
) -> None:
    """Write a before/after picture: bicubic enlargement of the source beside the result at the same time."""
    from safa.video.parse import parse_factor, parse_fps, parse_time

    times: dict[str, Any] = {
        "at": parse_time(at) if at is not None else None,
        "slow": parse_factor(slow) if slow is not None else Fraction(1),
        "start": parse_time(start) if start is not None else None,
        "source_fps": parse_fps(source_fps) if source_fps is not None else None,
    }
    from safa.video.read.pictures import before_after, save_picture

    save_picture(before_after(source, result, **times), output)
    stdout.print(escape(str(output)))
