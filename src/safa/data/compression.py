"""Damage by video codecs: real encoders at a chosen quality, with typical options."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from safa.data.codec import CodecName, decode_packets, encode_packets
from safa.data.scene import Image
from safa.video.write.codecs import LARGEST_UNIT

# Coarsest and finest quantiser of each codec (a CRF, of the MPEG ones a quantiser scale): visible to nearly invisible
# damage.
QUALITIES: dict[CodecName, tuple[int, int]] = {
    "h264": (36, 17),
    "hevc": (36, 22),
    "mpeg2": (10, 2),
    "mpeg4": (12, 2),
    "vp9": (52, 28),
}
# Typical options of encoders; chosen from evenly.
WAYS: dict[CodecName, dict[str, tuple[str, ...]]] = {
    "h264": {"preset": ("veryfast", "faster", "medium"), "bf": ("0", "2", "3"), "g": ("12", "60", "250")},
    "mpeg2": {"bf": ("0", "2"), "g": ("12", "15")},
    "mpeg4": {"bf": ("0", "2"), "g": ("12", "250")},
}
LONG = 5  # frames
# x265 overruns its memory on frames smaller than one of its coding tree units.
SMALLEST_CODED = LARGEST_UNIT


def pass_codec(
    frames: Sequence[Image], codec: CodecName, quality: float, rng: np.random.Generator | None = None
) -> list[Image]:
    """Encode and decode ``frames`` (4:2:0); ``quality`` from 0, visibly damaged, to 1, nearly clean.

    With ``rng`` windows of more than a few frames are encoded with typical options: presets of different
    care, with frames predicted from both sides or without, and keyframes often or never.
    """
    level = str(level_of(codec, quality))
    options: dict[CodecName, dict[str, str]] = {
        # One reference frame: the frames played to and fro would otherwise find a perfect match in the past.
        "h264": {"crf": level, "preset": "fast", "refs": "1", "bf": "0"},
        "hevc": {"crf": level, "preset": "superfast", "refs": "1", "bf": "0"},
        "mpeg2": {"qmin": level, "qmax": level},
        "mpeg4": {"qmin": level, "qmax": level},
        "vp9": {"crf": level, "b": "0", "deadline": "realtime", "cpu-used": "6"},
    }
    if rng is not None and len(frames) >= LONG:
        for name, values in WAYS.get(codec, {}).items():
            options[codec][name] = values[rng.integers(len(values))]
    return through_codec(frames, codec, options[codec])


def level_of(codec: CodecName, quality: float) -> int:
    """The quantiser on the encoder's own scale for a quality from 0 to 1."""
    coarse, fine = QUALITIES[codec]
    return round(coarse + quality * (fine - coarse))


def through_codec(frames: Sequence[Image], codec: CodecName, options: dict[str, str]) -> list[Image]:
    """``frames`` of any one size as an encoder with these options leaves them (4:2:0)."""
    height, width = frames[0].shape[:2]
    bottom, right = (max(side + side % 2, SMALLEST_CODED) - side for side in (height, width))
    padded = [np.pad(frame, ((0, bottom), (0, right), (0, 0)), "edge") for frame in frames]
    decoded = decode_packets(encode_packets(padded, codec, options, "420"), codec)
    return [np.ascontiguousarray(frame[:height, :width]) for frame in decoded]
