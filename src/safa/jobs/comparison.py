"""Results side by side with their names: as a picture, and as a clip."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from safa.errors import OutputError
from safa.upscaler.upscaler import Array
from safa.video.colour import FromRgb
from safa.video.files import atomic_write
from safa.video.hdr import Mastering
from safa.video.names import for_ffmpeg
from safa.video.read.info import VideoInfo
from safa.video.read.pictures import save_picture
from safa.video.schedule.timeline import OutputTime
from safa.video.write.encoder import OutputSpec, add_encoder
from safa.video.write.segments import ticks_of

GAP, LINE = 8, 20
"""Pixels between the panels, and for a line of text."""

LEAST_WIDTH = 320
"""Of a panel, so that its text fits."""


@dataclass
class Panels:
    """Pictures of the same moments, made in different ways, all of ``size`` (height, width) as stored."""

    info: VideoInfo
    spec: OutputSpec
    size: tuple[int, int]
    names: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[list[Array]] = field(default_factory=list)

    def add(self, name: str, told: str, pictures: list[Array]) -> None:
        """One more, ``H,W,3`` uint8, with two lines of text below it."""
        self.names.append((name, told))
        self.pictures.append(pictures)

    def row(self, number: int) -> Array:
        """Moment ``number`` of all of them from left to right, turned and as wide as players show them."""
        return _beside([self._shown(pictures[number]) for pictures in self.pictures])

    def words(self) -> Array:
        """The two lines of text of each, as a row of the same width."""
        width = self._shown(self.pictures[0][0]).shape[1]
        return _beside([_text(lines, width) for lines in self.names])

    def _shown(self, picture: Array) -> Array:
        height, width = picture.shape[:2]
        wide = max(1, round(width * self.spec.sample_aspect_ratio))
        if wide != width:
            picture = cv2.resize(picture, (wide, height), interpolation=cv2.INTER_CUBIC)
        picture = np.rot90(picture, self.info.rotation // 90)
        beside = max(0, LEAST_WIDTH - picture.shape[1])
        return np.pad(picture, ((0, 0), (beside // 2, beside - beside // 2), (0, 0)), constant_values=255)


def write_sheet(panels: Panels, moments: list[OutputTime], path: Path) -> None:
    """A picture of a source frame's moment, and below it of one between two frames where there are any."""
    middle = len(moments) // 2
    order = sorted(range(len(moments)), key=lambda number: abs(number - middle))
    on = next((number for number in order if moments[number].t == 0), middle)
    between = [number for number in order if abs(moments[number].t - Fraction(1, 2)) < Fraction(1, 3)]
    rows = [panels.row(number) for number in (on, *between[:1])]
    save_picture(np.vstack([*rows, panels.words()]), path)


def write_clip(panels: Panels, moments: list[OutputTime], path: Path) -> None:
    """All moments as an MP4 that plays everywhere. Raises OutputError."""
    words = panels.words()
    height, width = (side - side % 2 for side in np.vstack([panels.row(0), words]).shape[:2])
    spec = replace(
        panels.spec,
        path=path,
        width=width,
        height=height,
        codec="h264",
        pixel_format="yuv420p",
        crf=None,
        preset="veryfast",
        sample_aspect_ratio=Fraction(1),
        display_matrix=None,
        mastering=Mastering(),
        economy=0,
    )
    convert = FromRgb(spec.colour, spec.pixel_format)
    try:
        with (
            atomic_write(path) as temporary,
            av.open(for_ffmpeg(temporary), "w", format="mp4", container_options={"movflags": "+faststart"}) as film,
        ):
            stream = add_encoder(film, spec)
            stream.time_base = spec.time_base
            last: int | None = None
            for number, moment in enumerate(moments):
                frame = convert(np.ascontiguousarray(np.vstack([panels.row(number), words])[:height, :width]))
                last = ticks_of(moment.time - moments[0].time, spec.time_base, last)
                frame.pts, frame.time_base = last, spec.time_base
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError) as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def _beside(parts: list[Array]) -> Array:
    gap = np.full((parts[0].shape[0], GAP, 3), 255, np.uint8)
    row = [parts[0]]
    for part in parts[1:]:
        row += [gap, part]
    return np.hstack(row)


def _text(lines: tuple[str, str], width: int) -> Array:
    """Black on white; smaller where it would not fit."""
    picture = np.full((LINE * len(lines) + 8, width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        size = 0.55 if number == 0 else 0.45
        wide = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
        size *= min(1.0, (width - 8) / max(1, wide))
        place = 4, LINE * (number + 1) - 3
        cv2.putText(picture, line, place, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA)
    return picture
