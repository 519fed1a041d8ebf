"""What a job's result should be."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from safa.errors import SafaError
from safa.upscaler.size import ScaleFactor, check_one, checked_scale, checked_size
from safa.video.read.options import ReadOptions
from safa.video.schedule.timeline import Timeline


@dataclass(frozen=True)
class UpscaleSettings:
    """What the result should be.

    Attributes:
        scale: how much wider and higher than the source, from 1 to 4, as any number; see ``size``.
        size: instead of ``scale``: "720p", "1080p", "1440p" or "4k" (the picture is fitted into that box, turned if it
            is higher than wide), or stored pixels as "1920x1080", "1920x-1" or "-1x1080". With neither the result is
            four times as wide and high, or, where that would be more pixels than 4K has, fitted into 4K.
        rate: output frames per source interval; 2 with neither this nor ``fps``.
        fps: instead of ``rate``: output frames per second at exact times, any rational number.
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

    rate: int | None = None
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
    scale: ScaleFactor | None = None
    size: str | None = None

    def __post_init__(self) -> None:
        if self.rate is not None and self.fps is not None:
            raise SafaError(f"Both a rate ({self.rate}) and fps ({self.fps}) are given; choose one of them.")
        if self.rate is None and self.fps is None:
            object.__setattr__(self, "rate", 2)
        elif self.rate is not None and (not isinstance(self.rate, int) or self.rate < 1):
            raise SafaError(f"The rate is {self.rate!r}; it must be a whole number of at least 1.")
        for name in ("fps", "slow", "source_fps", "start", "end"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _exact(name, value))
        for name in ("fps", "slow", "source_fps"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise SafaError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise SafaError("The end lies before the start; give an end after it.")
        check_one(self.scale, self.size)
        # Equal sizes are stored in one form, so that settings can be compared.
        if self.scale is not None:
            object.__setattr__(self, "scale", checked_scale(self.scale))
        if self.size is not None:
            object.__setattr__(self, "size", checked_size(self.size))

    @property
    def reading(self) -> ReadOptions:
        """Those that say what of the source is read, and how."""
        return ReadOptions(self.source_fps, self.start, self.end, self.deinterlace)

    def timeline(self) -> Timeline:
        """A fresh timeline for one pass over the source."""
        return Timeline(self.rate, self.fps, self.slow)

    def output_rate(self, source_rate: Fraction) -> Fraction:
        """Output frames per second for a source with so many."""
        return self.fps if self.rate is None and self.fps is not None else source_rate * (self.rate or 1) / self.slow


def _exact(name: str, value: Fraction | float | str) -> Fraction:
    """The number as a fraction: 29.97 as 2997/100, not as the nearest binary one."""
    try:
        return Fraction(value) if isinstance(value, Fraction | int) else Fraction(str(value))
    except (ValueError, TypeError, ZeroDivisionError):
        raise SafaError(f"{name} is {value!r}; it must be a number.") from None
