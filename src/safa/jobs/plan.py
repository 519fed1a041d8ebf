"""The plan of a job: everything that is decided before anything is made, and the errors of impossible requests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from safa.errors import OutputError
from safa.network.config import SCALE
from safa.options import UpscaleSettings
from safa.upscaler.memory_budget import MemoryPlan, plan_memory
from safa.upscaler.resize import OutputSize, Shape, output_size, parse_scale
from safa.video.animation import FASTEST_GIF
from safa.video.codecs import Choice, check_quality, choose_codec, codec_entry, container_of
from safa.video.constant_rate import one_rate
from safa.video.encoder import OutputSpec, check_encoder, check_output
from safa.video.folder_source import content_digest
from safa.video.info import VideoInfo
from safa.video.journal import is_published
from safa.video.schedule import output_time_base
from safa.video.source import FrameSource
from safa.video.streams import StreamPlan, plan_streams

PIPE = Path("-")
"""Name of standard input as a source, and of standard output as an output."""

SEGMENT_FRAMES = 96
"""Output frames in a segment. A crash can cost this many frames; every segment begins with a keyframe."""


@dataclass(frozen=True)
class Job:
    """The work on one source, known to be possible.

    Args:
        alpha: transparency is kept.
        expected_frames: output frames according to the source's headers; None if they do not say.
        warnings: a sentence for everything that cannot be carried over.
        memory: how encoder and queues keep below the memory ceiling.
        overwrite: an existing file with the output's name may be replaced.
        segment_frames: output frames in a segment.
    """

    source: Path
    settings: UpscaleSettings
    spec: OutputSpec
    streams: StreamPlan
    alpha: bool
    expected_frames: int | None
    warnings: list[str]
    memory: MemoryPlan
    overwrite: bool = False
    segment_frames: int = SEGMENT_FRAMES

    def fingerprint(self, weights: str, engine: str) -> dict[str, Any]:
        """Return everything that must be equal for kept work to be used.

        Args:
            weights: SHA-256 of the weights.
            engine: ``engine_of`` the upscaler.
        """
        return {"input": content_digest(self.source), "weights": weights, "engine": engine, **_frames(self.settings)}


def request_of(source: Path, settings: UpscaleSettings, weights: str) -> dict[str, str]:
    """Return what a batch compares with the record of a finished output before it skips the file.

    Engine and number of threads are not part of it, because they hardly change a picture.

    Args:
        weights: SHA-256 of the weights.
    """
    request = {"input": content_digest(source), "weights": weights, **_frames(settings)}
    request |= {name: str(getattr(settings, name)) for name in ("codec", "crf", "preset", "audio")}
    # Only if given: records of earlier versions lack them, and the default is the same as then.
    return request | {name: str(value) for name in ("scale", "size") if (value := getattr(settings, name)) is not None}


def _frames(settings: UpscaleSettings) -> dict[str, str]:
    """Return the settings that decide what the frames show; the size is among the encoder's own settings."""
    reading = settings.reading
    values = {
        "rate": settings.rate,
        "fps": settings.fps,
        "slow": settings.slow,
        "source_fps": reading.source_fps,
        "start": reading.start,
        "end": reading.end,
        "deinterlace": reading.deinterlace,
        "cuts": settings.cuts,
        "dedup": settings.dedup,
    }
    return {name: str(value) for name, value in values.items()}


def check_request(source: Path, output: Path, settings: UpscaleSettings, overwrite: bool) -> None:
    """Raise ``OutputError`` for an output that is impossible, or that exists and must not be replaced."""
    check_output(output, source, settings.codec)
    if output != PIPE and output.exists() and not overwrite and not is_published(output):
        raise OutputError(f"{output} exists already; choose another name or add --overwrite.")


def prepare_job(
    reader: FrameSource,
    source: Path,
    output: Path,
    settings: UpscaleSettings,
    memory: int | None = None,
    overwrite: bool = False,
) -> Job:
    """Decide how the output is made from the source that ``reader`` has opened.

    Args:
        memory: bytes that the process may use; None for most of the machine's memory.
        overwrite: a file that has the output's name when the job is done may be replaced.

    Raises:
        SafaError: the request is impossible.
    """
    info, notes = reader.info, []
    rate = settings.rate
    if rate is not None and (found := one_rate(reader, output, rate)):
        settings = replace(settings, rate=None, fps=found / settings.slow)
        notes.append(
            f"the source's frame rate varies, and {output.suffix or 'y4m'} needs a constant one: frames are made "
            f"at {settings.fps} a second; choose another rate with --fps."
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
    spec = _output_spec(info, output, settings, choice, size)
    memory_plan = plan_memory(memory, spec, _pixel_bytes(info, choice), info.width * info.height)
    spec = replace(spec, economy=memory_plan.economy)
    check_encoder(spec)
    streams = plan_streams(info, spec, reader.origin, reader.is_cut, settings.audio, settings.slow)
    return Job(
        source=source,
        settings=settings,
        spec=spec,
        streams=streams,
        alpha=_has_alpha(choice),
        expected_frames=expected_frames(reader, settings),
        warnings=[*notes, *choice.warnings, *streams.warnings],
        memory=memory_plan,
        overwrite=overwrite,
        segment_frames=SEGMENT_FRAMES,
    )


def expected_frames(reader: FrameSource, settings: UpscaleSettings) -> int | None:
    """Return the number of output frames according to the source's headers; None if they do not say."""
    info, reading = reader.info, settings.reading
    duration = info.duration
    if reader.is_cut:
        stop = reading.end if duration is None or (reading.end and reading.end < duration) else duration
        duration = stop - (reading.start or 0) if stop is not None else None
    frames = info.frames if not reader.is_cut else None
    if not frames and duration:
        frames = round(duration * info.average_rate)
    return settings.output_frames(frames, duration)


def resolve_size(info: VideoInfo, settings: UpscaleSettings, pixel_format: str) -> OutputSize:
    """Return the size of the result, with even sides if the pixel format needs them.

    Raises:
        SafaError: the requested size is out of range for this source.
    """
    scale = None if settings.scale is None else parse_scale(settings.scale)
    return output_size(_shape(info), scale, settings.size, side_multiples(pixel_format))


def side_multiples(pixel_format: str) -> tuple[int, int]:
    """Return what width and height must be multiples of: 2 where two pixels share their colour, else 1."""
    pixels = av.VideoFormat(pixel_format)
    return 2 // pixels.chroma_width(2), 2 // pixels.chroma_height(2)


def size_warnings(info: VideoInfo, size: OutputSize) -> list[str]:
    """Return a warning if the default size of four times the source's had to be reduced."""
    if not size.reduced:
        return []
    shape = _shape(info)
    result, full = shape.named(size.width, size.height), shape.named(SCALE * info.width, SCALE * info.height)
    return [f"the result will be {result}, as {full} would be more than 4K; give --scale {SCALE} for that."]


def _shape(info: VideoInfo) -> Shape:
    return Shape(info.width, info.height, info.sample_aspect_ratio, abs(info.rotation) == 90)


def _has_alpha(choice: Choice) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(choice.pixel_format).components)


def _pixel_bytes(info: VideoInfo, choice: Choice) -> int:
    """Return the bytes per pixel of a frame on its way to the encoder."""
    return (4 if info.has_alpha and _has_alpha(choice) else 3) * (2 if info.bit_depth > 8 else 1)


def _output_spec(
    info: VideoInfo, output: Path, settings: UpscaleSettings, choice: Choice, size: OutputSize
) -> OutputSpec:
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
