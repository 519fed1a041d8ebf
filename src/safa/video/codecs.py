"""The codecs that can be written: their encoders, containers, pixel formats and settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2

from safa.errors import OutputError
from safa.video.colour import Mastering

# File suffix ("-": standard output) -> FFmpeg's muxer, and the codecs it may hold, the default first.
CONTAINERS = {
    ".mp4": ("mp4", ("h264", "h265", "av1", "vp9")),
    ".m4v": ("mp4", ("h264", "h265", "av1")),
    ".mov": ("mov", ("h264", "h265", "prores")),
    ".mkv": ("matroska", ("h264", "h265", "av1", "vp9", "prores", "ffv1")),
    ".webm": ("webm", ("vp9", "av1")),
    ".gif": ("gif", ("rgb",)),
    ".webp": ("webp", ("rgb",)),
    ".png": ("png", ("rgb",)),
    "-": ("yuv4mpegpipe", ("y4m",)),
}

AVX_512F = 13  # OpenCV's number of a processor feature (CV_CPU_AVX_512F), which its Python module has no name for

LARGEST_UNIT = 64
"""Side of x265's largest coding tree unit, in pixels."""

USUAL_PRESET = "medium"
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")

EncoderOptions = Callable[[float | None, str, Mastering], dict[str, str]]


@dataclass(frozen=True)
class Codec:
    """One codec: FFmpeg's encoder, its pixel formats, its usual quality and its options.

    `formats` are for (8 bits, more bits, 8 bits with alpha, more bits with alpha); None where there is no such.
    `crf` is the default quality on the codec's own scale, None where it has none. `tag` is the container's code
    for it where the muxer's choice is not the one that players want. `least` is the shortest side that the encoder can
    be trusted with.
    """

    encoder: str
    formats: tuple[str, str | None, str | None, str | None]
    crf: float | None
    options: EncoderOptions
    tag: str | None = None
    least: int = 1
    worst: float = 51
    """The largest crf."""
    has_presets: bool = True


def check_quality(name: str, crf: float | None, preset: str) -> None:
    """Raise OutputError for a quality or a preset that the codec of this name does not know."""
    codec, called = codec_entry(name), "this output" if name == "rgb" else name
    if preset not in PRESETS:
        raise OutputError(f"there is no preset {preset!r}; use one of {', '.join(PRESETS)}.")
    if preset != USUAL_PRESET and not codec.has_presets:
        raise OutputError(f"{called} has no presets; leave out --preset.")
    if crf is None:
        return
    if codec.crf is None:
        raise OutputError(f"{called} has no quality to choose; leave out --crf.")
    if not 0 <= crf <= codec.worst:
        raise OutputError(f"--crf is {crf:g}; for {name} it must be from 0 (best) to {codec.worst:g}.")


def _x264(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    # x264 gives other bytes on every run where its AVX-512 code is used and the width is no multiple of 128
    # (mbtree). A resumed run must equal an uninterrupted one, so AVX2 is asked for there.
    parameters = [*(["asm=avx2"] if cv2.checkHardwareSupport(AVX_512F) else []), *mastering.x264()]
    given = {"x264-params": ":".join(parameters)} if parameters else {}
    return {"crf": f"{crf:g}", "preset": preset, **given}


def x265_unit(width: int, height: int) -> str:
    """Return the end of x265's parameters for frames of this size.

    Where one coding tree unit holds the whole frame, x265 reads memory that it has not written, and its bytes differ
    from run to run (seen at 64x64, at no other size): such frames get units of half the side.
    """
    return f":ctu={LARGEST_UNIT // 2}" if max(width, height) <= LARGEST_UNIT else ""


def _x265(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    # "info" would write the processor's abilities into the header: segments from two machines would not fit together.
    parameters = ["log-level=none", "open-gop=0", "info=0", *mastering.x265()]
    if mastering.has_display:
        parameters.append("hdr10=1")
    return {"crf": f"{crf:g}", "preset": preset, "x265-params": ":".join(parameters)}


def _svt_av1(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    options = {"crf": f"{crf:.0f}", "preset": str(12 - PRESETS.index(preset))}
    parameters = mastering.svt_av1()
    return options | ({"svtav1-params": ":".join(parameters)} if parameters else {})


def _vpx(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    speed = max(0, 5 - PRESETS.index(preset) // 2)
    return {"crf": f"{crf:.0f}", "b": "0", "deadline": "good", "cpu-used": str(speed), "row-mt": "1"}


def _prores(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    return {"vendor": "apl0"}


def _plain(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    return {}


def _ffv1(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
    return {"level": "3", "slicecrc": "1"}


# With shorter sides x265 and SVT-AV1 overrun their buffers: seen with glibc's checks, and never from 64 pixels on.
CODECS = {
    "h264": Codec("libx264", ("yuv420p", "yuv420p10le", None, None), 17, _x264),
    "h265": Codec("libx265", ("yuv420p", "yuv420p10le", None, None), 19, _x265, "hvc1", least=64),
    "av1": Codec("libsvtav1", ("yuv420p", "yuv420p10le", None, None), 24, _svt_av1, least=64, worst=63),
    "vp9": Codec("libvpx-vp9", ("yuv420p", "yuv420p10le", None, None), 24, _vpx, worst=63),
    "prores": Codec(
        "prores_ks", ("yuv422p10le", "yuv422p10le", "yuva444p10le", "yuva444p10le"), None, _prores, has_presets=False
    ),
    "ffv1": Codec("ffv1", ("yuv444p", "yuv444p10le", "yuva444p", "yuva444p10le"), None, _ffv1, has_presets=False),
    "y4m": Codec("rawvideo", ("yuv420p", "yuv420p10le", None, None), None, _plain, has_presets=False),
    # Lossless, for segments of outputs that are made of pictures in the end.
    "rgb": Codec("ffv1", ("bgr0", "rgb48le", "bgra", "rgba64le"), None, _ffv1, has_presets=False),
}

# Quality settings of FFmpeg's hardware encoders, by the ending of their names; {} is the crf.
HARDWARE = {
    "nvenc": {"rc": "vbr", "cq": "{}", "b": "0"},
    "qsv": {"global_quality": "{}"},
    "amf": {"rc": "cqp", "qp_i": "{}", "qp_p": "{}"},
    "videotoolbox": {"q": "60"},
    "v4l2m2m": {"b": "20M"},
    "vaapi": {"rc_mode": "CQP", "qp": "{}"},
}
HARDWARE_CODECS = {"h264": "h264", "hevc": "h265", "av1": "av1", "vp9": "vp9"}


@dataclass(frozen=True)
class Choice:
    """A codec for an output, its pixel format, and what is lost by it (a sentence each)."""

    codec: str
    pixel_format: str
    warnings: tuple[str, ...] = ()


def container_of(path: Path) -> str:
    """FFmpeg's name of the container for an output path ("-" is standard output). Raises OutputError."""
    return _entry(path)[0]


def _entry(path: Path) -> tuple[str, tuple[str, ...]]:
    try:
        return CONTAINERS["-" if str(path) == "-" else path.suffix.lower()]
    except KeyError:
        known = ", ".join(sorted(suffix for suffix in CONTAINERS if suffix != "-"))
        raise OutputError(f"{path}: the output's name must end in one of {known}.") from None


def choose_codec(
    path: Path, codec: str | None = None, bit_depth: int = 8, alpha: bool = False, side: int | None = None
) -> Choice:
    """Return the codec and pixel format for an output.

    Without `codec`: the container's usual one that can have a shortest `side` of so many pixels, but for more than 8
    bits one that keeps them, and then H.265 rather than H.264, whose players mostly cannot show them. Raises
    OutputError for a codec that does not exist or that the container cannot hold. `warnings` say when bits or
    transparency are lost.
    """
    held = _entry(path)[1]
    if codec is None:
        fitting = [name for name in held if side is None or codec_entry(name).least <= side] or held
        usual = [_choice(name, bit_depth, False) for name in fitting]
        is_rare = side is None and bit_depth > 8  # H.264 of more than 8 bits

        def loss(choice: Choice) -> tuple[int, bool]:
            return max(0, bit_depth - _bits(choice.pixel_format)), is_rare and choice.codec == "h264"

        codec = min(usual, key=loss).codec  # the first of equals
        return _choice(codec, bit_depth, alpha)
    if HARDWARE_CODECS.get(codec.split("_")[0], codec) not in held:
        others = ", ".join(held)
        if codec in CODECS or codec in av.codecs_available:
            raise OutputError(f"{path.suffix} cannot hold {codec}; use one of {others}, or another container.")
        raise OutputError(f"there is no codec {codec!r}; use one of {others}.")
    return _choice(codec, bit_depth, alpha)


def _choice(codec: str, bit_depth: int, alpha: bool) -> Choice:
    """Return the best pixel format of the codec's encoder, and what is lost by it."""
    entry = codec_entry(codec)
    deep = bit_depth > 8
    available = {pixel.name for pixel in av.codec.Codec(entry.encoder, "w").video_formats or ()}
    expected = [
        entry.formats[2 * alpha + deep],
        entry.formats[2 * alpha],
        entry.formats[deep],
        entry.formats[0],
    ]
    pixel_format = next((name for name in expected if name and (not available or name in available)), None)
    if pixel_format is None:
        raise OutputError(f"encoder {entry.encoder} takes no pixel format that we can make; use another codec.")
    components = av.VideoFormat(pixel_format).components
    warnings, written = [], _bits(pixel_format)
    if bit_depth > max(8, written):
        warnings.append(f"{codec} is written with {written} bits; the source's {bit_depth} are rounded.")
    if alpha and not any(component.is_alpha for component in components):
        warnings.append(f"{codec} keeps no transparency; prores in .mov and ffv1 in .mkv do.")
    return Choice(codec, pixel_format, tuple(warnings))


def _bits(pixel_format: str) -> int:
    return max(component.bits for component in av.VideoFormat(pixel_format).components)


def codec_entry(codec: str) -> Codec:
    """Return the entry of a codec by our name, or one made for a hardware encoder by FFmpeg's name."""
    if codec in CODECS:
        return CODECS[codec]
    name = codec.rpartition("_")[2]
    if codec not in av.codecs_available or name not in HARDWARE:
        raise OutputError(f"there is no codec {codec!r}; use one of {', '.join(CODECS)}.")

    def options(crf: float | None, preset: str, mastering: Mastering) -> dict[str, str]:
        return {key: value.format(f"{crf:.0f}") for key, value in HARDWARE[name].items()}

    eight = "nv12" if name in ("qsv", "vaapi") else "yuv420p"
    tag = "hvc1" if codec.startswith("hevc") else None
    return Codec(codec, (eight, "p010le", None, None), 19, options, tag, has_presets=False)
