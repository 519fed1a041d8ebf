"""Traces of earlier processing, measured on luma: block edges of a codec, noise, lines of two fields."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from safa.errors import MediaError
from safa.video import containers
from safa.video.cuts import HEIGHT, WIDTH, Change, with_changes
from safa.video.filters import INTERLACED_ORDERS
from safa.video.sampling import PLACES, claimed_frames, decoded, group_sizes, places_of, runs_at
from safa.video.schedule import DuplicateDetector

Luma = NDArray[np.float32]
BLOCK = 8

# Of each row or column of the second difference; noise of deviation 1 comes out with deviation 6.
IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
MEDIAN_OF_NORMAL = 0.6745  # median of the absolute value, in standard deviations

MOVED = 10.0  # 8-bit steps from one frame to the next that are motion and not noise


class BlockSteps:
    """Luma steps between neighbouring pixels, gathered by their phase in a grid of 8 pixels, over any number of frames
    that share the grid.
    """

    def __init__(self) -> None:
        self._sums = np.zeros((2, BLOCK))
        self._counts = np.zeros((2, BLOCK))

    def add(self, luma: Luma) -> None:
        """Take a frame, H,W."""
        for axis in (0, 1):
            steps = np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis, dtype=np.float64)
            for phase in range(BLOCK):
                self._sums[axis, phase] += steps[phase::BLOCK].sum()
                self._counts[axis, phase] += steps[phase::BLOCK].size

    def blockiness(self) -> float:
        """Mean step across block edges over mean step inside blocks, at the phase where it is largest on each axis; the
        mean of both axes. 1 where there are no blocks, or nothing but one colour.
        """
        ratios = []
        for sums, counts in zip(self._sums, self._counts, strict=True):
            if not counts.all() or sums.sum() == 0:
                continue  # smaller than a block, or flat
            edges = sums / counts
            inside = (sums.sum() - sums) / (counts.sum() - counts)
            ratios.append(float((edges / np.maximum(inside, 0.01)).max()))
        return sum(ratios) / len(ratios) if ratios else 1.0


def noise(luma: Luma) -> float:
    """Standard deviation of the noise in a frame, H,W, in its steps: from the median of Immerkaer's second difference,
    which edges and motion hardly change. Pixels near black and white, where noise is cut off, do not count.
    """
    response = cv2.filter2D(luma, cv2.CV_32F, IMMERKAER)[1:-1, 1:-1]
    middle = luma[1:-1, 1:-1]
    seen = np.abs(response[(middle > 4) & (middle < 251)])
    return float(np.median(seen)) / (6 * MEDIAN_OF_NORMAL) if seen.size else 0.0


def combed(before: Luma, luma: Luma) -> tuple[int, int]:
    """Count, of the pixels of a frame, H,W, that moved since the one before: (how many more stand out between the
    lines above and below, as those of a second field do, than between the columns beside them, as fine patterns do;
    how many moved).
    """
    if min(luma.shape) < 3:
        return 0, 0
    moving = np.abs(luma - before)[1:-1, 1:-1] > MOVED
    lines = int((_between(luma[:, 1:-1]) & moving).sum())
    columns = int((_between(luma[1:-1].T).T & moving).sum())
    return lines - columns, int(moving.sum())


def _between(luma: Luma) -> NDArray[np.bool_]:
    """Return where a line differs from those above and below more than these from each other."""
    above, here, below = luma[:-2], luma[1:-1], luma[2:]
    least = np.minimum(np.abs(here - above), np.abs(here - below))
    between: NDArray[np.bool_] = (
        ((here - above) * (here - below) > 0) & (least > MOVED) & (np.abs(above - below) < least)
    )
    return between


# The quantiser of decoded frames, as the decoder reports it.

# FFmpeg's AVVideoEncParams: the number of blocks, where they begin, the size of each, the kind of scale and the
# quantiser of the whole frame. A block's last number is its difference from that.
HEADER = struct.Struct("=I4xQQii")
MPEG2_SCALE = 2
"""The kind that counts in halves of the usual scale."""

TOLD = {"export_side_data": "venc_params"}
"""Options of a decoder that make it report quantisers."""


def quantiser(frame: av.VideoFrame) -> float | None:
    """Mean over a frame's blocks, on the codec's own scale: H.264 0 to 51, MPEG-2 and MPEG-4 1 to 31, VP9 0 to 255.

    Returns:
        None where the decoder does not report it, or was not opened with ``TOLD``.
    """
    for data in cast(Iterable[SideData], frame.side_data):  # PyAV says it iterates over names, and it does not
        if getattr(data.type, "name", "") != "VIDEO_ENC_PARAMS":
            continue
        raw = bytes(data)
        count, offset, size, kind, base = HEADER.unpack_from(raw)
        change = 0.0
        if count:
            change = float(np.frombuffer(raw, np.int32, count * size // 4, offset).reshape(count, -1)[:, 4].mean())
        return (base + change) / (2 if kind == MPEG2_SCALE else 1)
    return None


# Statistics of a video's pictures from a limited number of its frames, so that it takes seconds for any length.

WHOLE_FRAMES, WHOLE_PIXELS = 750, 400_000_000
"""A video of at most so many frames, and pixels in all of them, is decoded from its beginning to its end; of a longer
one as many are, in parts, to look for cuts.
"""

WIDEST, HIGHEST = 640, 384
"""The middle of a larger frame is measured."""

COMBED = 0.05
"""Share of the moving pixels from which on frames are taken for two fields, though nothing marks them so."""

UNEVEN = Fraction(1, 4)
"""A step from frame to frame that differs by so much of the usual one makes the frame rate variable."""


@dataclass(frozen=True)
class Look:
    """Properties of the frames that were sampled.

    Attributes:
        frames: how many were looked at.
        seconds: how much of the video lies between the first and the last of them.
        bits_per_pixel: bytes of the video's packets times 8, over the pixels of their frames; of all packets of a short
            video, else of whole groups from keyframe to keyframe. Below 0.05 is little for H.264.
        blockiness: mean absolute luma step across the edges of 8x8 blocks over that inside blocks, at the best of the 8
            phases of each axis, mean of both axes. 1 to 1.1 has no blocks; from about 1.2 they are seen.
        codec: of the video, as FFmpeg names its decoder ("h264", "mpeg2video").
        quantiser: how coarsely the encoder rounded, mean over the frames' blocks, on the codec's own scale (H.264 0 to
            51, MPEG-2 and MPEG-4 1 to 31, VP9 0 to 255); None where the decoder does not report it.
        noise: its robust standard deviation in luma steps of 8 bits (0 to 255).
        marked_interlaced: the header, or most of the frames, say that there are two fields in a frame.
        combed: share of the moving pixels, 0 to 1, that stand out between two lines as those of a second field do, less
            those that stand out between two columns.
        repeated: share of the frames, 0 to 1, that repeat the one before.
        variable_rate: whether the time from frame to frame changes.
        cuts: scene cuts in the whole video; None where it is too long to be decoded for that.
        cuts_per_minute: the same for each minute; of a long video roughly, from parts of a few seconds in all.
    """

    frames: int
    seconds: float
    bits_per_pixel: float
    blockiness: float
    codec: str
    quantiser: float | None
    noise: float
    marked_interlaced: bool
    combed: float
    repeated: float
    variable_rate: bool
    cuts: int | None
    cuts_per_minute: float | None

    @property
    def interlaced(self) -> bool:
        """Return whether frames are two fields, marked or seen."""
        return self.marked_interlaced or self.combed > COMBED

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "interlaced": self.interlaced}


def look_at(path: str | Path, frames: int = 48) -> Look:
    """Look at up to ``frames`` frames (a multiple of 8) spread over a video file.

    Raises:
        MediaError: no video, or nothing in it can be decoded.
    """
    path, length = Path(path), max(2, frames // PLACES)
    with containers.open_container(path) as container:
        stream = containers.find_video(container, path)
        # Not by frames: other threads still write the quantisers that FFmpeg hands out then (seen in 1 look of 6).
        stream.thread_type = "SLICE"
        stream.codec_context.options = TOLD
        gathered = _Gathered(stream)
        total, pixels = claimed_frames(container, stream, path), max(1, stream.width * stream.height)
        if total is None or (total <= WHOLE_FRAMES and total * pixels <= WHOLE_PIXELS):
            limit = min(WHOLE_FRAMES, max(frames, WHOLE_PIXELS // pixels)) if total is None else None
            stride = 4 * length if total is None else max(length, total // PLACES)
            is_whole = _sequential(container, stream, gathered, length, stride, limit)
        else:
            places, is_whole = places_of(container, stream), False
            most = min(WHOLE_FRAMES, WHOLE_PIXELS // pixels) // PLACES
            for run in runs_at(container, stream, places, max(length, most)):
                gathered.begin_run()
                for frame in run[:length]:
                    gathered.take(frame)
                gathered.count_cuts(run)
            gathered.sizes = group_sizes(container, stream, places)
        if not gathered.frames:
            raise MediaError(f"{path}: no picture in it can be decoded.")
        return gathered.look(is_whole)


class _Gathered:
    """Statistics that are collected frame by frame."""

    def __init__(self, stream: av.VideoStream) -> None:
        self.frames = 0
        self.sizes: list[int] = []
        self.cuts = 0
        self._searched = Fraction(0)  # seconds in which cuts were counted, of a video that is not decoded whole
        self._small = VideoReformatter()
        self._tick = containers.time_base(stream)
        self._blocks = BlockSteps()
        self._noise: list[float] = []
        self._codec = stream.codec_context.name
        self._quantisers: list[float] = []
        self._header_interlaced = stream.codec_context.field_order in INTERLACED_ORDERS
        self._marked = self._combed = self._moving = self._repeated = self._steps = 0
        self._run_times: list[list[Fraction]] = []
        self._size: tuple[int, int] | None = None
        self.begin_run()

    def begin_run(self) -> None:
        """Mark that the next frame does not follow the last one."""
        self._before: Luma | None = None
        self._repeats = DuplicateDetector()
        self._run_times.append([])

    def take(self, frame: av.VideoFrame) -> None:
        """Measure a frame."""
        size = frame.height, frame.width
        if frame.is_corrupt or size != (self._size or size):
            return
        self._size = size
        luma = _luma(frame)
        self.frames += 1
        reported = quantiser(frame)
        if reported is not None:
            self._quantisers.append(reported)
        self._marked += bool(frame.interlaced_frame)
        if frame.pts is not None:
            self._run_times[-1].append(frame.pts * self._tick)
        share = 1 / max(1, size[1] // WIDEST)
        small = cv2.resize(luma, None, fx=share, fy=share, interpolation=cv2.INTER_AREA) if share < 1 else luma
        is_repeat = self._repeats.is_duplicate(np.repeat(small.astype(np.uint8)[..., None], 3, 2))
        middle = _middle(luma)
        self._blocks.add(middle)
        self._noise.append(noise(middle))
        if self._before is not None:
            self._steps += 1
            self._repeated += is_repeat
            fields, moving = combed(self._before, middle)
            self._combed, self._moving = self._combed + fields, self._moving + moving
        self._before = middle

    def count_cuts(self, run: Iterable[av.VideoFrame]) -> None:
        """Count the cuts between frames that follow each other."""
        times: list[Fraction] = []

        def pictures() -> Iterator[np.ndarray]:
            for frame in run:
                if frame.pts is not None:
                    times.append(frame.pts * self._tick)
                made = self._small.reformat(frame, WIDTH, HEIGHT, "rgb24", interpolation=Interpolation.AREA)
                yield made.to_ndarray()

        self.cuts += sum(change is Change.CUT for _, change in with_changes(pictures(), lambda image: image))
        self._searched += max(times) - min(times) if times else 0

    def look(self, is_whole: bool) -> Look:
        """Return the result; ``is_whole``: every frame of the video was added."""
        assert self._size is not None
        pixels, sizes = self._size[0] * self._size[1], self.sizes
        times = sorted(time for run in self._run_times for time in run)
        minutes = self._searched / 60
        # A few moving pixels are not enough to detect fields.
        enough = self._moving >= 0.002 * pixels * max(1, self._steps)
        return Look(
            frames=self.frames,
            seconds=float(times[-1] - times[0]) if times else 0.0,
            bits_per_pixel=8 * sum(sizes) / (len(sizes) * pixels) if sizes else 0.0,
            blockiness=self._blocks.blockiness(),
            codec=self._codec,
            quantiser=float(np.mean(self._quantisers)) if self._quantisers else None,
            noise=median(self._noise),
            marked_interlaced=self._header_interlaced or 2 * self._marked > self.frames,
            combed=max(0.0, self._combed / self._moving) if enough and self._moving else 0.0,
            repeated=self._repeated / self._steps if self._steps else 0.0,
            variable_rate=_varies(self._run_times, self._tick),
            cuts=self.cuts if is_whole else None,
            cuts_per_minute=float(self.cuts / minutes) if minutes else None,
        )


def _sequential(
    container: InputContainer, stream: av.VideoStream, gathered: _Gathered, length: int, stride: int, limit: int | None
) -> bool:
    """Decode from the beginning, at most ``limit`` frames, and take the first ``length`` of every ``stride``. True: to
    the end.
    """
    number = -1

    def taken() -> Iterator[av.VideoFrame]:
        nonlocal number
        for number, frame in enumerate(decoded(container, stream, gathered.sizes)):
            if number % stride < length and number < PLACES * stride:
                if number % stride == 0 and stride > length:
                    gathered.begin_run()
                gathered.take(frame)
            yield frame
            if number + 1 == limit:
                return

    gathered.count_cuts(taken())
    return limit is None or number + 1 < limit


def _luma(frame: av.VideoFrame) -> Luma:
    """H,W, 0 to 255, with the fractions that deeper pixels have."""
    deep = not frame.format.has_palette and max(part.bits for part in frame.format.components) > 8
    if deep:
        return np.asarray(frame.to_ndarray(format="gray16le"), np.float32) / np.float32(257)
    return np.asarray(frame.to_ndarray(format="gray"), np.float32)


def _middle(luma: Luma) -> Luma:
    height, width = luma.shape
    top, left = max(0, height - HIGHEST) // 2, max(0, width - WIDEST) // 2
    return luma[top : top + HIGHEST, left : left + WIDEST]


def _varies(runs: list[list[Fraction]], tick: Fraction) -> bool:
    steps = [after - before for run in runs for before, after in pairwise(run) if after > before]
    if not steps:
        return False
    usual = median(steps)
    return any(abs(step - usual) > max(usual * UNEVEN, 2 * tick) for step in steps)
