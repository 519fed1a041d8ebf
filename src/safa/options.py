"""Options of a job as frozen dataclasses, and how they are read from text.

``UpscaleSettings`` holds everything that a user can request: the result itself, what is read of the source
(``ReadOptions``), the weights (``WeightsSpec``) and where they run (``ComputeOptions``). Every rule is checked here,
once, and its violation is one sentence.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TypedDict, TypeVar

from safa.checkpoint import SHARPENED, with_detail
from safa.errors import SafaError
from safa.upscaler.resize import ScaleFactor, check_scale_or_size, parse_scale, parse_size
from safa.video.info import ReadOptions as ReadOptions
from safa.video.schedule import Timeline

Value = TypeVar("Value")

AUTO = "auto"
"""Name of weights that are chosen for each source."""

DETAIL = 0.3
"""Default detail of weights that are chosen for a source. More raises dots in grass that a mild codec has touched
(docs/log.md)."""

# Nominal frame rates whose decimals mean n * 1000 / 1001 frames per second (NTSC and its relatives).
NTSC = (12, 15, 24, 30, 48, 60, 72, 90, 96, 120, 144, 240)

LATEST = 10**9
"""Largest time in seconds: more than thirty years."""

MAX_RATE = 64
"""Most output frames per source frame that can be given as text."""


@dataclass(frozen=True)
class ComputeOptions:
    """Device, engine and resources of a network.

    Attributes:
        device: "cpu", "cuda", "cuda:1", "xpu", "mps" or "auto" (the best available); "webgpu", "dml", "openvino",
            "coreml" or "migraphx" by ONNX Runtime.
        engine: "native", "torch", "onnx" or "auto".
        precision: "float32", "bfloat16", "float16" or "auto".
        threads: processor threads of the native engine; all cores if None.
        memory: bytes that the whole process may use; a share of the free memory if None.
    """

    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class WeightsSpec:
    """A network's weights, and how strongly their detail is applied.

    Attributes:
        name: a shipped name, a file, or "auto" to choose for each source.
        detail: from 0 (true to the source) to 1 (sharpest), for the weights fast and real. None means 0.3 for weights
            that "auto" chooses, and for other weights as they are.

    Raises:
        SafaError: the detail is out of range or does not apply to these weights.
    """

    name: str = AUTO
    detail: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", str(self.name))
        for name in SHARPENED if self.is_automatic else (self.name,):
            self.load_name(name)

    @property
    def is_automatic(self) -> bool:
        """Return whether the weights are chosen for each source."""
        return self.name == AUTO

    def load_name(self, name: str) -> str:
        """Return the name with which weights called ``name`` are loaded, such as "fast@0.3"."""
        detail = DETAIL if self.detail is None and self.is_automatic else self.detail
        return name if detail is None else with_detail(name, detail)


@dataclass(frozen=True)
class UpscaleSettings:
    """Everything that can be requested of a job.

    Attributes:
        rate: output frames per source frame; 2 if neither this nor ``fps`` is given.
        fps: instead of ``rate``: output frames per second at exact times, any rational number above 0.
        slow: factor by which everything takes longer (2 is half speed); sound is stretched with its pitch kept.
        scale: enlargement of width and height, any number from 1 to 4; see ``size``.
        size: instead of ``scale``: "720p", "1080p", "1440p" or "4k" (the picture is fitted into that box, turned if it
            is higher than wide), or stored pixels as "1920x1080", "1920x-1" or "-1x1080". With neither the result is
            four times as wide and high, or fitted into 4K where that would be more pixels.
        codec, crf, preset: of the encoder, see ``safa.video.encoder``; None means the container's usual codec and
            its usual quality.
        audio: keep the sound.
        cuts: do not interpolate across scene cuts and flashes.
        dedup: leave out repeated frames and spread the motion over their time.
        reading: which part of the source is read, and how.
        weights: the network's weights.
        compute: where and how the network runs.

    Raises:
        SafaError: values out of range, or that exclude each other.
    """

    rate: int | None = None
    fps: Fraction | None = None
    slow: Fraction = Fraction(1)
    scale: ScaleFactor | None = None
    size: str | None = None
    codec: str | None = None
    crf: float | None = None
    preset: str = "medium"
    audio: bool = True
    cuts: bool = True
    dedup: bool = False
    reading: ReadOptions = field(default_factory=ReadOptions)
    weights: WeightsSpec = field(default_factory=WeightsSpec)
    compute: ComputeOptions = field(default_factory=ComputeOptions)

    def __post_init__(self) -> None:
        if self.rate is not None and self.fps is not None:
            raise SafaError(f"Both a rate ({self.rate}) and fps ({self.fps}) are given; choose one of them.")
        if self.rate is None and self.fps is None:
            object.__setattr__(self, "rate", 2)
        elif self.rate is not None and (not isinstance(self.rate, int) or self.rate < 1):
            raise SafaError(f"The rate is {self.rate!r}; it must be a whole number of at least 1.")
        # Equal settings are stored in one form, so that they can be compared.
        for name in ("fps", "slow"):
            object.__setattr__(self, name, _positive(name, getattr(self, name)))
        object.__setattr__(self, "reading", _checked_reading(self.reading))
        check_scale_or_size(self.scale, self.size)
        if self.scale is not None:
            object.__setattr__(self, "scale", parse_scale(self.scale))
        if self.size is not None:
            object.__setattr__(self, "size", parse_size(self.size))

    def changed(self, **changes: Any) -> UpscaleSettings:
        """Return a copy with some settings changed.

        Args:
            changes: fields of these settings, or of ``reading`` and ``compute``; ``weights`` is a name, a file or a
                ``WeightsSpec``, and ``detail`` is theirs. A rate replaces fps, a scale replaces a size, and vice versa.

        Raises:
            SafaError: values out of range, or that exclude each other.
        """
        for one, other in (("rate", "fps"), ("scale", "size")):
            if one in changes or other in changes:
                changes = {one: None, other: None, **changes}
        nested: dict[str, Any] = {}
        for name, options in (("reading", self.reading), ("compute", self.compute)):
            own = {item.name for item in dataclasses.fields(options)} & changes.keys()
            if own:
                nested[name] = dataclasses.replace(options, **{key: changes.pop(key) for key in own})
        weights = changes.pop("weights", self.weights)
        detail = changes.pop("detail", None if weights is not self.weights else self.weights.detail)
        if not isinstance(weights, WeightsSpec):
            weights = WeightsSpec(str(weights), detail)
        elif detail is not None:
            weights = dataclasses.replace(weights, detail=detail)
        return dataclasses.replace(self, **{"weights": weights, **nested, **changes})

    def timeline(self) -> Timeline:
        """Return a new timeline for one pass over the source."""
        return Timeline(self.rate, self.fps, self.slow)

    def output_rate(self, source_rate: Fraction) -> Fraction:
        """Return the output frames per second for a source with ``source_rate`` frames per second."""
        return self.fps if self.rate is None and self.fps is not None else source_rate * (self.rate or 1) / self.slow

    def output_frames(self, source_frames: int | None, duration: Fraction | None) -> int | None:
        """Return the number of output frames for a source; None if it cannot be known.

        Args:
            source_frames: frames of the source, None or 0 if unknown.
            duration: of the source in seconds, None if unknown.
        """
        if self.fps is not None:
            return round(duration * self.slow * self.fps) if duration else None
        return (source_frames - 1) * (self.rate or 1) + 1 if source_frames else None


class SettingsKeywords(TypedDict, total=False):
    """Settings that ``safa.upscale`` takes as keywords; see ``UpscaleSettings``."""

    rate: int
    fps: Fraction | float | str
    scale: ScaleFactor
    size: str
    weights: str | Path
    detail: float
    device: str
    engine: str
    precision: str
    memory: int


@dataclass(frozen=True)
class RunOptions:
    """Treatment of files that exist already.

    Attributes:
        overwrite: replace an existing output.
        restart: delete the kept work of an interrupted run.
        is_batch: the job is one of several: skip files that were finished by the same request, make folders for the
            outputs, and report what is wrong with a file instead of raising it.
    """

    overwrite: bool = False
    restart: bool = False
    is_batch: bool = False


def parse_optional(parse: Callable[[str], Value], text: str | None) -> Value | None:
    """Return ``parse(text)``, or None if there is no text."""
    return None if text is None else parse(text)


def parse_rates(rate: str | None, fps: str | None) -> tuple[int | None, Fraction | None]:
    """Return rate and fps of ``UpscaleSettings`` from the options --rate and --fps, of which at most one is given."""
    if rate is not None and fps is not None:
        raise SafaError("Both --rate and --fps are given; choose one of them.")
    return parse_optional(parse_rate, rate), parse_optional(parse_fps, fps)


def check_source_fps(source_fps: str | None, sources: Sequence[Path]) -> None:
    """Raise SafaError if --source-fps is given and no source is a folder."""
    if source_fps is not None and all(source.is_file() or str(source) == "-" for source in sources):
        raise SafaError("--source-fps is for folders of pictures; a video has its own frame times. Leave it out.")


def parse_rate(text: str) -> int:
    """Return output frames per source frame, a whole number from 1 to 64. Raises SafaError."""
    if not re.fullmatch(r"\d{1,3}", text.strip()) or not 1 <= int(text) <= MAX_RATE:
        raise SafaError(f"rate must be a whole number from 1 to {MAX_RATE}, not {text!r}; for other rates give --fps.")
    return int(text)


def parse_fps(text: str) -> Fraction:
    """Return frames per second, above 0 and at most 1000, from text such as "60", "60000/1001" or "12.5".

    "23.976", "29.97", "59.94" and the like mean the exact NTSC rates. Raises SafaError.
    """
    value = _number(text)
    if value is None or not 0 < value <= 1000:
        raise SafaError(f"frames per second must be a number such as 60, 23.976 or 60000/1001, not {text!r}.")
    _, _, decimals = text.strip().partition(".")
    if len(decimals) >= 2:
        for nominal in NTSC:
            exact = Fraction(nominal * 1000, 1001)
            # 23.976 and 23.98 are rounded, 23.97 is cut off; all three are in use.
            if abs(exact - value) < Fraction(1, 10 ** len(decimals)) and value < nominal:
                return exact
    return value


def parse_factor(text: str) -> Fraction:
    """Return a slow-motion factor from 1/100 to 100 from text such as "2", "2.5" or "5/2". Raises SafaError."""
    value = _number(text)
    if value is None or not Fraction(1, 100) <= value <= 100:
        raise SafaError(f"the slow-motion factor must be a number from 0.01 to 100, such as 2 or 5/2, not {text!r}.")
    return value


def parse_time(text: str) -> Fraction:
    """Return a time in seconds from "62.5", "1:02.5" or "1:00:02.5". Raises SafaError."""
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d{1,2}):)?(\d+(?:\.\d*)?|\.\d+)", text.strip())
    hours, minutes, seconds = match.groups() if match else (None, None, "")
    if not match or (minutes and (Fraction(seconds) >= 60 or (hours and int(minutes) >= 60))):
        raise SafaError(f"a time must look like 62.5 or 1:02.5 or 1:00:02.5, not {text!r}.")
    time = int(hours or 0) * 3600 + int(minutes or 0) * 60 + Fraction(seconds)
    if time > LATEST:
        raise SafaError(f"a time of {text} is after the end of any video; give an earlier one.")
    return time


def parse_memory(text: str) -> int:
    """Return bytes, at least 1 MiB, from "2G", "1500M", "0.5G", "800MB", "1GiB" or plain bytes.

    Units are powers of 1024. Raises SafaError.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*(?:([kmgt])(?:i?b)?|b)?", text.strip().lower())
    amount = int(Fraction(match[1]) * 1024 ** ("kmgt".index(match[2]) + 1 if match[2] else 0)) if match else 0
    if amount < 1 << 20:
        raise SafaError(f"memory must be an amount of at least 1M, such as 2G or 1500M, not {text!r}.")
    return amount


def _number(text: str) -> Fraction | None:
    """Return a plain decimal or a ratio of two whole numbers; None for anything else."""
    text = text.strip()
    if re.fullmatch(r"\d+/\d*[1-9]\d*|\d+(\.\d*)?|\.\d+", text):
        return Fraction(text)
    return None


def _exact(name: str, value: Fraction | float | str | None) -> Fraction | None:
    """Return the number as a fraction: 29.97 as 2997/100, not as the nearest binary number."""
    if value is None:
        return None
    try:
        return Fraction(value) if isinstance(value, Fraction | int) else Fraction(str(value))
    except (ValueError, TypeError, ZeroDivisionError):
        raise SafaError(f"{name} is {value!r}; it must be a number.") from None


def _positive(name: str, value: Fraction | float | str | None) -> Fraction | None:
    exact = _exact(name, value)
    if exact is not None and not exact > 0:
        raise SafaError(f"{name} is {exact}; it must be above 0.")
    return exact


def _checked_reading(reading: ReadOptions) -> ReadOptions:
    start, end = _exact("start", reading.start), _exact("end", reading.end)
    if start is not None and end is not None and end <= start:
        raise SafaError("The end lies before the start; give an end after it.")
    source_fps = _positive("source_fps", reading.source_fps)
    return dataclasses.replace(reading, source_fps=source_fps, start=start, end=end)
