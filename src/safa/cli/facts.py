"""The facts of ``safa info`` as text: (what, value) rows under headings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safa.checkpoint import Checkpoint
    from safa.video.look import Look
    from safa.video.read.info import StreamInfo, VideoInfo

Rows = list[tuple[str, str]]

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


def video_rows(info: VideoInfo, look: Look | None, size: int | None) -> Rows:
    """The facts of a video; ``size``: bytes of the file, if it is one."""
    rows = [("container", _named(CONTAINERS, info.container.split(",")[0])), ("duration", _duration(info, size))]
    rows += [("picture", _picture(info)), ("frame rate", _rate(info, look))]
    rows += [("codec", _codec(info)), ("colour", _colour(info))]
    if hdr := _hdr(info):
        rows.append(("HDR", hdr))
    if info.not_carried:
        rows.append(("beside the pixels", f"{', '.join(info.not_carried)}; a result cannot hold this"))
    for kind, name in (("audio", "sound"), ("subtitle", "subtitles")):
        streams = [_stream(stream) for stream in info.streams if stream.kind == kind]
        rows.append((name, "\n".join(streams) or "none"))
    others = [stream for stream in info.streams if stream.kind not in ("audio", "subtitle")]
    if others:
        kinds = ["cover" if stream.is_cover else stream.kind for stream in others]
        rows.append(("other streams", ", ".join(kinds)))
    return rows


def look_rows(look: Look) -> Rows:
    """What matters to the network."""
    from safa.jobs.weights import usual_name

    return [
        ("interlaced", _interlaced(look)),
        ("repeated frames", _repeated(look)),
        ("scene cuts", _cuts(look)),
        ("block edges", f"{_grade(look.blockiness, 1.15, 1.3)} ({look.blockiness:.2f}; 1 is none)"),
        ("noise", f"{_grade(look.noise, 1.5, 4)} ({look.noise:.1f} of 255)"),
        ("bits per pixel", f"{look.bits_per_pixel:.2g}"),
        *([("mean quantiser", f"{look.quantiser:.1f}")] if look.quantiser is not None else []),
        ("weights for it", usual_name(look)),
    ]


def weights_rows(checkpoint: Checkpoint, default: bool) -> Rows:
    """The facts of weights; ``--json`` has more."""
    config, told, count = checkpoint.config, checkpoint.provenance, checkpoint.parameters
    looks = "along the stream, at windows of frames" if config.propagation else "at two frames at a time"
    rows = [
        ("weights", checkpoint.name + (" (the default)" if default else "")),
        ("looks", looks),
        ("size", f"{count / 1e6:.2f} million parameters" if count >= 10_000 else f"{count} parameters"),
        ("network", f"{config.channels} channels, {config.blocks} flow blocks, {config.decoder_blocks} decoder blocks"),
    ]
    if isinstance(told.get("steps"), int):
        minutes = f" in {told['minutes']} minutes" if "minutes" in told else ""
        rows.append(("training", f"{told['steps']} steps{minutes}"))
    if told.get("note"):
        rows.append(("note", str(told["note"])))
    if told.get("notice"):
        rows.append(("made with", str(told["notice"])))
    return [*rows, ("SHA-256", checkpoint.sha256)]


def installation_rows(facts: dict[str, Any], default: str) -> Rows:
    """What is installed, from the facts of ``--json``."""
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
        ("weights", ", ".join(weights)),
    ]


def _named(names: dict[str, str], name: str) -> str:
    return names.get(name, name.upper())


def _duration(info: VideoInfo, size: int | None) -> str:
    if not info.duration:
        told = "not stated in the file"
    else:
        seconds = float(info.duration)
        minutes, rest = divmod(seconds, 60)
        clock = f"{int(minutes // 60)}:{int(minutes % 60):02d}:{rest:05.2f}" if minutes else f"{rest:.2f} s"
        told = f"{clock}, {info.frames} frames" if info.frames else clock
    if size is None:
        return told
    rate = f", {_with_unit(8 * size / float(info.duration), 'bit/s')}" if info.duration else ""
    return f"{told} ({_with_unit(size, 'B')}{rate})"


def _with_unit(amount: float, unit: str) -> str:
    for power, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if amount >= power:
            return f"{amount / power:.3g} {prefix}{unit}"
    return f"{amount:.0f} {unit}"


def _picture(info: VideoInfo) -> str:
    told = [f"{info.width}x{info.height}"]
    width, height = info.displayed_size
    aspect = info.sample_aspect_ratio
    if aspect != 1:
        turned = abs(info.rotation) == 90
        width, height = (width, round(height * aspect)) if turned else (round(width * aspect), height)
        told.append(f"pixels {aspect.numerator}:{aspect.denominator} wide")
    if info.rotation:
        told.append(f"turned by {abs(info.rotation)} degrees{' clockwise' if info.rotation == -90 else ''}")
    return ", ".join(told) + (f", shown as {width}x{height}" if len(told) > 1 else "")


def _rate(info: VideoInfo, look: Look | None) -> str:
    rate = f"{float(info.average_rate):.5g} frames per second"
    if look is None:
        return rate
    return f"{rate} on average, varying" if look.variable_rate else f"{rate}, constant"


def _codec(info: VideoInfo) -> str:
    import av

    pixels = av.VideoFormat(info.pixel_format)
    told = [_named(CODECS, info.codec), f"{info.bit_depth} bits"]
    if not info.is_rgb and len(pixels.components) > 1:
        across, down = 4 // pixels.chroma_width(4), 2 // pixels.chroma_height(2)
        told.append({(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (4, 1): "4:1:1"}.get((across, down), "chroma"))
    if info.has_alpha:
        told.append("transparency")
    return ", ".join(told)


def _colour(info: VideoInfo) -> str:
    colour, meant = info.colour, info.colour.resolved(info.height, info.is_rgb)
    if info.is_rgb:
        return "RGB"
    names = [PRIMARIES.get(meant.primaries), TRANSFERS.get(meant.transfer), MATRICES.get(meant.matrix)]
    kinds = [f"{name or 'other'} {kind}" for name, kind in zip(names, ("primaries", "transfer", "matrix"), strict=True)]
    told = names[0] if names[0] and len(set(names)) == 1 else ", ".join(kinds)
    assumed = "" if colour.primaries == meant.primaries and colour.matrix == meant.matrix else " (not tagged; assumed)"
    return f"{told}, {'full' if meant.range == 2 else 'limited'} range{assumed}"


def _hdr(info: VideoInfo) -> str:
    told = []
    if info.colour.transfer in HDR_TRANSFERS:
        told.append("PQ" if info.colour.transfer == 16 else "HLG")
    mastering = info.mastering
    if mastering.luminance is not None:
        low, high = (float(value) for value in mastering.luminance)
        told.append(f"graded on a display of {low:g} to {high:g} cd/m2")
    if mastering.light is not None and any(mastering.light):
        told.append("brightest pixel {} and frame {} cd/m2".format(*mastering.light))
    return ", ".join(told)


def _stream(stream: StreamInfo) -> str:
    rate = f"{stream.sample_rate / 1000:g} kHz" if stream.sample_rate else None
    language = None if stream.language == "und" else stream.language
    told = [_named(CODECS, stream.codec), stream.layout, rate, language, stream.title]
    return ", ".join(part for part in told if part)


def _grade(value: float, some: float, strong: float) -> str:
    return "hardly any" if value < some else "some" if value < strong else "strong"


def _interlaced(look: Look) -> str:
    if look.marked_interlaced:
        return "yes; whole frames are made of it unless --no-deinterlace is given"
    if look.interlaced:
        return "probably, but the file is not marked so: it is not deinterlaced"
    return "no"


def _repeated(look: Look) -> str:
    if look.repeated < 0.02:
        return "none"
    advice = "; see --dedup" if look.repeated >= 0.15 else ""
    return f"{100 * look.repeated:.0f} % of the frames looked at{advice}"


def _cuts(look: Look) -> str:
    if look.cuts is None and look.cuts_per_minute is None:
        return "not counted"
    if look.cuts is None:
        found = f"about {look.cuts_per_minute:.2g} a minute" if look.cuts_per_minute else "none"
        return f"{found} in the parts looked at"
    rate = f" ({look.cuts_per_minute:.2g} a minute)" if look.cuts and look.cuts_per_minute else ""
    return f"{look.cuts or 'none'}{rate}"
