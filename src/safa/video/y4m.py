"""Uncompressed video to a pipe: YUV4MPEG2, as input for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from safa.errors import OutputError
from safa.video.colour import FULL, FromRgb
from safa.video.encoder import OutputSpec
from safa.video.pipes import PipeOutput
from safa.video.schedule import OutputTime

# Pixel format -> the format's name in the header.
CHROMA = {"yuv420p": "420mpeg2", "yuv420p10le": "420p10", "yuv444p": "444", "yuv444p10le": "444p10"}


class Y4mWriter:
    """Takes frames as `SegmentWriter` does and writes them at once; nothing is kept, so nothing can be resumed.

    The format has one frame rate, `spec.rate`, and no times: use the fps plan, or a source of constant rate. Where a
    frame does not come when it is due, as after damage, the one before is repeated, or it is left out, so that none is
    further than half a frame from its time.
    """

    frames_done = 0

    def __init__(self, stream: BinaryIO | PipeOutput, spec: OutputSpec) -> None:
        """`spec.pixel_format` must be one of `CHROMA`; `stream` is a binary file such as sys.stdout.buffer."""
        self._stream, self._spec = stream, spec
        self._convert = FromRgb(spec.colour, spec.pixel_format)
        self._first: Fraction | None = None  # time of the first frame, seconds
        self.written = 0
        """Frames so far."""
        self._data = b""  # of the frame written last
        aspect = spec.sample_aspect_ratio
        colour_range = "FULL" if spec.colour.range == FULL else "LIMITED"
        size, rate = f"W{spec.width} H{spec.height}", f"F{spec.rate.numerator}:{spec.rate.denominator}"
        pixels = f"A{aspect.numerator}:{aspect.denominator} C{CHROMA[spec.pixel_format]}"
        self._write(f"YUV4MPEG2 {size} {rate} Ip {pixels} XCOLORRANGE={colour_range}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def needs(self, frame: int) -> bool:
        """Every frame is to be written."""
        return True

    def write(self, image: np.ndarray, moment: OutputTime) -> None:
        """Write one frame, H,W,3 uint8 or uint16, due at `moment.time`.

        Raises OutputError when the reading program has closed the pipe.
        """
        self._first = moment.time if self._first is None else self._first
        place = round((moment.time - self._first) * self._spec.rate)
        if place < self.written:
            return
        for _ in range(place - self.written):
            self._write(self._data)
        self._data = b"FRAME\n" + b"".join(self._rows(plane) for plane in self._convert(image).planes)
        self._write(self._data)
        self.written = place + 1

    def _rows(self, plane: Any) -> bytes:
        size = 2 if self._spec.pixel_format.endswith("10le") else 1
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        return rows[:, : plane.width * size].tobytes()

    def finish(self, end: Fraction) -> None:
        """Flush; the format has no place for the end."""
        with _broken_pipe():
            self._stream.flush()

    def close(self) -> None:
        """Nothing to clean up."""

    def _write(self, data: bytes) -> None:
        with _broken_pipe():
            self._stream.write(data)


@contextmanager
def _broken_pipe() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputError("the program that reads the output has closed it; nothing more is written.") from error
