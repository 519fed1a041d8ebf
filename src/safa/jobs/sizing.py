"""The size of a job's result."""

from __future__ import annotations

import av

from safa.jobs.settings import UpscaleSettings
from safa.network.config import SCALE
from safa.upscaler.size import OutputSize, Shape, checked_scale, output_size
from safa.video.read.info import VideoInfo


def resolve_size(info: VideoInfo, settings: UpscaleSettings, pixel_format: str) -> OutputSize:
    """What the settings come to, with even sides where pixels share their colour.

    Raises:
        SafaError: out of reach for this source.
    """
    scale = None if settings.scale is None else checked_scale(settings.scale)
    return output_size(_shape(info), scale, settings.size, side_multiples(pixel_format))


def side_multiples(pixel_format: str) -> tuple[int, int]:
    """What width and height must be multiples of: 2 where two pixels share their colour."""
    pixels = av.VideoFormat(pixel_format)
    return 2 // pixels.chroma_width(2), 2 // pixels.chroma_height(2)


def size_warnings(info: VideoInfo, size: OutputSize) -> list[str]:
    """A warning where no size was asked for and it is less than four times the source's."""
    if not size.reduced:
        return []
    shape = _shape(info)
    made, full = shape.named(size.width, size.height), shape.named(SCALE * info.width, SCALE * info.height)
    return [f"the result will be {made}, as {full} would be more than 4K; give --scale {SCALE} for that."]


def _shape(info: VideoInfo) -> Shape:
    return Shape(info.width, info.height, info.sample_aspect_ratio, abs(info.rotation) == 90)
