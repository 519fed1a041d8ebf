"""What can be chosen on the page, and what it means to the library."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from safa.checkpoint import SHARPENED, shipped_names
from safa.errors import SafaError
from safa.jobs.settings import UpscaleSettings
from safa.jobs.sizing import side_multiples
from safa.jobs.weights import AUTO
from safa.network.config import SCALE
from safa.upscaler.size import Shape, output_size
from safa.video.write.animation import FASTEST_GIF
from safa.video.write.codecs import CODECS

# Value -> (label, suffix of the result, codec, media type).
FORMATS = {
    "mp4": ("MP4 (H.264): plays everywhere", ".mp4", "h264", "video/mp4"),
    "small": ("MP4 (H.265): smaller, for newer players", ".mp4", "h265", "video/mp4"),
    "webm": ("WebM (VP9): for web pages", ".webm", "vp9", "video/webm"),
    "mov": ("MOV (ProRes): for editing", ".mov", "prores", "video/quicktime"),
    "gif": ("GIF animation: short clips only", ".gif", None, "image/gif"),
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
DEFAULTS: dict[str, Any] = {
    "smoothness": "2",
    "speed": "1",
    "format": "mp4",
    "quality": "high",
    "detail": AUTO,
    "sound": True,
    "cuts": True,
    "dedup": False,
    "count": "7",
}
# How much larger the number of x264's, x265's and VP9's quality scale is for the smaller file.
SMALLER = 6


WEIGHTS = {
    AUTO: "auto: what suits the footage",
    "fast": "fast: clean footage",
    "real": "real: damaged by compression",
}
"""What the shipped weights are for; sharper ones are chosen by detail."""


def offered_weights() -> list[str]:
    """The weights offered where the server's owner did not choose any."""
    return [name for name in WEIGHTS if name == AUTO or name in shipped_names()]


def named_weights(weights: str, choices: Mapping[str, Any]) -> tuple[str, float | None]:
    """The weights to load, or ``AUTO``, and how much detail, as ``safa.jobs.weights.Networks`` takes them."""
    detail, can_be_sharper = choices.get("detail", AUTO), weights == AUTO or weights in SHARPENED
    return weights, float(detail) if can_be_sharper and detail != AUTO else None


def checked(choices: Mapping[str, Any], weights: Mapping[str, str]) -> dict[str, Any]:
    """The choices, known to be among those offered. Raises SafaError for others, which do not come from the page."""
    lists: dict[str, Mapping[str, Any]] = {
        "smoothness": SMOOTHNESS,
        "speed": SPEED,
        "format": FORMATS,
        "quality": QUALITY,
        "detail": DETAIL,
        "count": COUNTS,
        "weights": weights,
    }
    for name, offered in lists.items():
        if choices.get(name) not in offered:
            raise SafaError(f"{choices.get(name)!r} is not a choice of {name}.")
    return {name: choices[name] for name in lists} | {name: bool(choices[name]) for name in ("sound", "cuts", "dedup")}


def possible(kind: str, facts: Mapping[str, Any], choices: dict[str, Any]) -> dict[str, Any]:
    """The choices, for material of which they can be made. Raises SafaError where they cannot."""
    if kind == "video" and choices["format"] == "gif":
        rate = upscale_settings(choices).output_rate(Fraction(facts["rate"]))
        if rate > FASTEST_GIF:
            raise SafaError(
                f"A GIF shows at most {FASTEST_GIF} frames a second, and this would be {float(rate):.3g}. Choose less "
                "smoothness or another file."
            )
    return choices


def upscale_settings(choices: Mapping[str, Any]) -> UpscaleSettings:
    """The choices as settings of a video."""
    smoothness, codec = choices["smoothness"], FORMATS[choices["format"]][2]
    usual = CODECS[codec].crf if codec is not None else None
    return UpscaleSettings(
        rate=int(smoothness) if smoothness.isdigit() else None,
        fps=None if smoothness.isdigit() else Fraction(smoothness.removesuffix("fps")),
        slow=Fraction(choices["speed"]),
        codec=codec,
        crf=usual + SMALLER if usual is not None and choices["quality"] == "smaller" else None,
        audio=choices["sound"],
        cuts=choices["cuts"],
        dedup=choices["dedup"],
    )


def output_frames(kind: str, facts: Mapping[str, Any], choices: Mapping[str, Any]) -> int:
    """How many frames or pictures will be made."""
    if kind == "pictures":
        return int(choices["count"]) + 2 if facts["count"] == 2 else 1
    settings = upscale_settings(choices)
    if settings.fps is not None:
        return max(1, round(Fraction(facts["seconds"]) * settings.slow * settings.fps))
    return (int(facts["frames"]) - 1) * (settings.rate or 1) + 1


def made_size(kind: str, facts: Mapping[str, Any], choices: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of the result as they are seen."""
    width, height = int(facts["width"]), int(facts["height"])
    if kind == "pictures":
        return SCALE * width, SCALE * height
    turned = abs(facts.get("rotation", 0)) == 90
    stored = (height, width) if turned else (width, height)
    codec = CODECS[FORMATS[choices["format"]][2] or "rgb"]
    made = output_size(Shape(*stored, Fraction(facts.get("aspect", 1))), multiples=side_multiples(codec.formats[0]))
    return (made.height, made.width) if turned else (made.width, made.height)


def output_megapixels(kind: str, facts: Mapping[str, Any], choices: Mapping[str, Any]) -> float:
    """Megapixels of all frames as the network makes them, four times as large; the time is in proportion to it."""
    return output_frames(kind, facts, choices) * facts["width"] * facts["height"] * SCALE**2 / 1e6
