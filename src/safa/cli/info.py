"""The command that describes a video, weights or the installation: info."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from safa.cli.common import Json, stdout
from safa.formatting import format_clock, format_quantity

if TYPE_CHECKING:
    from safa.checkpoint import Checkpoint
    from safa.video.info import StreamInfo, VideoInfo
    from safa.video.probe import Look

Facts = dict[str, Any]
Rows = list[tuple[str, str]]
"""Names and values of facts as text."""

Tables = dict[str, Rows]

CONTAINERS = {
    "mov": "MP4 or QuickTime",
    "matroska": "Matroska or WebM",
    "mpegts": "MPEG transport stream",
    "mpeg": "MPEG program stream",
    "yuv4mpegpipe": "YUV4MPEG2",
}
CODECS = {
    "h264": "H.264",
    "hevc": "H.265",
    "av1": "AV1",
    "vp8": "VP8",
    "vp9": "VP9",
    "mpeg1video": "MPEG-1",
    "mpeg2video": "MPEG-2",
    "mpeg4": "MPEG-4 part 2",
    "prores": "ProRes",
    "rawvideo": "uncompressed",
    "subrip": "SubRip",
    "ass": "ASS",
    "mov_text": "MP4 text",
    "hdmv_pgs_subtitle": "Blu-ray pictures",
    "dvd_subtitle": "DVD pictures",
    "pcm_s16le": "uncompressed",
}
# Code points of ITU-T H.273.
PRIMARIES = {1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 12: "Display P3"}
TRANSFERS = {1: "BT.709", 4: "gamma 2.2", 5: "gamma 2.8", 6: "BT.601", 8: "linear", 13: "sRGB", 16: "PQ", 18: "HLG"}
MATRICES = {0: "RGB", 1: "BT.709", 5: "BT.601", 6: "BT.601", 9: "BT.2020", 10: "BT.2020"}
HDR_TRANSFERS = {16, 18}


def info_command(
    file: Annotated[str | None, typer.Argument(metavar="[FILE|WEIGHTS]", help="Video, weights file or name.")] = None,
    as_json: Json = False,
) -> None:
    """Describe a video or a weights file; without an argument, the installation.

    Up to 48 frames of a video are examined, which takes seconds. --json prints everything, for programs.
    """
    if file is None:
        facts, tables = _installation()
    elif _is_weights(file):
        facts, tables = _weights(file)
    else:
        facts, tables = _video(Path(file))
    if as_json:
        stdout.print_line(json.dumps(facts, default=str))
        return
    for heading, rows in tables.items():
        stdout.print(f"[bold]{escape(heading)}[/bold]")
        table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2))
        for name, value in rows:
            table.add_row(f"  {name}", escape(value))
        stdout.print(table, soft_wrap=False)


def _is_weights(name: str) -> bool:
    """Return whether it is the name of shipped weights or a weights file; a video may lack a suffix, too."""
    from safa.checkpoint import SHARPENED, shipped_names

    path = Path(name)
    if not path.is_file():
        if name.partition("@")[0] in SHARPENED:
            return True
        # A plain word without a file is taken for a name, so that the error lists the shipped names.
        plain = name != "-" and not path.exists() and path.name == name and not path.suffix
        return name in shipped_names() or path.suffix.lower() == ".safetensors" or plain
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix.lower() == ".safetensors" or name in shipped_names() or head[8:] == b"{"


def _video(path: Path) -> tuple[Facts, Tables]:
    from safa.errors import MediaError
    from safa.jobs.weights_selection import automatic_weights
    from safa.video.file_source import VideoReader
    from safa.video.probe import look_at

    with VideoReader(path) as reader:
        info = reader.info
    facts: Facts = {**info.to_dict(), "bytes": None, "look": None, "weights": None}
    if not path.is_file():  # a pipe cannot be read again
        return facts, {str(path): video_rows(info, None, None)}
    size = facts["bytes"] = path.stat().st_size
    try:
        look = look_at(path)
    except MediaError:  # none of its frames is complete
        return facts, {str(path): video_rows(info, None, size)}
    facts["look"], facts["weights"] = look.to_dict(), automatic_weights(look)
    heading = f"in {look.frames} frames" + (f" over {look.seconds:.1f} s" if look.seconds else "")
    return facts, {str(path): video_rows(info, look, size), heading: look_rows(look)}


def _installation() -> tuple[Facts, Tables]:
    import platform
    from importlib.metadata import version

    import av

    from safa.checkpoint import DEFAULT, shipped_names
    from safa.engine import availability, usual_precision
    from safa.engine.device import processor_threads
    from safa.engine.onnx import onnx_availability

    facts = {
        "safa_video": version("safa-video"),
        "python": platform.python_version(),
        "torch": None,
        "av": av.__version__,
        "threads": processor_threads(),
        "engines": availability(),
        "precision": usual_precision(),
        "cuda": "not available",
        "xpu": "not available",
        "mps": "not available",
        "onnx": onnx_availability(),
        "weights": ", ".join(shipped_names()),
    }
    with suppress(ModuleNotFoundError):
        import torch

        facts["torch"] = torch.__version__
        if torch.cuda.is_available():
            facts["cuda"] = torch.cuda.get_device_name()
        if torch.xpu.is_available():
            facts["xpu"] = torch.xpu.get_device_name()
        if torch.backends.mps.is_available():
            facts["mps"] = "available"
    return facts, {"this installation": installation_rows(facts, DEFAULT)}


def _weights(name: str) -> tuple[Facts, Tables]:
    from safa.checkpoint import DEFAULT, load_checkpoint, shipped_names

    checkpoint = load_checkpoint(name)
    facts = {
        "weights": checkpoint.name,
        "sha256": checkpoint.sha256,
        "parameters": checkpoint.parameters,
        **checkpoint.config.to_dict(),
        **checkpoint.provenance,
    }
    return facts, {name: weights_rows(checkpoint, name == DEFAULT and name in shipped_names())}


def video_rows(info: VideoInfo, look: Look | None, size: int | None) -> Rows:
    """Describe a video.

    Args:
        look: what was found in its frames; None if they cannot be examined.
        size: of the file in bytes; None if it is not a file.
    """
    rows = [("container", _named(CONTAINERS, info.container.split(",")[0])), ("duration", _duration(info, size))]
    rows += [("picture", _picture(info)), ("frame rate", _rate(info, look))]
    rows += [("codec", _codec(info)), ("colour", _colour(info))]
    if hdr := _hdr(info):
        rows.append(("HDR", hdr))
    if info.not_carried:
        rows.append(("other data", f"{', '.join(info.not_carried)}; lost in a result"))
    for kind, name in (("audio", "sound"), ("subtitle", "subtitles")):
        streams = [_stream(stream) for stream in info.streams if stream.kind == kind]
        rows.append((name, "\n".join(streams) or "none"))
    others = [stream for stream in info.streams if stream.kind not in ("audio", "subtitle")]
    if others:
        kinds = ["cover" if stream.is_cover else stream.kind for stream in others]
        rows.append(("other streams", ", ".join(kinds)))
    return rows


def look_rows(look: Look) -> Rows:
    """Describe what matters to the network."""
    from safa.jobs.weights_selection import automatic_weights

    return [
        ("interlaced", _interlaced(look)),
        ("repeated frames", _repeated(look)),
        ("scene cuts", _cuts(look)),
        ("block edges", f"{_grade(look.blockiness, 1.15, 1.3)} ({look.blockiness:.2f}; 1 is none)"),
        ("noise", f"{_grade(look.noise, 1.5, 4)} ({look.noise:.1f} of 255)"),
        ("bits per pixel", f"{look.bits_per_pixel:.2g}"),
        *([("mean quantiser", f"{look.quantiser:.1f}")] if look.quantiser is not None else []),
        ("suitable weights", automatic_weights(look)),
    ]


def weights_rows(checkpoint: Checkpoint, default: bool) -> Rows:
    """Describe weights; ``--json`` has more."""
    config, provenance, count = checkpoint.config, checkpoint.provenance, checkpoint.parameters
    frames = "windows along the stream" if config.propagation else "two at a time"
    rows = [
        ("weights", checkpoint.name + (" (the default)" if default else "")),
        ("source frames", frames),
        ("size", f"{count / 1e6:.2f} million parameters" if count >= 10_000 else f"{count} parameters"),
        ("network", f"{config.channels} channels, {config.blocks} flow blocks, {config.decoder_blocks} decoder blocks"),
    ]
    if isinstance(provenance.get("steps"), int):
        minutes = f" in {provenance['minutes']} minutes" if "minutes" in provenance else ""
        rows.append(("training", f"{provenance['steps']} steps{minutes}"))
    if provenance.get("note"):
        rows.append(("note", str(provenance["note"])))
    if provenance.get("notice"):
        rows.append(("made with", str(provenance["notice"])))
    return [*rows, ("SHA-256", checkpoint.sha256)]


def installation_rows(facts: dict[str, Any], default: str) -> Rows:
    """Describe the installation from the facts of ``--json``."""
    weights = [f"{name} (the default)" if name == default else name for name in facts["weights"].split(", ")]
    return [
        ("safa", facts["safa_video"]),
        ("Python", facts["python"]),
        ("PyTorch", facts["torch"] or "not installed"),
        ("PyAV", facts["av"]),
        ("engines", facts["engines"]),
        ("precision", facts["precision"]),
        ("processor threads", str(facts["threads"])),
        ("NVIDIA GPU (cuda)", facts["cuda"]),
        ("Intel GPU (xpu)", facts["xpu"]),
        ("Apple GPU (mps)", facts["mps"]),
        ("ONNX Runtime", facts["onnx"]),
        ("weights", ", ".join(weights)),
    ]


def _named(names: dict[str, str], name: str) -> str:
    return names.get(name, name.upper())


def _duration(info: VideoInfo, size: int | None) -> str:
    if not info.duration:
        text = "not stated in the file"
    else:
        clock = format_clock(info.duration, 2) if info.duration >= 60 else f"{float(info.duration):.2f} s"
        text = f"{clock}, {info.frames} frames" if info.frames else clock
    if size is None:
        return text
    rate = f", {format_quantity(8 * size / float(info.duration), 'bit/s')}" if info.duration else ""
    return f"{text} ({format_quantity(size, 'B')}{rate})"


def _picture(info: VideoInfo) -> str:
    parts = [f"{info.width}x{info.height}"]
    width, height = info.displayed_size
    aspect = info.sample_aspect_ratio
    if aspect != 1:
        turned = abs(info.rotation) == 90
        width, height = (width, round(height * aspect)) if turned else (round(width * aspect), height)
        parts.append(f"pixels {aspect.numerator}:{aspect.denominator} wide")
    if info.rotation:
        parts.append(f"rotated by {abs(info.rotation)} degrees{' clockwise' if info.rotation == -90 else ''}")
    return ", ".join(parts) + (f", shown as {width}x{height}" if len(parts) > 1 else "")


def _rate(info: VideoInfo, look: Look | None) -> str:
    rate = f"{float(info.average_rate):.5g} frames per second"
    if look is None:
        return rate
    return f"{rate} on average, varying" if look.variable_rate else f"{rate}, constant"


def _codec(info: VideoInfo) -> str:
    import av

    pixels = av.VideoFormat(info.pixel_format)
    parts = [_named(CODECS, info.codec), f"{info.bit_depth} bits"]
    if not info.is_rgb and len(pixels.components) > 1:
        across, down = 4 // pixels.chroma_width(4), 2 // pixels.chroma_height(2)
        parts.append({(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1"}.get((across, down), "chroma"))
    if info.has_alpha:
        parts.append("transparency")
    return ", ".join(parts)


def _colour(info: VideoInfo) -> str:
    colour, resolved = info.colour, info.colour.resolved(info.height, info.is_rgb)
    if info.is_rgb:
        return "RGB"
    names = [PRIMARIES.get(resolved.primaries), TRANSFERS.get(resolved.transfer), MATRICES.get(resolved.matrix)]
    kinds = [f"{name or 'other'} {kind}" for name, kind in zip(names, ("primaries", "transfer", "matrix"), strict=True)]
    text = names[0] if names[0] and len(set(names)) == 1 else ", ".join(kinds)
    is_tagged = colour.primaries == resolved.primaries and colour.matrix == resolved.matrix
    range_name = "full" if resolved.range == 2 else "limited"
    return f"{text}, {range_name} range{'' if is_tagged else ' (not tagged; assumed)'}"


def _hdr(info: VideoInfo) -> str:
    parts = []
    if info.colour.transfer in HDR_TRANSFERS:
        parts.append("PQ" if info.colour.transfer == 16 else "HLG")
    mastering = info.mastering
    if mastering.luminance is not None:
        low, high = (float(value) for value in mastering.luminance)
        parts.append(f"graded on a display of {low:g} to {high:g} cd/m2")
    if mastering.light is not None and any(mastering.light):
        parts.append("brightest pixel {} and frame {} cd/m2".format(*mastering.light))
    return ", ".join(parts)


def _stream(stream: StreamInfo) -> str:
    rate = f"{stream.sample_rate / 1000:g} kHz" if stream.sample_rate else None
    language = None if stream.language == "und" else stream.language
    parts = [_named(CODECS, stream.codec), stream.layout, rate, language, stream.title]
    return ", ".join(part for part in parts if part)


def _grade(value: float, some: float, strong: float) -> str:
    return "hardly any" if value < some else "some" if value < strong else "strong"


def _interlaced(look: Look) -> str:
    if look.marked_interlaced:
        return "yes; deinterlaced unless --no-deinterlace is given"
    if look.interlaced:
        return "probably, but the file is not marked as such: it is not deinterlaced"
    return "no"


def _repeated(look: Look) -> str:
    if look.repeated < 0.02:
        return "none"
    advice = "; see --dedup" if look.repeated >= 0.15 else ""
    return f"{100 * look.repeated:.0f} % of the examined frames{advice}"


def _cuts(look: Look) -> str:
    if look.cuts is None and look.cuts_per_minute is None:
        return "not counted"
    if look.cuts is None:
        found = f"about {look.cuts_per_minute:.2g} a minute" if look.cuts_per_minute else "none"
        return f"{found} in the examined parts"
    rate = f" ({look.cuts_per_minute:.2g} a minute)" if look.cuts and look.cuts_per_minute else ""
    return f"{look.cuts or 'none'}{rate}"
