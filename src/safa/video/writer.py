"""Encodes output frames into closed segments that survive a crash."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.container import OutputContainer

from safa.errors import OutputError
from safa.video.colour import FromRgb
from safa.video.disk import disk_errors, publish
from safa.video.journal import Journal
from safa.video.output import OutputSpec, add_encoder
from safa.video.timeline import Moment

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

    A segment is closed after `frames_per_segment` frames, and, if given, after `seconds_per_segment` seconds
    of wall time. Segments that are closed by frames alone make a resumed run byte-identical to an
    uninterrupted one. Encoding settings are part of the fingerprint; `fingerprint` adds the caller's own
    facts.
    """

    def __init__(
        self,
        folder: Path,
        spec: OutputSpec,
        fingerprint: dict[str, Any],
        *,
        restart: bool = False,
        frames_per_segment: int = 240,
        seconds_per_segment: float | None = None,
    ) -> None:
        """Open or make the work folder. Raises JournalMismatch (see `Journal`) or OutputError."""
        self._spec = spec
        self._folder = folder
        self._frames_per_segment = frames_per_segment
        self._seconds_per_segment = seconds_per_segment
        self._open: _OpenSegment | None = None
        self._last_ticks: int | None = None
        with disk_errors(folder.parent, lambda: "nothing was written"):
            self.journal = Journal(folder, fingerprint | {"settings": spec.settings()}, restart)
        if self.journal.segments:
            self._last_ticks = self.journal.segments[-1].last

    @property
    def frames_done(self) -> int:
        """Output frames that are safe on disk; on a fresh start of the same job, the next frame to write."""
        return self.journal.frames

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, image: np.ndarray, moment: Moment) -> None:
        """Encode one frame, H,W,3 uint8 or uint16 of the size in the spec, shown from `moment.time` on.

        Raises OutputError when the disk is full; what is in finished segments stays.
        """
        if image.shape[:2] != (self._spec.height, self._spec.width):
            raise ValueError(f"frame of {image.shape}, expected {self._spec.height} x {self._spec.width}")
        ticks = round(moment.time / self._spec.time_base)
        if self._last_ticks is not None and ticks <= self._last_ticks:
            ticks = self._last_ticks + 1  # only where the time base had to be coarser than the timeline
        with self._failures():
            if self._open is None:
                self._open = _OpenSegment(self.journal.segment_path(len(self.journal.segments)), self._spec)
            self._open.write(image, ticks)
            self._last_ticks = ticks
            if self._is_full(self._open):
                self._close_segment(self._open)

    def finish(self, end: Fraction) -> Journal:
        """Close the last segment and record that the last frame is shown until `end` seconds."""
        with self._failures():
            if self._open is not None:
                self._close_segment(self._open)
            self.journal.close(end)
        return self.journal

    def close(self) -> None:
        """Drop the segment that is not finished, if any, and let others have the folder. Finished ones stay."""
        if self._open is not None:
            self._open.abandon()
            self._open = None
        self.journal.release()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """One sentence for a full disk or an encoder that gives up."""
        try:
            with disk_errors(self._folder, self.journal.kept):
                yield
        except av.error.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise OutputError(
                f"the encoder for {self._spec.codec} failed ({error.strerror}); {self.journal.kept()}; "
                "run the same command again, or choose another codec."
            ) from error

    def _is_full(self, segment: "_OpenSegment") -> bool:
        if len(segment.times) >= self._frames_per_segment:
            return True
        limit = self._seconds_per_segment
        return limit is not None and time.monotonic() - segment.opened >= limit

    def _close_segment(self, segment: "_OpenSegment") -> None:
        self._open = None
        self.journal.add(*segment.finish())


class _OpenSegment:
    """The segment being encoded: a temporary file with an encoder of its own, so that it starts with a keyframe."""

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        self.opened = time.monotonic()
        self.times: list[int] = []
        self._path = path
        self._temporary = path.with_name(path.name + ".part")
        self._spec = spec
        self._convert = FromRgb(spec.colour, spec.pixel_format)
        self._container: OutputContainer = av.open(str(self._temporary), "w", format="matroska")
        self._stream = add_encoder(self._container, spec)
        self._stream.time_base = MILLISECOND
        self._shown: dict[int, int] = {}  # ticks of frames inside the encoder -> their number in the order shown
        self._decoded = 0
        self._reorder = 0

    def write(self, image: np.ndarray, ticks: int) -> None:
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
