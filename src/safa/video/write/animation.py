"""Outputs that are pictures in the end: animated GIF and WebP, and folders of PNG files.

Their frames wait in lossless segments like those of any other output; here they are decoded again, one by one, and
made into pictures.
"""

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from PIL import Image

from safa.video.files import disk_errors
from safa.video.names import for_ffmpeg, numbered, unfinished
from safa.video.write.beginning import Joinable
from safa.video.write.encoder import OutputSpec
from safa.video.write.segments import FRAME_MS

GIF_TICK = Fraction(1, 100)
FASTEST_GIF = 100  # frames a second
WEBP_TICK = Fraction(1, 1000)
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
                decoder.decode(packet)  # type: ignore[attr-defined]
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
    with av.open(to, "w", format="gif", container_options={"loop": "0"}) as container:
        stream: Any = container.add_stream("gif", rate=spec.rate)
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
                container.mux(packet)
        container.mux(stream.encode(None))


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
    data = _encode_webp(zip(starts, frames, strict=True), spec)
    _set_last_end(data, end)
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


def _set_last_end(data: bytearray, end: int) -> None:
    """Give the last ANMF chunk of a WebP file the duration that makes the animation `end` milliseconds long."""
    position, last, before = 12, None, 0
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        if data[position : position + 4] == b"ANMF":
            if last is not None:
                before += int.from_bytes(data[last : last + 3], "little")
            last = position + 8 + 12
        position += 8 + size + size % 2
    if last is not None:
        data[last : last + 3] = max(1, end - before).to_bytes(3, "little")


def png_encoder(frame: av.VideoFrame) -> Any:
    """An encoder of pictures like this one, of the pixel format that PNG has for it."""
    components = frame.format.components
    deep = any(component.bits > 8 for component in components)
    alpha = any(component.is_alpha for component in components)
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, PNG_FORMATS[deep, alpha]
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"compression_level": "4"}
    return encoder
