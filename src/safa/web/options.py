"""Sizes and lengths of time as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any

from safa.checkpoint import SHARPENED, shipped_names
from safa.errors import SafaError
from safa.jobs.plan import side_multiples
from safa.network.config import SCALE
from safa.options import AUTO, UpscaleSettings
from safa.upscaler.resize import Shape, output_size
from safa.video.animation import FASTEST_GIF
from safa.video.codecs import CODECS


def size_text(count: float) -> str:
    """Return a number of bytes as text: 312 KB, 4.1 MB."""
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.0f} GB" if count >= 100 else f"{count:.3g} GB"


def time_text(seconds: float) -> str:
    """Return a length of time as text, rounded as an estimate."""
    if seconds < 55:
        return f"{max(1, round(seconds))} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{round(hours / 24)} days"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


# Options of a job on the page, and what they mean to the library.


@dataclass(frozen=True)
class FileFormat:
    """A kind of file that the page offers."""

    label: str
    suffix: str
    codec: str | None
    media_type: str


FORMATS = {
    "mp4": FileFormat("MP4 (H.264): plays everywhere", ".mp4", "h264", "video/mp4"),
    "small": FileFormat("MP4 (H.265): smaller, for newer players", ".mp4", "h265", "video/mp4"),
    "webm": FileFormat("WebM (VP9): for web pages", ".webm", "vp9", "video/webm"),
    "mov": FileFormat("MOV (ProRes): for editing", ".mov", "prores", "video/quicktime"),
    "gif": FileFormat("GIF animation: short clips only", ".gif", None, "image/gif"),
}
SMOOTHNESS = {
    "1": "As it is",
    "2": "2x smoother",
    "4": "4x smoother",
    "8": "8x smoother",
    "30fps": "30 fps",
    "60fps": "60 fps",
}
SPEED = {"1": "Normal speed", "2": "Half speed", "4": "Quarter speed", "8": "One eighth"}
QUALITY = {"high": "High", "smaller": "Smaller file"}
DETAIL = {AUTO: "As suits the footage", "0": "True to the footage", "0.5": "A little sharper", "1": "Sharpest"}
COUNTS = {"1": "1 picture", "3": "3 pictures", "7": "7 pictures", "15": "15 pictures", "31": "31 pictures"}
WEIGHTS = {
    AUTO: "auto: what suits the footage",
    "fast": "fast: clean footage",
    "real": "real: damaged by compression",
}
"""Labels of the shipped weights; sharper ones are chosen by ``detail``."""

# How much larger the number of x264's, x265's and VP9's quality scale is for the smaller file.
SMALLER = 6


@dataclass(frozen=True)
class Options:
    """Options of one job, each a key of the table of its name."""

    weights: str
    smoothness: str = "2"
    speed: str = "1"
    format: str = "mp4"
    quality: str = "high"
    sound: bool = True
    cuts: bool = True
    dedup: bool = False
    count: str = "7"
    detail: str = AUTO

    @classmethod
    def parse(cls, values: Mapping[str, Any], weights: Mapping[str, str]) -> Options:
        """Read options from a request; those that are missing have their defaults, the first of ``weights`` too.

        Raises:
            SafaError: an unknown option, or a value that is not offered.
        """
        offered = offered_options(weights)
        names = [item.name for item in fields(cls)]
        unknown = sorted(set(values) - set(names))
        if unknown:
            raise SafaError(f"{unknown[0][:40]!r} is not an option; there are {', '.join(names)}.")
        for name, value in values.items():
            if name in offered and (not isinstance(value, str) or value not in offered[name]):
                raise SafaError(f"{str(value)[:40]!r} is not a choice of {name}; choose of {', '.join(offered[name])}.")
            if name not in offered and not isinstance(value, bool):
                raise SafaError(f"{name} must be true or false, not {str(value)[:40]!r}.")
        return cls(**{"weights": next(iter(weights)), **values})

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON-ready values."""
        return asdict(self)

    def upscale_settings(self) -> UpscaleSettings:
        """Return the settings of a video."""
        codec = FORMATS[self.format].codec
        crf = CODECS[codec].crf if codec is not None else None
        return UpscaleSettings(
            rate=int(self.smoothness) if self.smoothness.isdigit() else None,
            fps=None if self.smoothness.isdigit() else Fraction(self.smoothness.removesuffix("fps")),
            slow=Fraction(self.speed),
            codec=codec,
            crf=crf + SMALLER if crf is not None and self.quality == "smaller" else None,
            audio=self.sound,
            cuts=self.cuts,
            dedup=self.dedup,
        )

    def weights_and_detail(self, weights: str) -> tuple[str, float | None]:
        """Return ``weights`` and the detail to load them with, as ``WeightsSpec`` takes them."""
        can_be_sharper = weights == AUTO or weights in SHARPENED
        return weights, float(self.detail) if can_be_sharper and self.detail != AUTO else None


def offered_options(weights: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return value -> label of every option that is a choice of several; ``weights`` maps names to names or files."""
    return {
        "smoothness": SMOOTHNESS,
        "speed": SPEED,
        "format": {name: entry.label for name, entry in FORMATS.items()},
        "quality": QUALITY,
        "count": COUNTS,
        "weights": {name: WEIGHTS.get(name, name) for name in weights},
        "detail": DETAIL,
    }


def offered_weights() -> list[str]:
    """Return the weights offered where the server's owner did not choose any."""
    return [name for name in WEIGHTS if name == AUTO or name in shipped_names()]


@dataclass(frozen=True)
class ResultPlan:
    """Results of an upload with some options: the size as it is seen, and the number of frames or pictures.

    Args:
        kind: video or pictures.
        facts: properties of the upload, see ``safa.web.uploads.describe_upload``.
    """

    kind: str
    facts: Mapping[str, Any]
    options: Options

    def check(self) -> None:
        """Raise ``SafaError`` where the upload cannot be made into this."""
        if self.kind == "video" and self.options.format == "gif" and self.rate > FASTEST_GIF:
            raise SafaError(
                f"A GIF shows at most {FASTEST_GIF} frames a second, and this would be {float(self.rate):.3g}. Choose "
                "less smoothness or another file."
            )

    @property
    def rate(self) -> Fraction:
        """Frames per second of a video's result."""
        return self.options.upscale_settings().output_rate(Fraction(self.facts["rate"]))

    @property
    def frames(self) -> int:
        """Number of frames or pictures."""
        if self.kind == "pictures":
            return int(self.options.count) + 2 if self.facts["count"] == 2 else 1
        settings = self.options.upscale_settings()
        if settings.fps is not None:
            return max(1, round(Fraction(self.facts["seconds"]) * settings.slow * settings.fps))
        return (int(self.facts["frames"]) - 1) * (settings.rate or 1) + 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they are seen."""
        width, height = int(self.facts["width"]), int(self.facts["height"])
        if self.kind == "pictures":
            return SCALE * width, SCALE * height
        is_turned = abs(self.facts.get("rotation", 0)) == 90
        stored = Shape(*((height, width) if is_turned else (width, height)), Fraction(self.facts.get("aspect", 1)))
        codec = CODECS[FORMATS[self.options.format].codec or "rgb"]
        output = output_size(stored, multiples=side_multiples(codec.formats[0]))
        return (output.height, output.width) if is_turned else (output.width, output.height)

    @property
    def megapixels(self) -> float:
        """Megapixels of all frames as the network makes them, four times as large; the time is in proportion to it."""
        return self.frames * self.facts["width"] * self.facts["height"] * SCALE**2 / 1e6
