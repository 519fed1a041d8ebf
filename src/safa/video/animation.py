"""Outputs that are pictures: animated GIF and WebP, and folders of PNG files.

Their frames wait in lossless segments like those of any other output; here they are decoded again, one by one, and
made into pictures.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

from safa.video.encoder import OutputSpec
from safa.video.files import disk_errors, for_ffmpeg, numbered, unfinished
from safa.video.partial_output import Joinable
from safa.video.segments import FRAME_MS

GIF_TICK = Fraction(1, 100)
FASTEST_GIF = 100  # frames a second
GIF_HEADER = 13  # bytes before its palette
TRANSPARENT = b"\xff"  # the entry of the palette that FFmpeg's palettegen keeps for it
WEBP_TICK = Fraction(1, 1000)
LONGEST_WEBP = 0xFFFFFF  # ticks of one frame
# Bits of the features of a WebP file.
ANIMATION, TRANSPARENCY = 0x02, 0x10
# Frames in PNG's own pixel formats: by (more than 8 bits, alpha).
PNG_FORMATS = {(False, False): "rgb24", (False, True): "rgba", (True, False): "rgb48be", (True, True): "rgba64be"}


def write_animation(journal: Joinable, spec: OutputSpec, replace: bool = False) -> None:
    """Write `spec.path` as GIF or WebP, under a temporary name first; `replace` as for `Journal.publish`.

    Raises OutputError when the disk is full.
    """
    temporary = unfinished(spec.path)
    write = _write_gif if spec.container == "gif" else _write_webp
    try:
        with disk_errors(spec.path.parent, journal.kept):
            write(temporary, journal, spec)
            journal.publish(temporary, spec.path, replace)
    finally:
        temporary.unlink(missing_ok=True)


def write_pictures(journal: Joinable, spec: OutputSpec) -> None:
    """Write the folder of `spec.path` (such as frames/%06d.png), numbered from 1; it appears whole.

    Raises OutputError when the disk is full.
    """
    temporary = unfinished(spec.path)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with disk_errors(temporary.parent, journal.kept):
            temporary.mkdir()
            encoder: Any = None
            for number, (_, frame) in enumerate(_frames(journal, spec), 1):
                if encoder is None:
                    encoder = png_encoder(frame)
                (packet,) = encoder.encode(frame.reformat(format=encoder.pix_fmt))
                with (temporary / numbered(spec.path, number)).open("wb") as file:
                    file.write(packet)
                    os.fsync(file.fileno())
            journal.publish(temporary, spec.path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def measure_webp(path: Path) -> tuple[int, set[tuple[int, int]], Fraction]:
    """(frames, sizes, seconds) of an animated WebP file. FFmpeg cannot read those; Pillow can."""
    milliseconds = 0
    with Image.open(path) as image:
        frames = getattr(image, "n_frames", 1)
        for number in range(frames):
            image.seek(number)
            image.load()
            milliseconds += int(image.info.get("duration", 0))
        return frames, {image.size}, Fraction(milliseconds, 1000)


def measure_pictures(path: Path) -> tuple[int, set[tuple[int, int]]]:
    """(pictures, sizes) of the folder of a path such as frames/%06d.png, counted while numbers follow from 1."""
    number, sizes = 0, set()
    while (file := path.parent / numbered(path, number + 1)).exists():
        with av.open(for_ffmpeg(file)) as container:
            frame = next(container.decode(video=0))
        sizes.add((frame.width, frame.height))
        number += 1
    return number, sizes


def _frames(journal: Joinable, spec: OutputSpec) -> Iterator[tuple[Fraction, av.VideoFrame]]:
    """(time in seconds from the first frame, frame) of every frame in the segments."""
    first = journal.segments[0].first
    for segment in journal.segments:
        ticks = segment.times()
        with av.open(for_ffmpeg(segment.path)) as container:
            for frame in container.decode(video=0):
                yield (ticks[(frame.pts or 0) // FRAME_MS] - first) * spec.time_base, frame


def _ticks(journal: Joinable, spec: OutputSpec, tick: Fraction) -> tuple[list[int], int]:
    """Start of every frame and the end in ticks from the first frame, each rounded by itself so that none drifts."""
    first = journal.segments[0].first
    times = [(time - first) * spec.time_base for segment in journal.segments for time in segment.times()]
    starts: list[int] = []
    for time in times:
        starts.append(max(round(time / tick), starts[-1] + 1 if starts else 0))
    assert journal.end is not None
    return starts, max(round((journal.end - first * spec.time_base) / tick), starts[-1] + 1)


def convert(frames: Iterable[av.VideoFrame], spec: OutputSpec) -> None:
    """Make of some decoded frames what the output is made of, and throw it away: for how long that takes."""
    if spec.container == "png":
        encoder = decoder = None
        for frame in frames:
            encoder, decoder = encoder or png_encoder(frame), decoder or av.CodecContext.create("png", "r")
            for packet in encoder.encode(frame.reformat(format=encoder.pix_fmt)):
                decoder.decode(packet)
    elif spec.container == "gif":
        _encode_gif(io.BytesIO(), ((10 * k, 10, frame) for k, frame in enumerate(frames)), spec)
    elif spec.container == "webp":
        _encode_webp(((100 * k, frame) for k, frame in enumerate(frames)), spec)
    else:
        for _ in frames:  # they are the output
            pass


def _write_gif(path: Path, journal: Joinable, spec: OutputSpec) -> None:
    starts, end = _ticks(journal, spec, GIF_TICK)
    durations = [b - a for a, b in zip(starts, [*starts[1:], end], strict=True)]
    frames = (frame for _, frame in _frames(journal, spec))
    _encode_gif(for_ffmpeg(path), zip(starts, durations, frames, strict=True), spec)


def _encode_gif(to: str | io.BytesIO, frames: Iterable[tuple[int, int, av.VideoFrame]], spec: OutputSpec) -> None:
    """(start, duration, frame) each: every frame with 256 colours of its own, in constant memory."""
    # GIF counts how often the animation is shown again, and says nothing where it is not.
    loop = {0: 0, 1: -1}.get(spec.plays, spec.plays - 1)
    with av.open(to, "w", format="gif", container_options={"loop": str(loop)}) as container:
        # Where there is transparency every frame is whole and cleared before the next: FFmpeg would let opaque frames
        # shine through transparent ones.
        is_cleared = any(component.is_alpha for component in av.VideoFormat(spec.pixel_format).components)
        stream: Any = container.add_stream("gif", rate=spec.rate, options={"gifflags": "0"} if is_cleared else {})
        stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "pal8"
        stream.codec_context.time_base = stream.time_base = GIF_TICK
        graph = None
        for start, duration, frame in frames:
            coloured = frame.reformat(format="bgra")
            coloured.pts, coloured.time_base = start, GIF_TICK
            graph = graph or _palette_graph(coloured)
            graph.push(coloured)
            for packet in stream.encode(graph.pull()):
                packet.duration = duration
                if is_cleared:
                    packet.update(_cleared(bytes(packet)))
                container.mux(packet)
        container.mux(stream.encode(None))


def _cleared(packet: bytes) -> bytes:
    """A frame of a GIF with the mark that it is cleared, to nothing, before the next; the file's header may be before
    it.
    """
    at = GIF_HEADER if packet.startswith(b"GIF8") else 0
    if at and packet[10] & 0x80:  # a palette follows
        at += 3 << (packet[10] & 7) + 1
    if packet[at : at + 3] != b"\x21\xf9\x04":
        return packet
    place = at + 3
    # FFmpeg clears to nothing only where the frame has a transparent colour; opaque frames do not use theirs.
    packed = packet[place] & ~0x1C | 2 << 2 | 1
    return packet[:place] + bytes([packed]) + packet[place + 1 : place + 3] + TRANSPARENT + packet[place + 4 :]


def _palette_graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    pixels = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=GIF_TICK)
    split, palette = graph.add("split"), graph.add("palettegen", "stats_mode=single")
    paint, sink = graph.add("paletteuse", "new=1"), graph.add("buffersink")
    pixels.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(paint, 1, 0)
    palette.link_to(paint, 0, 1)
    paint.link_to(sink)
    graph.configure()
    return graph


def _write_webp(path: Path, journal: Joinable, spec: OutputSpec) -> None:
    starts, end = _ticks(journal, spec, WEBP_TICK)
    frames = (frame for _, frame in _frames(journal, spec))
    data = _animated(_encode_webp(zip(starts, frames, strict=True), spec), spec.width, spec.height)
    _set_last_end(data, end)
    _set_plays(data, spec.plays)
    path.write_bytes(data)


def _encode_webp(frames: Iterable[tuple[int, av.VideoFrame]], spec: OutputSpec) -> bytearray:
    """(start, frame) each. One packet is the whole file; libwebp guesses how long its last frame is."""
    encoder: Any = av.CodecContext.create("libwebp_anim", "w")
    encoder.width, encoder.height, encoder.pix_fmt = spec.width, spec.height, "bgra"
    encoder.time_base, encoder.framerate = WEBP_TICK, spec.rate
    encoder.options = {"quality": "90"}
    packets: list[Any] = []
    for start, frame in frames:
        picture = frame.reformat(format="bgra")
        picture.pts, picture.time_base = start, WEBP_TICK
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    return bytearray(b"".join(bytes(packet) for packet in packets))


def _chunks(data: bytearray) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, where that ends) of the chunks of a WebP file."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield bytes(data[at : at + 4]), at + 8, at + 8 + size
        at += 8 + size + size % 2


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def _animated(data: bytearray, width: int, height: int) -> bytearray:
    """Make an animation of a WebP file: libwebp makes a plain picture, which has no duration, of equal frames."""
    chunks = list(_chunks(data))
    if any(name == b"ANMF" for name, _, _ in chunks):
        return data
    coded = (b"ALPH", b"VP8 ", b"VP8L")
    pictures = {name: _chunk(name, bytes(data[at:stop])) for name, at, stop in chunks if name in coded}
    # VP8L says in its header whether it has transparency: behind a mark and two sides of 14 bits.
    lossless = next((data[at : at + 5] for name, at, _ in chunks if name == b"VP8L"), None)
    has_alpha = b"ALPH" in pictures or (lossless is not None and bool(lossless[4] & 0x10))
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    # Position, size, duration (set later), and that the picture replaces what is below it.
    frame = bytes(6) + sides + bytes(3) + b"\x02" + b"".join(pictures.values())
    features = (ANIMATION | (TRANSPARENCY if has_alpha else 0)).to_bytes(4, "little")
    body = b"WEBP" + _chunk(b"VP8X", features + sides) + _chunk(b"ANIM", bytes(6)) + _chunk(b"ANMF", frame)
    return bytearray(b"RIFF" + len(body).to_bytes(4, "little") + body)


def _set_last_end(data: bytearray, end: int) -> None:
    """Give the last ANMF chunk of a WebP file the duration that makes the animation `end` milliseconds long."""
    frames = [at + 12 for name, at, _ in _chunks(data) if name == b"ANMF"]
    before = sum(int.from_bytes(data[at : at + 3], "little") for at in frames[:-1])
    data[frames[-1] : frames[-1] + 3] = min(max(1, end - before), LONGEST_WEBP).to_bytes(3, "little")


def _set_plays(data: bytearray, plays: int) -> None:
    """Say how often the animation is shown; 0 is without end."""
    at = next(at for name, at, _ in _chunks(data) if name == b"ANIM")
    data[at + 4 : at + 6] = min(plays, 0xFFFF).to_bytes(2, "little")


def png_encoder(frame: av.VideoFrame) -> Any:
    """Return an encoder of pictures like this one, in the pixel format that PNG has for it."""
    components = frame.format.components
    deep = any(component.bits > 8 for component in components)
    alpha = any(component.is_alpha for component in components)
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, PNG_FORMATS[deep, alpha]
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"compression_level": "4"}
    return encoder
