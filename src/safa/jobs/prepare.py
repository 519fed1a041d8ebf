"""From a request to a job: what is possible, decided before anything is made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av

from safa.errors import OutputError
from safa.jobs.job import PIPE, Job
from safa.jobs.settings import UpscaleSettings
from safa.jobs.sizing import resolve_size, size_warnings
from safa.upscaler.memory_budget import plan_job
from safa.upscaler.size import OutputSize
from safa.video.read.folder import FolderReader
from safa.video.read.info import VideoInfo
from safa.video.read.reader import VideoReader
from safa.video.remux.stream_plan import plan_streams
from safa.video.schedule.constant_rate import one_rate
from safa.video.schedule.timeline import output_time_base
from safa.video.write.animation import FASTEST_GIF
from safa.video.write.codecs import Choice, check_quality, choose_codec, codec_entry, container_of
from safa.video.write.encoder import OutputSpec, check_encoder, check_output
from safa.video.write.journal import is_published


def check_request(source: Path, output: Path, settings: UpscaleSettings, overwrite: bool) -> None:
    """Raise ``OutputError`` for an output that cannot be, or that is there already and must not be replaced."""
    check_output(output, source, settings.codec)
    if output != PIPE and output.exists() and not overwrite and not is_published(output):
        raise OutputError(f"{output} exists already; choose another name or add --overwrite.")


def prepare_job(
    reader: VideoReader | FolderReader,
    source: Path,
    output: Path,
    settings: UpscaleSettings,
    memory: int | None = None,
    overwrite: bool = False,
) -> Job:
    """Decide how the output is made from what ``reader`` found, by a process that may take ``memory`` bytes.

    ``overwrite``: what has the output's name when it is done may be replaced.

    Raises:
        SafaError: what is asked for cannot be done.
    """
    info, notes = reader.info, []
    rate = settings.rate
    if rate is not None and (found := one_rate(reader, output, settings.reading, rate)):
        settings = dataclasses.replace(settings, rate=None, fps=found / settings.slow)
        notes.append(
            f"the source's frame rate varies and {output.suffix or 'y4m'} has none but a constant one: frames are made "
            f"for {settings.fps} a second; choose another with --fps."
        )
    choice = choose_codec(output, settings.codec, info.bit_depth, info.has_alpha)
    check_quality(choice.codec, settings.crf, settings.preset)
    size = resolve_size(info, settings, choice.pixel_format)
    if settings.codec is None and min(size.width, size.height) < codec_entry(choice.codec).least:
        choice = choose_codec(output, None, info.bit_depth, info.has_alpha, min(size.width, size.height))
        check_quality(choice.codec, settings.crf, settings.preset)
        size = resolve_size(info, settings, choice.pixel_format)
    notes += size_warnings(info, size)
    if container_of(output) == "gif" and settings.output_rate(info.average_rate) > FASTEST_GIF:
        raise OutputError(
            f"{output}: GIF counts hundredths of a second, so it shows at most {FASTEST_GIF} frames a second; give a "
            f"lower --rate, or --fps {FASTEST_GIF // 2}."
        )
    spec = _output_spec(reader, output, settings, choice, size)
    plan = plan_job(memory, spec, _pixel_bytes(info, choice), info.width * info.height)
    spec = dataclasses.replace(spec, economy=plan.economy)
    check_encoder(spec)
    streams = plan_streams(info, spec, reader.origin, reader.is_cut, settings.audio, settings.slow)
    warnings = [*notes, *choice.warnings, *streams.warnings]
    expected = expected_frames(reader, settings)
    return Job(source, settings, spec, streams, _has_alpha(choice), expected, warnings, plan, overwrite)


def _has_alpha(choice: Choice) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(choice.pixel_format).components)


def _pixel_bytes(info: VideoInfo, choice: Choice) -> int:
    """Of a frame on its way to the encoder."""
    return (4 if info.has_alpha and _has_alpha(choice) else 3) * (2 if info.bit_depth > 8 else 1)


def _output_spec(
    reader: VideoReader | FolderReader, output: Path, settings: UpscaleSettings, choice: Choice, size: OutputSize
) -> OutputSpec:
    info = reader.info
    return OutputSpec(
        path=output,
        width=size.width,
        height=size.height,
        time_base=output_time_base(info.time_base, settings.rate, settings.fps, settings.slow),
        rate=settings.output_rate(info.average_rate),
        colour=info.colour.resolved(info.height, info.is_rgb),
        codec=choice.codec,
        pixel_format=choice.pixel_format,
        crf=settings.crf,
        preset=settings.preset,
        sample_aspect_ratio=size.aspect,
        display_matrix=info.display_matrix,
        mastering=info.mastering,
        metadata=info.metadata,
        plays=info.plays,
    )


def expected_frames(reader: VideoReader | FolderReader, settings: UpscaleSettings) -> int | None:
    """Output frames according to the source's headers; None where they do not say."""
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
    return (frames - 1) * (settings.rate or 1) + 1 if frames else None
