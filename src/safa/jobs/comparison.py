"""Labelled results side by side, as a picture and as a clip."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from safa.engine.images import Array
from safa.errors import OutputError
from safa.files import atomic_write
from safa.video.colour import FromRgb, Mastering
from safa.video.encoder import OutputSpec, add_encoder
from safa.video.files import for_ffmpeg
from safa.video.info import VideoInfo
from safa.video.pictures import save_picture
from safa.video.schedule import OutputTime
from safa.video.segments import ticks_of

GAP, LINE_HEIGHT = 8, 20
"""Pixels between the panels, and of a line of text."""

MIN_WIDTH = 320
"""Least width of a panel in pixels, so that its text fits."""


@dataclass
class Panels:
    """Pictures of the same output frames, made in different ways.

    Args:
        info: of the source.
        spec: of the result.
    """

    info: VideoInfo
    spec: OutputSpec
    labels: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[list[Array]] = field(default_factory=list)

    def add(self, name: str, note: str, pictures: list[Array]) -> None:
        """Add a column.

        Args:
            name, note: the two lines of its label.
            pictures: one for each output frame, ``H,W,3`` uint8, of one size in all columns.
        """
        self.labels.append((name, note))
        self.pictures.append(pictures)

    def row(self, index: int) -> Array:
        """Return output frame ``index`` of all columns side by side, rotated and scaled as players show them."""
        return _side_by_side([self._displayed(pictures[index]) for pictures in self.pictures])

    def label_row(self) -> Array:
        """Return the labels as a row of the same width."""
        width = self._displayed(self.pictures[0][0]).shape[1]
        return _side_by_side([_text(lines, width) for lines in self.labels])

    def _displayed(self, picture: Array) -> Array:
        height, width = picture.shape[:2]
        wide = max(1, round(width * self.spec.sample_aspect_ratio))
        if wide != width:
            picture = cv2.resize(picture, (wide, height), interpolation=cv2.INTER_CUBIC)
        picture = np.rot90(picture, self.info.rotation // 90)
        padding = max(0, MIN_WIDTH - picture.shape[1])
        return np.pad(picture, ((0, 0), (padding // 2, padding - padding // 2), (0, 0)), constant_values=255)


def write_sheet(panels: Panels, moments: list[OutputTime], path: Path) -> None:
    """Save a picture with a row at the time of a source frame and, if there is one, a row between two of them.

    Args:
        moments: times of the output frames.
    """
    middle = len(moments) // 2
    order = sorted(range(len(moments)), key=lambda index: abs(index - middle))
    at_source = next((index for index in order if moments[index].t == 0), middle)
    between = [index for index in order if abs(moments[index].t - Fraction(1, 2)) < Fraction(1, 3)]
    rows = [panels.row(index) for index in (at_source, *between[:1])]
    save_picture(np.vstack([*rows, panels.label_row()]), path)


def write_clip(panels: Panels, moments: list[OutputTime], path: Path) -> None:
    """Save all output frames as an MP4 that plays everywhere.

    Args:
        moments: times of the output frames.

    Raises:
        OutputError: the file cannot be written.
    """
    labels = panels.label_row()
    height, width = (side - side % 2 for side in np.vstack([panels.row(0), labels]).shape[:2])
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
            av.open(
                for_ffmpeg(temporary), "w", format="mp4", container_options={"movflags": "+faststart"}
            ) as container,
        ):
            stream = add_encoder(container, spec)
            stream.time_base = spec.time_base
            last: int | None = None
            for index, moment in enumerate(moments):
                frame = convert(np.ascontiguousarray(np.vstack([panels.row(index), labels])[:height, :width]))
                last = ticks_of(moment.time - moments[0].time, spec.time_base, last)
                frame.pts, frame.time_base = last, spec.time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, OSError) as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error


def _side_by_side(pictures: list[Array]) -> Array:
    gap = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    row = [pictures[0]]
    for picture in pictures[1:]:
        row += [gap, picture]
    return np.hstack(row)


def _text(lines: tuple[str, str], width: int) -> Array:
    """Draw lines of text, black on white, reduced in size if they would not fit."""
    picture = np.full((LINE_HEIGHT * len(lines) + 8, width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        size = 0.55 if number == 0 else 0.45
        wide = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0]
        size *= min(1.0, (width - 8) / max(1, wide))
        corner = 4, LINE_HEIGHT * (number + 1) - 3
        cv2.putText(picture, line, corner, cv2.FONT_HERSHEY_SIMPLEX, size, (20, 20, 20), 1, cv2.LINE_AA)
    return picture
