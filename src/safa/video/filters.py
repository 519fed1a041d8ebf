"""Edges that a container declares as hidden (PixelCrop, clap), and deinterlacing by FFmpeg's bwdif."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av
from av.container import InputContainer

from safa.video.container_patches import CLUSTER, SEGMENT, TRACK_ENTRY, TRACKS, VIDEO, elements

CROPS = [bytes.fromhex(code) for code in ("54CC", "54DD", "54BB", "54AA")]  # left, right, top, bottom
# Bytes at the beginning of a Matroska file within which its tracks are described, and of MP4's index that are read.
MATROSKA_HEAD, MOST_INDEX = 1 << 20, 1 << 28
BOXES = {b"mdia", b"minf", b"stbl"}
# Bytes of an entry of stsd before the boxes in it.
SAMPLE_ENTRY = 78


class Crop(NamedTuple):
    """Pixels of each edge that are not shown."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of what is left of a picture."""
        return width - self.left - self.right, height - self.top - self.bottom

    def is_possible(self, width: int, height: int) -> bool:
        """Return whether anything is left of a picture of this size."""
        return min(self) >= 0 and min(self.size(width, height)) > 0


def crop_of(container: InputContainer, path: Path, index: int) -> Crop:
    """Return what the container says of the stream of this number; nothing where it cannot be read."""
    names = container.format.name.split(",")
    if not path.is_file() or not {"matroska", "mp4"} & set(names):
        return Crop()
    try:
        with path.open("rb") as file:
            found = _of_matroska(file) if "matroska" in names else _of_mp4(file)
    except (OSError, IndexError, struct.error, ValueError, ZeroDivisionError):
        return Crop()
    # Pictures without a track, which AVIF has, are streams before those of the tracks.
    before = 0 if "matroska" in names else len(container.streams) - len(found)
    return found.get(index - before, Crop())


def _of_matroska(file: BinaryIO) -> dict[int, Crop]:
    """Crop by the number of the track in the file's order, which is FFmpeg's."""
    head = file.read(MATROSKA_HEAD)
    begin = next((body for name, _, body, _ in elements(head, 0, len(head)) if name == SEGMENT), len(head))
    found: dict[int, Crop] = {}
    for name, _, body, stop in elements(head, begin, len(head)):
        if name == CLUSTER:
            break
        if name == TRACKS:
            entries = [(at, end) for kind, _, at, end in elements(head, body, stop) if kind == TRACK_ENTRY]
            found = {number: _of_entry(head, at, end) for number, (at, end) in enumerate(entries)}
            break
    return found


def _of_entry(head: bytes, body: int, stop: int) -> Crop:
    parts = {name: (at, end) for name, _, at, end in elements(head, body, stop)}
    if VIDEO not in parts:
        return Crop()
    values = {name: int.from_bytes(head[at:end], "big") for name, _, at, end in elements(head, *parts[VIDEO])}
    return Crop(*(values.get(name, 0) for name in CROPS))


def _of_mp4(file: BinaryIO) -> dict[int, Crop]:
    """Crop by the number of the track in the index, which is FFmpeg's."""
    for name, body, stop in _top_boxes(file):
        if name == b"moov" and stop - body <= MOST_INDEX:
            file.seek(body)
            index = file.read(stop - body)
            tracks = [content for kind, content in _boxes(index) if kind == b"trak"]
            return {number: _of_track(content) for number, content in enumerate(tracks)}
    return {}


def _top_boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, where it ends) of the boxes of the file."""
    end = file.seek(0, os.SEEK_END)
    at = 0
    while at + 8 <= end:
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        body = at + 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            body += 8
        stop = at + size if size else end
        if stop < body:
            return
        yield name, body, min(stop, end)
        at = stop


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, content) of the boxes in another one."""
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size < 8:
            return
        yield name, data[at + 8 : at + size]
        at += size


def _of_track(content: bytes) -> Crop:
    for name, inner in _boxes(content):
        if name in BOXES:
            crop = _of_track(inner)
            if any(crop):
                return crop
        elif name == b"stsd":
            for _, entry in _boxes(inner[8:]):
                apertures = [found for kind, found in _boxes(entry[SAMPLE_ENTRY:]) if kind == b"clap"]
                if apertures:
                    return _of_aperture(apertures[0], *struct.unpack_from(">HH", entry, 24))
    return Crop()


def _of_aperture(clap: bytes, width: int, height: int) -> Crop:
    """Crop of a clean aperture: its size, and where its middle lies beside the picture's, as fractions."""
    numbers = struct.unpack(">IIIIiIiI", clap[:32])
    wide, high, right, down = (Fraction(*numbers[at : at + 2]) for at in range(0, 8, 2))
    left, top = (width - wide) / 2 + right, (height - high) / 2 + down
    crop = Crop(round(left), round(width - wide - left), round(top), round(height - high - top))
    return crop if crop.is_possible(width, height) else Crop()


# Interlaced frames to whole ones, by FFmpeg's bwdif filter.

# Values of AVFieldOrder that mean two fields in a frame, taken at different times.
INTERLACED_ORDERS = {2, 3, 4, 5}


def is_interlaced(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Return whether a stream's header or its first frame is marked interlaced."""
    return frame.interlaced_frame or stream.codec_context.field_order in INTERLACED_ORDERS


def deinterlace(frames: Iterator[av.VideoFrame], tick: Fraction) -> Iterator[av.VideoFrame]:
    """One whole frame for each frame, with its time; those that are not marked interlaced come out as they are.

    Each frame keeps the moment of its first field. Up to the first interlaced frame, which may come late, nothing is
    changed; the `time_base` of those after it differs from the stream's, `tick`.
    """
    graph: av.filter.Graph | None = None
    kind: tuple[int, int, str] | None = None
    before: av.VideoFrame | None = None
    for frame in frames:
        last, kind = kind, (frame.width, frame.height, frame.format.name)
        if last is not None and kind != last:  # the filter cannot go on
            if graph is not None:
                yield from _finished(graph)
            graph = before = None
        if graph is None and not frame.interlaced_frame:
            yield frame
            before = frame
            continue
        if graph is None:
            graph = _graph(frame, tick)
            if before is not None:
                graph.push(before)
        graph.push(frame)
        for ready in _ready(graph):
            if before is None:
                yield ready
            before = None  # it went before; the filter only had to see it
    if graph is not None:
        yield from _finished(graph)


def _graph(frame: av.VideoFrame, tick: Fraction) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick)
    filtering = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, filtering, graph.add("buffersink"))
    graph.configure()
    return graph


def _finished(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    graph.push(None)
    yield from _ready(graph)


def _ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame
