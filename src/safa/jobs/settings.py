"""What a job's result should be."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from safa.errors import SafaError
from safa.video.schedule.timeline import Timeline


@dataclass(frozen=True)
class UpscaleSettings:
    """What the result should be.

    Attributes:
        rate: output frames per source interval; ignored when ``fps`` is given.
        fps: output frames per second at exact times, any rational number.
        slow: how much longer everything takes (2 = half speed); sound is stretched with its pitch kept.
        codec, crf, preset: see ``safa.video.write.encoder``; None means the container's usual codec and its usual
            quality.
        source_fps: frames per second of a folder of pictures.
        start, end: part of the source in seconds, ``start <= time < end``.
        audio: keep the sound.
        deinterlace: make whole frames of interlaced ones.
        cuts: do not interpolate across scene cuts and flashes.
        dedup: leave out frames that repeat the one before and spread the motion over their time.
    """

    rate: int = 2
    fps: Fraction | None = None
    slow: Fraction = Fraction(1)
    codec: str | None = None
    crf: float | None = None
    preset: str = "medium"
    source_fps: Fraction | None = None
    start: Fraction | None = None
    end: Fraction | None = None
    audio: bool = True
    deinterlace: bool = True
    cuts: bool = True
    dedup: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.rate, int) or self.rate < 1:
            raise SafaError(f"The rate is {self.rate!r}; it must be a whole number of at least 1.")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SafaError("The end lies before the start; give an end after it.")

    def timeline(self) -> Timeline:
        """A fresh timeline for one pass over the source."""
        return Timeline(None if self.fps is not None else self.rate, self.fps, self.slow)
