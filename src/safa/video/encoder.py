"""Memory of encoders and settings that reduce it; the specification of an output and its encoder."""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.context import ThreadType
from av.container import OutputContainer

from safa.errors import OutputError
from safa.video.codecs import choose_codec, codec_entry, container_of, x265_unit
from safa.video.colour import Colour, Mastering
from safa.video.files import is_numbered, number_places, whole_output
from safa.video.journal import is_published

MOST_ECONOMY = 3

# Whatever the size: code, tables, bitstream buffers.
FIXED = 64 << 20


@dataclass(frozen=True)
class Appetite:
    """Bytes for each pixel of a frame of 8 bits, measured at 1920x1088 and, for the last level, 7680x4320 with the
    medium preset, and the options that lead to them; for levels 1, 2 and 3.
    """

    bytes: tuple[int, int, int]
    options: tuple[dict[str, str], dict[str, str], dict[str, str]] = ({}, {}, {})


APPETITES = {
    "libx264": Appetite(
        (260, 90, 23),
        (
            {"threads": "8"},
            {"threads": "2", "x264-params": "rc-lookahead=8:ref=2:bframes=2:sync-lookahead=0"},
            {"threads": "1", "x264-params": "rc-lookahead=0:ref=1:bframes=0:sync-lookahead=0"},
        ),
    ),
    "libx265": Appetite(
        (320, 160, 56),
        (
            {"x265-params": "frame-threads=3"},
            {"x265-params": "rc-lookahead=8:ref=2:bframes=2:frame-threads=2"},
            {"x265-params": "rc-lookahead=1:ref=1:bframes=0:frame-threads=1"},
        ),
    ),
    "libsvtav1": Appetite(
        (530, 290, 32),
        (
            {"svtav1-params": "lp=4"},
            {"svtav1-params": "lp=1"},
            {"svtav1-params": "lp=1:lookahead=0:pred-struct=1"},
        ),
    ),
    "libvpx-vp9": Appetite(
        (160, 110, 76),
        (
            {"threads": "8"},
            {"threads": "2", "lag-in-frames": "8"},
            {"threads": "1", "lag-in-frames": "0", "auto-alt-ref": "0"},
        ),
    ),
    "prores_ks": Appetite((42, 16, 10), ({"threads": "8"}, {"threads": "2"}, {"threads": "1"})),
    "ffv1": Appetite((82, 82, 82)),
    "rawvideo": Appetite((4, 4, 4)),
}
# Hardware encoders keep their frames in memory of their own.
OTHER = Appetite((12, 12, 12))


def economy_options(encoder: str, level: int) -> dict[str, str]:
    """FFmpeg options that make an encoder take less memory; those named "...-params" are added to what is there."""
    return dict(APPETITES.get(encoder, OTHER).options[level - 1]) if level else {}


def encoder_memory(encoder: str, pixel_format: str, preset: str, pixels: int, level: int) -> int:
    """Bytes that an encoder takes for frames of so many ``pixels``."""
    usage = APPETITES.get(encoder, OTHER).bytes[max(level, 1) - 1]
    if any(component.bits > 8 for component in av.VideoFormat(pixel_format).components) and encoder != "prores_ks":
        usage *= 2
    if preset in ("slow", "slower", "veryslow") and level <= 1:
        usage *= 2  # more references and a longer look ahead
    return FIXED + usage * pixels


# The specification of an output, and the encoder that is set up for it.

# Pixels along a side, by container.
LONGEST_SIDES = {"webp": 16383, "gif": 65535}
# Bytes of an output's name, so that the longest that is made from it is one that file systems take.
LONGEST_NAME = 255 - len("..so-far.failed-check-99.part")


@dataclass(frozen=True)
class OutputSpec:
    """Everything that decides how output frames are encoded.

    `width`, `height` in pixels; `time_base` in seconds per tick (`output_time_base`), `rate` the nominal frames
    a second, which steers the encoder only. `colour` must be resolved: it is what the pixels are converted to
    and what bitstream and container are tagged with. `codec` and `pixel_format` come from `choose_codec`; `crf`
    is the codec's own quality scale, lower is better, None for its default; `preset` one of `PRESETS`.
    `sample_aspect_ratio`, `display_matrix` (nine integers, as FFmpeg has them), `mastering` and `metadata` are
    written as given. `economy` is how little memory the encoder must do with (`encoder_memory.py`). `plays` is how
    often an animation is shown, 0 for without end.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    colour: Colour
    codec: str = "h264"
    pixel_format: str = "yuv420p"
    crf: float | None = None
    preset: str = "medium"
    sample_aspect_ratio: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None
    mastering: Mastering = field(default_factory=Mastering)
    metadata: dict[str, str] = field(default_factory=dict)
    economy: int = 0
    plays: int = 0

    @property
    def container(self) -> str:
        """FFmpeg's name of the output's container."""
        return container_of(self.path)

    def settings(self) -> dict[str, Any]:
        """JSON-ready: what must not change between runs if their segments are to be joined."""
        settings = asdict(self)
        for name in ("path", "metadata", "display_matrix", "mastering", "sample_aspect_ratio", "plays"):
            del settings[name]
        settings |= {"colour samples": "left"}  # before, they were centred
        settings |= {"options": encoder_options(self), "libavcodec": list(av.library_versions["libavcodec"])}
        return {key: str(value) if isinstance(value, Fraction) else value for key, value in settings.items()}


def check_output(path: Path, source: Path, codec: str | None = None) -> None:
    """Find what is wrong with an output path or codec before any work is done. Raises OutputError."""
    choose_codec(path, codec)
    if str(path) == "-":
        return
    suffix = path.suffix.lower()
    if suffix == ".png" and not is_numbered(path):
        one = "one number" if number_places(path) else "a number"
        raise OutputError(f"{path}: pictures need {one} in their name, such as {path.with_name('%06d.png')}.")
    if suffix == ".webp" and number_places(path):
        raise OutputError(
            f"{path}: numbered pictures are written as PNG, such as {path.with_name('%06d.png')}; a .webp is one "
            "animation, and has no number in its name."
        )
    if os.path.isdir(path):
        raise OutputError(f"{path} is a folder; give a file name for the output.")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OutputError(f"The name of the output, {path.name[:40]}..., is too long; choose a shorter one.")
    if is_numbered(path):
        if Path.cwd().is_relative_to(path.parent.resolve()):
            raise OutputError(
                f"{path}: the folder of the pictures appears whole, which the current one cannot; give a new folder, "
                f"such as {Path('frames') / path.name}."
            )
        if path.parent.is_dir() and any(path.parent.iterdir()) and not is_published(path):
            raise OutputError(f"{path.parent} is not empty; give a new folder for the pictures.")
    folder = whole_output(path).parent
    if not folder.is_dir():
        raise OutputError(f"{folder} is no folder; make it first or choose another output.")
    if os.path.exists(path) and os.path.exists(source) and path.samefile(source):
        raise OutputError(f"{path} is the input itself; choose another name for the output.")


def check_encoder(spec: OutputSpec) -> None:
    """Start the encoder once, so that what it cannot do is known before any work. Raises OutputError."""
    most = LONGEST_SIDES.get(spec.container)
    if most is not None and max(spec.width, spec.height) > most:
        raise OutputError(
            f"{spec.path.suffix} holds pictures of at most {most} pixels a side, and these would be "
            f"{spec.width}x{spec.height}; give a smaller --scale or --size, or another container."
        )
    if spec.container == "yuv4mpegpipe":
        return  # nothing is encoded, and Matroska has no raw pictures of more than 8 bits
    try:
        with av.open(io.BytesIO(), "w", format="matroska") as container:
            add_encoder(container, spec)
            container.start_encoding()
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"encoder {codec_entry(spec.codec).encoder} does not start on this machine for "
            f"{spec.width}x{spec.height} {spec.pixel_format} ({reason}); use another codec or settings."
        ) from error


def encoder_options(spec: OutputSpec) -> dict[str, str]:
    """FFmpeg options of the encoder for `spec`."""
    codec = codec_entry(spec.codec)
    options = codec.options(codec.crf if spec.crf is None else spec.crf, spec.preset, spec.mastering)
    if codec.encoder == "ffv1" and spec.width == 1:
        options = {"level": "1"}  # without slices: FFmpeg cannot cut a column into those that level 3 has
    if codec.encoder == "libx265":
        options["x265-params"] += x265_unit(spec.width, spec.height)
    for name, value in economy_options(codec.encoder, spec.economy).items():
        joined = name.endswith("-params") and name in options
        options[name] = f"{options[name]}:{value}" if joined else value
    return options


def encoder_threads(spec: OutputSpec) -> int:
    """Threads of the encoder, from the size of the picture alone.

    What x264 and VP9 encode, and what x265 writes into its header, depends on it, and segments made on one machine must
    equal, and join with, those made on another.
    """
    return min(8, max(2, spec.height // 128))


def add_encoder(container: OutputContainer, spec: OutputSpec) -> av.VideoStream:
    """Add the video stream that encodes as `spec` says. Raises OutputError for sides that the encoder cannot take."""
    os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 has no other way to keep its banner off the terminal
    codec = codec_entry(spec.codec)
    if min(spec.width, spec.height) < codec.least:
        raise OutputError(
            f"{spec.codec} cannot be written at {spec.width}x{spec.height}: its encoder needs {codec.least} pixels a "
            "side; use another codec, such as h264, or a larger size."
        )
    stream = container.add_stream(codec.encoder, rate=spec.rate, options=encoder_options(spec))
    assert isinstance(stream, av.VideoStream)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
    context.time_base = spec.time_base
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    if not av.VideoFormat(spec.pixel_format).is_rgb:
        context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
        context.colorspace, context.color_range = spec.colour.matrix, spec.colour.range
    # Slices, the default, cost quality; frame threads do not, and x264 gives the same bytes every time.
    context.thread_type = ThreadType.FRAME
    context.thread_count = encoder_threads(spec)
    return stream
