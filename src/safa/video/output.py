"""What the output is to be: container, codec, size, colour; and the encoder that goes with it."""

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.codec.context import ThreadType
from av.container import OutputContainer
from numpy._core._multiarray_umath import __cpu_features__  # what np.show_runtime() prints

from safa.errors import OutputError
from safa.video.colour import Colour

# File suffix -> FFmpeg's muxer.
CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@dataclass(frozen=True)
class Codec:
    """How a codec is encoded: FFmpeg's encoder and the options that stay fixed."""

    encoder: str
    options: dict[str, str] = field(default_factory=dict)


def _x264_options() -> dict[str, str]:
    """x264 gives other bytes on every run where its AVX-512 code is used and the width is no multiple of 128
    (`mbtree`; seen with build 165). A resumed run must equal an uninterrupted one, so AVX2 is asked for
    there.
    """
    return {"x264-params": "asm=avx2"} if __cpu_features__.get("AVX512F") else {}


CODECS = {"h264": Codec("libx264", _x264_options())}


@dataclass(frozen=True)
class OutputSpec:
    """Everything that decides how output frames are encoded.

    `width`, `height` in pixels; `time_base` in seconds per tick (`output_time_base`), `rate` the nominal
    frames a second, which steers the encoder only. `colour` must be resolved: it is what the pixels are
    converted to and what bitstream and container are tagged with. `sample_aspect_ratio`, `display_matrix`
    (nine integers, as FFmpeg has them) and `metadata` are written as given. `crf` is the codec's own quality
    scale, lower is better.
    """

    path: Path
    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    colour: Colour
    codec: str = "h264"
    crf: float = 17
    preset: str = "medium"
    pixel_format: str = "yuv420p"
    sample_aspect_ratio: Fraction = Fraction(1)
    display_matrix: tuple[int, ...] | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def container(self) -> str:
        """FFmpeg's name of the output's container."""
        return CONTAINERS[self.path.suffix.lower()]

    def settings(self) -> dict[str, Any]:
        """JSON-ready: what must not change between runs if their segments are to be joined."""
        settings = asdict(self)
        for name in ("path", "metadata", "display_matrix", "sample_aspect_ratio"):
            del settings[name]
        settings = {
            name: str(value) if isinstance(value, Fraction) else value for name, value in settings.items()
        }
        return settings | {"libavcodec": ".".join(map(str, av.library_versions["libavcodec"]))}


def check_output(path: Path, source: Path, codec: str = "h264") -> None:
    """Find what would stop the output from being written before any work is done. Raises OutputError."""
    if path.suffix.lower() not in CONTAINERS:
        known = ", ".join(sorted(CONTAINERS))
        raise OutputError(f"{path}: the output's name must end in one of {known}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give a file name for the output.")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent} is no folder; make it first or choose another output.")
    if path.exists() and source.exists() and path.samefile(source):
        raise OutputError(f"{path} is the input itself; choose another name for the output.")
    if codec not in CODECS:
        raise OutputError(f"there is no codec {codec!r}; choose one of {', '.join(CODECS)}.")


def add_encoder(container: OutputContainer, spec: OutputSpec) -> av.VideoStream:
    """Add the video stream that encodes as `spec` says."""
    codec = CODECS[spec.codec]
    options = {**codec.options, "crf": f"{spec.crf:g}", "preset": spec.preset}
    stream = container.add_stream(codec.encoder, rate=spec.rate, options=options)
    assert isinstance(stream, av.VideoStream)
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = spec.width, spec.height, spec.pixel_format
    context.time_base = spec.time_base
    context.sample_aspect_ratio = spec.sample_aspect_ratio
    context.color_primaries, context.color_trc = spec.colour.primaries, spec.colour.transfer
    context.colorspace, context.color_range = spec.colour.matrix, spec.colour.range
    # Slices, the default, cost quality; frame threads do not, and x264 gives the same bytes every time.
    context.thread_type = ThreadType.FRAME
    return stream
