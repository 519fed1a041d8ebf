"""Video frames out of a file: exact times, RGB arrays, one at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import cv2
import numpy as np
from av.container import InputContainer

from safa.errors import MediaError
from safa.video import containers
from safa.video.colour import ToRgb, begins_timecode, lost_kinds
from safa.video.decoding import Damage, decode_frames
from safa.video.filters import Crop, crop_of, deinterlace, is_interlaced
from safa.video.info import Frame, describe, gray_range, has_alpha_channel, is_transparent
from safa.video.source import FrameSource
from safa.video.timestamps import PacketClock, missing_bytes, plausible_times, repair_times, rest_of_y4m, splices_of

LONG = Fraction(1, 5)
"""Seconds from which on a picture that was there before the chosen start, and still is, is shown from the start on."""

TimedFrame = tuple[Fraction, Fraction, av.VideoFrame]  # file time, duration, frame


class VideoReader(FrameSource):
    """Reads one video stream from start to end in constant memory. Use as a context manager.

    Clock policy, the one place where it is decided: `origin` is the file time that becomes 0, and every
    `Frame.time` is the file's timestamp minus `origin`; the same `origin` is subtracted from copied sound. So the
    offset between sound and picture is kept, and a result begins at 0, whatever the clock of its source:
    - origin = where the first of picture and sound starts (`info.clock_zero`), or the first frame that has no
      time and comes before that.
    - With `start`, origin = file time of the first selected frame, so that the output begins with a picture
      at 0.

    `start` and `end` are seconds after `info.clock_zero`, as players show them; frames with start <= time <
    end are given, exactly, whatever the keyframes, and before them one that is still shown at the start and for some
    time after it, as slides are. Timestamps are repaired as `repair_times` says. The stream is the one that
    `find_video` chooses; edges that the container says are not to be shown are cut off.

    Damage: a file with no decodable frame raises MediaError. Packets that cannot be decoded are skipped,
    frames that were decoded with errors are given, and both are counted in `problems`, as is a file that ends
    before the number of frames it claims, and what later frames carry and no output can hold (of the first one it is
    in `info`). `problems` is complete once `frames` is exhausted; empty means that nothing is missing.
    """

    def __init__(
        self,
        path: str | Path,
        start: Fraction | None = None,
        end: Fraction | None = None,
        deinterlace: bool = True,
    ) -> None:
        """Open the file and decode its first selected frame. Raises MediaError in one sentence."""
        self.path = Path(path)
        self._start, self._end, self._deinterlace = start, end, deinterlace
        self.problems = []
        self._container = containers.open_container(self.path)
        try:
            self._begin(start, end)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Iterating further is an error."""
        self._container.close()

    def frames(self, alpha: bool = True) -> Iterator[Frame]:
        """Yield the selected frames in order; can be iterated only once.

        With `alpha` off, a source with an alpha channel gives three channels too; transparency is ignored. Where the
        picture size changes, frames are scaled to the first one's, as players do.
        """
        info = self.info
        to_rgb = ToRgb(
            info.colour.resolved(info.height),
            bit_depth=info.bit_depth,
            alpha=info.has_alpha and alpha,
            codec=info.codec,
            gray_range=gray_range(self._container, self._stream),
        )
        reported = {*info.not_carried, *(("timecode",) if self._counts_from_zero else ())}
        size, may_turn_transparent = self._size, not info.has_alpha
        for time, duration, frame in self._selected:
            for kind in lost_kinds(frame):
                if kind not in reported:
                    reported.add(kind)
                    self.problems.append(f"frames from {float(time):.3f} s on carry {kind}, which cannot be kept.")
            if may_turn_transparent and has_alpha_channel(frame) and is_transparent(frame):
                may_turn_transparent = False
                self.problems.append(f"frames from {float(time):.3f} s on are partly transparent, which is not kept.")
            if (frame.width, frame.height) != size:
                self.problems.append(
                    f"the picture size changes from {size[0]}x{size[1]} to {frame.width}x{frame.height} at "
                    f"{float(time):.3f} s; all frames are scaled to the first size."
                )
                size = frame.width, frame.height
            if frame.is_corrupt:
                self._damage.corrupt += 1
                self._damage.note(time)
            yield Frame(time - self.origin, duration, self._fitted(to_rgb(frame)))
        self.problems += self._damage.problems(None if self.is_cut else self._claimed)
        is_whole_y4m = info.container == "yuv4mpegpipe" and not self.is_cut
        damage = self._damage
        if is_whole_y4m and rest_of_y4m(*containers.head_and_size(self.path), damage.packets, damage.content):
            self.problems.append("the source ends in the middle of a frame, which is left out.")
        if missing := missing_bytes(self.path):
            self.problems.append(f"the file is cut off: {missing} of the bytes that its header states are missing.")

    def times(self) -> list[Fraction]:
        """Return the times of the selected frames and the end of the last one, from packets; see `FrameSource`."""
        if str(self.path) == "-":
            return []  # YUV4MPEG2 has one rate
        with containers.open_container(self.path) as container:
            stream = containers.find_video(container, self.path)
            zero, tick = containers.clock_zero(container, stream), containers.time_base(stream)
            clock = PacketClock(container, self.path)
            ends: dict[Fraction, Fraction] = {}
            with suppress(av.error.FFmpegError, OSError):  # damage ends the source here; the reader reports it
                for packet in container.demux(stream):
                    if not packet.size:
                        continue
                    packet = clock.correct(packet)
                    if packet.is_discard:
                        continue
                    if packet.pts is None:
                        return []
                    time = packet.pts * tick - zero
                    if (self._start is None or time >= self._start) and (self._end is None or time < self._end):
                        ends[time] = time + (packet.duration or 0) * tick
            track_end = None if self._end is not None else containers.track_end(container, stream)
        if not ends:
            return []
        last = max(ends)
        return [*sorted(ends), max(last, ends[last] if track_end is None else track_end - zero)]

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        """Return the visible part of a picture, at the first picture's size."""
        width, height = self._size
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        crop = self._crop
        if any(crop):
            image = np.ascontiguousarray(image[crop.top : height - crop.bottom, crop.left : width - crop.right])
        return image

    def _begin(self, start: Fraction | None, end: Fraction | None) -> None:
        """Find the first selected frame; sets `info`, `origin`, `is_cut` and the iterator behind `frames`."""
        zero = containers.clock_zero(self._container, containers.find_video(self._container, self.path))
        first_time = zero + start if start is not None else None
        last_time = zero + end if end is not None else None
        timed = self._decode_from(first_time if start else None)
        first, before = None, None
        for one in timed:
            if first_time is None or one[0] >= first_time:
                first = one
                break
            before = one
        selected = timed if first is None else chain([first], timed)
        if first_time is not None and before is not None and before[0] + before[1] - first_time > LONG:
            # A slide that is seen at the chosen start is part of what was chosen.
            first = (first_time, before[0] + before[1] - first_time, before[2])
            selected = chain([first], selected)
        if first is None:
            raise MediaError(
                f"{self.path}: no picture in it can be decoded."
                if first_time is None
                else f"{self.path} has no picture at or after {float(first_time - zero):g} s; choose an earlier start."
            )
        if last_time is not None and first[0] >= last_time:
            raise MediaError(f"{self.path} has no picture in the chosen range; choose a later end.")
        self._size = first[2].width, first[2].height
        self._counts_from_zero = begins_timecode(first[2])
        crop = crop_of(self._container, self.path, self._stream.index)
        self._crop = crop if crop.is_possible(*self._size) else Crop()
        self.info = describe(self._container, self._stream, first[2], self.path, self._interlaced, self._crop)
        self.info = replace(self.info, clock_zero=zero)
        if self._splices:
            self.info = replace(self.info, duration=self._splices.duration)
        self.origin = min(zero, first[0]) if first_time is None else first[0]
        self.is_cut = start is not None or end is not None
        self._selected = _until(selected, last_time)

    def _decode_from(self, expected: Fraction | None) -> Iterator[TimedFrame]:
        """Decode from a keyframe at or before `wanted` (file time), or from the beginning."""
        self._splices = splices_of(self._container, self.path)
        # Times say nothing about places where the clock steps back, nor where the container has decoding times alone.
        is_sought = expected is not None and not self._splices and str(self.path) != "-"
        if is_sought and not _lacks_times(self._container, containers.find_video(self._container, self.path)):
            assert expected is not None
            timed = self._decode(seek=expected)
            first = next(timed, None)
            if first is not None and first[0] <= expected:
                return chain([first], timed)
            # The seek landed late (some formats have no index) or failed: read from the beginning instead.
            self._container.close()
            self._container = containers.open_container(self.path)
        return self._decode(seek=None)

    def _decode(self, seek: Fraction | None) -> Iterator[TimedFrame]:
        self._stream = containers.find_video(self._container, self.path)
        self._damage = Damage()
        self._claimed = containers.exact_packet_count(self._container, self._stream) if seek is None else None
        if seek is not None:
            try:
                self._container.seek(int(seek / containers.time_base(self._stream)), stream=self._stream)
            except (av.error.FFmpegError, OverflowError):
                return iter(())
        decoding: deque[int] | None = deque() if _lacks_times(self._container, self._stream) else None
        clock = PacketClock(self._container, self.path) if self._splices else None
        frames = decode_frames(self._container, self._stream, self._damage, decoding, clock)
        if decoding is not None:
            frames = _in_decoding_times(frames, decoding)
        first = next(frames, None)
        if first is None:
            return iter(())
        self._interlaced = is_interlaced(self._stream, first)
        frames = chain([first], frames)
        if self._deinterlace:
            frames = deinterlace(frames, containers.time_base(self._stream))
        begin = Fraction(0)
        if first.pts is None and seek is None:
            begin = containers.untimed_begin(self.path, self._stream.index)
        tick = containers.time_base(self._stream)
        latest = containers.stated_end(self._container, self._stream, self._splices.duration)
        timed = plausible_times(_stamped(frames, self._stream), latest)
        return self._with_durations(repair_times(timed, tick, self.problems, begin))

    def _with_durations(self, timed: Iterator[tuple[Fraction, tuple[Fraction, av.VideoFrame]]]) -> Iterator[TimedFrame]:
        """Each frame lasts until the next one; the last until its track ends or as long as its packet said."""
        held = next(timed, None)
        while held is not None:
            following = next(timed, None)
            time, (nominal, frame) = held
            if following is not None:
                duration = following[0] - time
            else:
                end = containers.track_end(self._container, self._stream)
                whole = self._claimed is None or self._damage.packets >= self._claimed
                duration = end - time if whole and end is not None and end > time else nominal
            yield time, duration, frame
            held = following


def _lacks_times(container: InputContainer, stream: av.VideoStream) -> bool:
    """Return whether the container has decoding times but no presentation times, and the two differ: AVI."""
    reordered = stream.codec_context.name in ("h264", "hevc") and stream.codec_context.has_b_frames
    return container.format.name == "avi" and reordered


def _in_decoding_times(frames: Iterator[av.VideoFrame], decoding: deque[int]) -> Iterator[av.VideoFrame]:
    """The first frame shown gets the first packet's time, and so on: as many are shown as are decoded, evenly."""
    for frame in frames:
        frame.pts = decoding.popleft() if decoding else None
        yield frame


def _stamped(
    frames: Iterator[av.VideoFrame], stream: av.VideoStream
) -> Iterator[tuple[Fraction | None, Fraction, tuple[Fraction, av.VideoFrame]]]:
    """(time as stored or None, nominal duration, (nominal duration, frame)) of each frame."""
    tick = containers.time_base(stream)
    fallback = 1 / containers.nominal_rate(stream)
    for frame in frames:
        own_tick = frame.time_base or tick
        nominal = frame.duration * own_tick if frame.duration > 0 else fallback
        time = frame.pts * own_tick if frame.pts is not None else None
        yield time, nominal, (nominal, frame)


def _until(timed: Iterator[TimedFrame], last_time: Fraction | None) -> Iterator[TimedFrame]:
    for item in timed:
        time, duration, frame = item
        if last_time is not None and time >= last_time:
            return
        yield time, duration if last_time is None else min(duration, last_time - time), frame
