"""Encodes output frames into closed segments that survive a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.container import OutputContainer

from safa.errors import OutputError
from safa.files import publish
from safa.video.colour import FromRgb
from safa.video.encoder import OutputSpec, add_encoder
from safa.video.files import disk_errors, for_ffmpeg
from safa.video.journal import Journal
from safa.video.schedule import OutputTime

# Matroska counts whole milliseconds, which is too coarse for exact times. So a segment's packets are numbered
# in the order shown, FRAME_MS apart (which lets a player show it), and the exact times stand in the segment's
# record.
FRAME_MS = 40
MILLISECOND = Fraction(1, 1000)
# Decoding times only have to increase and stay below presentation; no encoder delays by more frames than
# this.
MOST_REORDER = 64


class SegmentWriter:
    """Writes frames into segments of a work folder, going on after those that an earlier run finished.

    A segment is closed after `frames_per_segment` frames, so a resumed run is byte-identical to an uninterrupted one.
    Encoding settings are part of the fingerprint; `fingerprint` adds the caller's own facts.
    """

    def __init__(
        self,
        folder: Path,
        spec: OutputSpec,
        fingerprint: dict[str, Any],
        *,
        restart: bool = False,
        frames_per_segment: int = 240,
    ) -> None:
        """Open or make the work folder. Raises JournalMismatch (see `Journal`) or OutputError."""
        self._spec = spec
        self._folder = folder
        self._open: SegmentEncoder | None = None
        self._number = -1
        self._last_ticks: int | None = None
        self.journal = open_journal(folder, spec, fingerprint, restart, frames_per_segment)

    @property
    def frames_done(self) -> int:
        """Output frames that are safe on disk."""
        return self.journal.frames

    def needs(self, frame: int) -> bool:
        """Return whether output frame `frame`, counted from 0, is to be written; the others are kept already."""
        return self.journal.needs(frame)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: np.ndarray, moment: OutputTime) -> None:
        """Encode one frame, H,W,3 uint8 or uint16 of the size in the spec, shown from `moment.time` on.

        The frames must be those that are wanted, in order. Raises OutputError when the disk is full; what is in
        finished segments stays.
        """
        if image.shape[:2] != (self._spec.height, self._spec.width):
            raise ValueError(f"frame of {image.shape}, expected {self._spec.height} x {self._spec.width}")
        with self._failures():
            if self._open is None:
                self._open = self._next_segment()
            ticks = ticks_of(moment.time, self._spec.time_base, self._last_ticks)
            self._open.write(image, ticks)
            self._last_ticks = ticks
            if len(self._open.times) >= self.journal.frames_per_segment:
                self._close_segment(self._open)

    def finish(self, end: Fraction) -> Journal:
        """Close the last segment and record that the last frame is shown until `end` seconds."""
        with self._failures():
            if self._open is not None:
                self._close_segment(self._open)
            self.journal.close(end)
        return self.journal

    def close(self) -> None:
        """Drop the segment that is not finished, if any, and unlock the folder. Finished ones stay."""
        if self._open is not None:
            self._open.abandon()
            self._open = None
        self.journal.release()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        with encoder_errors(self._spec, self._folder, self.journal.kept):
            yield

    def _next_segment(self) -> SegmentEncoder:
        """Return an encoder of the first missing segment; the one before it is complete by then."""
        self._number += 1
        while self.journal.has(self._number):
            self._number += 1
        if self._number:
            self._last_ticks = self.journal.segment(self._number - 1).last
        return SegmentEncoder(self.journal.segment_path(self._number), self._spec)

    def _close_segment(self, segment: SegmentEncoder) -> None:
        finished = segment.finish()  # if it fails, what there is of it is dropped as any other unfinished segment
        self._open = None
        self.journal.add(*finished)


def open_journal(
    folder: Path, spec: OutputSpec, fingerprint: dict[str, Any], restart: bool, frames_per_segment: int
) -> Journal:
    """Open or make the work folder for segments that are encoded as `spec` says. Raises as `SegmentWriter` does."""
    with disk_errors(folder.parent, lambda: "nothing was written"):
        return Journal(folder, fingerprint | {"settings": spec.settings()}, frames_per_segment, restart)


def ticks_of(time: Fraction, time_base: Fraction, last: int | None) -> int:
    """Return the time of a frame in ticks, after one that is shown at `last`."""
    ticks = round(time / time_base)
    # Only where the time base had to be coarser than the timeline.
    return last + 1 if last is not None and ticks <= last else ticks


@contextmanager
def encoder_errors(spec: OutputSpec, folder: Path, kept: Callable[[], str]) -> Iterator[None]:
    """Turn a full disk or a failing encoder into OutputError with one sentence; `kept()` says what survives."""
    try:
        with disk_errors(folder, kept):
            yield
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise OutputError(
            f"the encoder for {spec.codec} failed ({error.strerror}); {kept()}; "
            "run the same command again, or choose another codec."
        ) from error


class SegmentEncoder:
    """The segment being encoded: a temporary file with an encoder of its own, so that it starts with a keyframe.

    Its bytes depend on the pictures, their ticks and the spec alone.
    """

    def __init__(self, path: Path, spec: OutputSpec, temporary: Path | None = None) -> None:
        """`temporary` is what `path` is called until it is finished; several encoders of one path need their own."""
        self.times: list[int] = []
        self._path = path
        self._temporary = temporary or path.with_name(path.name + ".part")
        self._spec = spec
        self._convert = FromRgb(spec.colour, spec.pixel_format)
        exact = {"fflags": "+bitexact"}  # Matroska would number the file at random
        self._container: OutputContainer = av.open(for_ffmpeg(self._temporary), "w", format="matroska", options=exact)
        try:
            self._stream = add_encoder(self._container, spec)
        except BaseException:
            self.abandon()
            raise
        self._stream.time_base = MILLISECOND
        self._shown: dict[int, int] = {}  # ticks of frames inside the encoder -> their number in the order shown
        self._decoded = 0
        self._reorder = 0

    def write(self, image: np.ndarray, ticks: int) -> None:
        """Encode one frame, shown from `ticks` of the spec's time base on."""
        frame = self._convert(image)
        frame.pts = ticks - self.times[0] if self.times else 0
        frame.time_base = self._spec.time_base
        self._shown[frame.pts] = len(self.times)
        self.times.append(ticks)
        self._mux(self._stream.encode(frame))

    def finish(self) -> tuple[Path, list[int], int]:
        """Path, ticks of the frames, and reordering of the finished segment."""
        self._mux(self._stream.encode(None))
        self._container.close()
        publish(self._temporary, self._path)
        return self._path, self.times, self._reorder

    def abandon(self) -> None:
        """Drop what was encoded."""
        with suppress(OSError):  # a full disk may be why it is abandoned
            self._container.close()
        self._temporary.unlink(missing_ok=True)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            assert packet.pts is not None
            number = self._shown.pop(packet.pts)
            self._reorder = max(self._reorder, self._decoded - number)
            packet.pts = number * FRAME_MS
            packet.dts = (self._decoded - MOST_REORDER) * FRAME_MS
            packet.duration = FRAME_MS
            packet.time_base = MILLISECOND
            self._decoded += 1
            self._container.mux(packet)
