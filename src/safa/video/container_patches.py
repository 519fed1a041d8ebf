"""Matroska elements, and HDR10 mastering data added to containers after encoding."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import av
from av.container import InputContainer

from safa.video.colour import Mastering
from safa.video.files import for_ffmpeg

# Identifiers, as RFC 8794 and RFC 9559 have them.
SEGMENT, CLUSTER = bytes.fromhex("18538067"), bytes.fromhex("1F43B675")
INFO, TRACKS, TRACK_ENTRY, VIDEO, COLOUR = (
    bytes.fromhex(code) for code in ("1549A966", "1654AE6B", "AE", "E0", "55B0")
)


def elements(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(identifier, where it begins, where its content begins, where it ends) of the elements of `data` in a row."""
    while at < stop:
        length = 9 - data[at].bit_length()
        width = 9 - data[at + length].bit_length()
        body = at + length + width
        size = int.from_bytes(data[at + length : body], "big") & (1 << 7 * width) - 1
        unknown = size == (1 << 7 * width) - 1
        end = stop if unknown else body + size
        yield data[at : at + length], at, body, end
        at = end


# HDR10 mastering data of encoded video, declared to any container.

# Identifiers of the elements that are added.
MAX_CLL, MAX_FALL, MASTERING = (bytes.fromhex(code) for code in ("55BC", "55BD", "55D0"))
CHROMATICITIES = [bytes.fromhex(f"55D{digit}") for digit in "12345678"]  # x, y of red, green, blue and white
LUMINANCE_MAX, LUMINANCE_MIN = bytes.fromhex("55D9"), bytes.fromhex("55DA")
UNKNOWN_SIZE = b"\x01" + b"\xff" * 7
MOST_HEADER = 1 << 20  # bytes before the first cluster


@contextmanager
def open_mastered(segment: Path, mastering: Mastering) -> Iterator[InputContainer]:
    """Open the container of a Matroska `segment` so that its video stream also carries `mastering`."""
    with ExitStack() as held:
        if mastering == Mastering():
            yield held.enter_context(av.open(for_ffmpeg(segment)))
            return
        file = held.enter_context(segment.open("rb"))
        yield held.enter_context(av.open(_Spliced(file, mastering), "r", format="matroska"))


class _Spliced:
    """A segment read from start to end with another header. It cannot be seeked: its index would be wrong."""

    def __init__(self, file: BinaryIO, mastering: Mastering) -> None:
        head = file.read(MOST_HEADER)
        begin = next(at for name, at, _, _ in elements(head, 0, len(head)) if name == SEGMENT)
        _, _, body, _ = next(elements(head, begin, len(head)))
        parts = {name: head[at:stop] for name, at, _, stop in elements(head, body, len(head)) if name != CLUSTER}
        clusters = next(at for name, at, _, _ in elements(head, body, len(head)) if name == CLUSTER)
        tracks = _with_children(parts[TRACKS], [TRACK_ENTRY, VIDEO, COLOUR], _colour(mastering))
        self._head = io.BytesIO(head[:begin] + SEGMENT + UNKNOWN_SIZE + parts[INFO] + tracks)
        self._file = file
        file.seek(clusters)

    def read(self, count: int) -> bytes:
        """Return the next bytes, at most `count`."""
        return self._head.read(count) or self._file.read(count)


def _colour(mastering: Mastering) -> bytes:
    """The children of Matroska's Colour element that say it."""
    inner = b""
    if mastering.primaries is not None:
        values = [value for pair in mastering.primaries for value in pair]
        inner += b"".join(_number(name, float(value)) for name, value in zip(CHROMATICITIES, values, strict=True))
    if mastering.luminance is not None:
        low, high = mastering.luminance
        inner += _number(LUMINANCE_MAX, float(high)) + _number(LUMINANCE_MIN, float(low))
    light = b""
    if mastering.light is not None:
        light = b"".join(
            _element(name, value.to_bytes(4, "big"))
            for name, value in zip((MAX_CLL, MAX_FALL), mastering.light, strict=True)
        )
    return light + (_element(MASTERING, inner) if inner else b"")


def _number(name: bytes, value: float) -> bytes:
    return _element(name, struct.pack(">d", value))


def _element(name: bytes, content: bytes) -> bytes:
    return name + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _with_children(element: bytes, path: list[bytes], added: bytes) -> bytes:
    """`element` with `added` at the end of the descendant that `path` leads to, made where it is missing."""
    name, _, body, stop = next(elements(element, 0, len(element)))
    if not path:
        return _element(name, element[body:stop] + added)
    content, found = b"", False
    for child, at, _, end in elements(element, body, stop):
        part = element[at:end]
        if child == path[0] and not found:
            part, found = _with_children(part, path[1:], added), True
        content += part
    if not found:
        content += _with_children(_element(path[0], b""), path[1:], added)
    return _element(name, content)
