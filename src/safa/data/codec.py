"""Real encoders and decoders in memory: for packed training windows, and for the artefacts of compressed video.


Colours at half the resolution (4:2:0) are made and read as the video tool does it: filtered, and where codecs have
them, at the left of the two columns that they belong to. Repeating one of four pixels instead moves colours by half a
pixel, which networks would learn to undo.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import av
import cv2
import numpy as np

from safa.data.scene import Image
from safa.errors import SafaError
from safa.video.codecs import LARGEST_UNIT, x265_unit
from safa.video.colour import Colour, FromRgb, ToRgb

CodecName = Literal["h264", "hevc", "mpeg2", "mpeg4", "vp9"]
Chroma = Literal["420", "444"]
ENCODERS: dict[CodecName, str] = {
    "h264": "libx264",
    "hevc": "libx265",
    "mpeg2": "mpeg2video",
    "mpeg4": "mpeg4",
    "vp9": "libvpx-vp9",
}
# The frames' colours while they are coded in 4:2:0: those of a small video without tags.
COLOUR = Colour().resolved(height=480)
DECODERS: dict[CodecName, str] = {"h264": "h264", "hevc": "hevc", "mpeg2": "mpeg2video", "mpeg4": "mpeg4", "vp9": "vp9"}
# x264's AVX-512 code for macroblock trees reads memory it has not written, so frames of some sizes come out different
# each time (seen with widths below 128 and with 200). SSE2, which every x86-64 processor has, takes hardly longer.
_X264_CODE = ":asm=SSE2" if platform.machine().lower() in ("x86_64", "amd64") else ""
# One thread each: encoders split the picture by threads, and the result must not depend on the machine.
_ALWAYS: dict[CodecName, dict[str, str]] = {
    "h264": {"x264-params": f"log-level=-1:threads=1{_X264_CODE}"},
    "hevc": {"x265-params": "log-level=none:pools=none:frame-threads=1"},
    "mpeg2": {},
    "mpeg4": {},
    "vp9": {"row-mt": "0"},
}


def encode_packets(
    frames: Sequence[Image], codec: CodecName, options: dict[str, str], chroma: Literal["420", "444"]
) -> list[bytes]:
    """Packets of ``frames``, the codec's own headers included (no container).

    Args:
        frames: of one size; with chroma "420" both sides must be even.
        options: the encoder's, such as {"crf": "23", "preset": "fast"}.
        chroma: "420" is what video is coded with, "444" keeps full colour resolution.

    Raises:
        SafaError: this build of FFmpeg lacks the encoder.
    """
    height, width = frames[0].shape[:2]
    try:
        context = av.CodecContext.create(ENCODERS[codec], "w")
    except av.FFmpegError as error:
        raise SafaError(f"The encoder {ENCODERS[codec]} is missing in this build of PyAV.") from error
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, f"yuv{chroma}p"
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.thread_count = 1
    context.options = {**_ALWAYS[codec], **options}
    if codec == "hevc":
        context.options["x265-params"] += x265_unit(width, height)
    packets: list[bytes] = []
    to_yuv = FromRgb(COLOUR, "yuv420p") if chroma == "420" else _to_full_yuv
    for index, image in enumerate(frames):
        frame = to_yuv(image)
        frame.pts, frame.time_base = index, Fraction(1, 25)
        packets += [bytes(packet) for packet in context.encode(frame)]
    return packets + [bytes(packet) for packet in context.encode(None)]


def decode_packets(packets: Sequence[bytes], codec: CodecName, most_frames: int | None = None) -> list[Image]:
    """The frames that ``encode_packets`` was given, as the decoder sees them; at most the first ``most_frames``."""
    context = av.CodecContext.create(DECODERS[codec], "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    to_rgb = ToRgb(COLOUR, bit_depth=8, alpha=False, codec=codec)
    frames: list[Image] = []
    for data in [*packets, None]:
        for frame in context.decode(av.Packet(data) if data is not None else None):
            frames.append(to_rgb(frame) if frame.format.name.startswith("yuv420p") else _from_full_yuv(frame))
            if len(frames) == most_frames:
                return frames
    return frames


def decode_stream(data: bytes, codec: CodecName, most_frames: int | None = None) -> list[Image]:
    """Decode packets that were joined into one H.264, HEVC or MPEG-2 byte stream, as ``decode_packets`` does."""
    parser = av.CodecContext.create(DECODERS[codec], "r")
    packets = [bytes(packet) for packet in [*parser.parse(data), *parser.parse(None)]]
    return decode_packets(packets, codec, most_frames)


# Full range both ways: nothing else reads these, and OpenCV is faster than swscale.
def _to_full_yuv(image: Image) -> av.VideoFrame:
    planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]].transpose(2, 0, 1)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(planes, np.uint8), "yuv444p")


def _from_full_yuv(frame: av.VideoFrame) -> Image:
    planes = np.asarray(frame.to_ndarray(), np.uint8)
    interleaved = np.ascontiguousarray(planes.transpose(1, 2, 0)[..., [0, 2, 1]])
    return np.asarray(cv2.cvtColor(interleaved, cv2.COLOR_YCrCb2RGB), np.uint8)


# Damage by video codecs: real encoders at a chosen quality, with typical options.

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
    """Return the quantiser on the encoder's own scale for a quality from 0 to 1."""
    coarse, fine = QUALITIES[codec]
    return round(coarse + quality * (fine - coarse))


def through_codec(frames: Sequence[Image], codec: CodecName, options: dict[str, str]) -> list[Image]:
    """``frames`` of any one size as an encoder with these options leaves them (4:2:0)."""
    height, width = frames[0].shape[:2]
    bottom, right = (max(side + side % 2, SMALLEST_CODED) - side for side in (height, width))
    padded = [np.pad(frame, ((0, bottom), (0, right), (0, 0)), "edge") for frame in frames]
    decoded = decode_packets(encode_packets(padded, codec, options, "420"), codec)
    return [np.ascontiguousarray(frame[:height, :width]) for frame in decoded]
