"""Real motion: random windows from reels of consecutive frames.

Most available clips are compressed, so they are scaled down before they serve as high-resolution truth: the fewer
bits per pixel was coded with, the more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.scene import Image, Scene
from safa.data.sequences import FrameSequence, Video
from safa.errors import SafaError
from safa.video.file_source import VideoReader

# Mean absolute difference (of 255) between the ends of a window below which there is nothing to learn, a still picture,
# and between neighbouring frames above which there is a scene cut.
LEAST_CHANGE, MOST_CHANGE = 0.7, 50.0
LEAST_FRAMES = 3
# What a folder's clip may take of the memory.
MOST_FRAMES = 240
# Of a video's frames: compressed ones that are larger are mostly softer, too.
LONGEST_SIDE = 800


class Reel(Protocol):
    """Consecutive frames of one scene that can be read quickly."""

    @property
    def name(self) -> str:
        """Name of the clip that it was cut from."""

    @property
    def count(self) -> int:
        """Number of frames."""

    def pick(self, indices: Sequence[int]) -> list[Image]:
        """Return the frames with these numbers, which ascend."""

    def pick_taught(self, indices: Sequence[int]) -> list[Image] | None:
        """Return the teacher's pictures of these frames; None if there are none."""


@dataclass(frozen=True)
class Clip:
    """A reel held in memory."""

    name: str
    images: NDArray[np.uint8]  # N,H,W,3

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.images)

    def pick(self, indices: Sequence[int]) -> list[Image]:
        """Return the frames with these numbers."""
        return [self.images[index] for index in indices]

    def pick_taught(self, indices: Sequence[int]) -> list[Image] | None:
        """None: the teacher's pictures are kept in packs."""
        return None


@dataclass(frozen=True)
class Spans:
    """Distances between neighbouring input frames, in source frames, and their probabilities."""

    lengths: tuple[int, ...] = (2, 3, 4, 6, 8)
    shares: tuple[float, ...] = (0.45, 0.15, 0.2, 0.1, 0.1)

    def __post_init__(self) -> None:
        if not self.lengths or len(self.lengths) != len(self.shares) or min(self.lengths) < 2 or min(self.shares) < 0:
            raise SafaError("The spans of the training windows must be 2 or more frames each, with one share for each.")
        if sum(self.shares) <= 0:
            raise SafaError("The shares of the spans are all 0; give at least one of them a share.")

    def draw(self, frames: int, rng: np.random.Generator) -> int:
        """Draw a span that fits into ``frames`` consecutive frames, or the longest possible one if none does."""
        fitting = [(length, share) for length, share in zip(self.lengths, self.shares, strict=True) if length < frames]
        total = sum(share for _, share in fitting)
        if not total:
            return frames - 1
        return int(rng.choice([length for length, _ in fitting], p=[share / total for _, share in fitting]))


def scaled_frames(sequence: FrameSequence) -> Iterator[Image]:
    """Yield the frames of ``sequence`` at the size at which they can serve as truth.

    Videos are scaled down by what their bit rate calls for (0.5 to 0.75), and to ``LONGEST_SIDE`` at most; folders of
    pictures are left as they are.
    """
    if not isinstance(sequence, Video):
        yield from sequence.frames()
        return
    scale = video_scale(sequence)
    for frame in sequence.frames():
        height, width = frame.shape[:2]
        size = (round(width * scale / 8) * 8, round(height * scale / 8) * 8)
        yield np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def video_scale(video: Video) -> float:
    """Return the factor by which a compressed clip must shrink: 0.5 below 0.2 bits per pixel, 0.6 below 0.35, else
    0.75; more where its longer side would exceed ``LONGEST_SIDE``.
    """
    with VideoReader(video.path) as reader:
        info = reader.info
    pixels = float(info.duration or 1) * float(info.average_rate or 30) * info.width * info.height
    bits = video.path.stat().st_size * 8 / max(1.0, pixels)
    scale = 0.5 if bits < 0.2 else 0.6 if bits < 0.35 else 0.75
    return min(scale, LONGEST_SIDE / max(info.width, info.height))


def load_clip(sequence: FrameSequence) -> Clip:
    """Hold the first ``MOST_FRAMES`` scaled frames of a sequence in memory."""
    frames = list(itertools.islice(scaled_frames(sequence), MOST_FRAMES))
    if len({frame.shape for frame in frames}) > 1:
        raise SafaError(f"The frames of {sequence.name} differ in size; those of a clip must be equally large.")
    if len(frames) < LEAST_FRAMES:
        raise SafaError(f"The clip {sequence.name} has only {len(frames)} frames; it needs {LEAST_FRAMES}.")
    return Clip(sequence.name, np.stack(frames))


def longest_span(count: int, frames: int) -> int:
    """Return the largest distance in source frames between neighbours of ``frames`` inputs in a reel of ``count``."""
    return (count - 1) // (frames - 1)


def draw_window(
    reels: Sequence[Reel],
    side: int,
    spans: Spans,
    rng: np.random.Generator,
    frames: int = 2,
    with_taught: bool = False,
) -> Scene:
    """Return a random window of a random reel, cropped at random to at most ``side`` pixels a side.

    Windows that hardly move or that contain a cut are drawn again.

    Args:
        reels: each long enough for a time between neighbouring frames (a ``longest_span`` of at least 2).
        frames: of the window, the one between two of them not counted.
        with_taught: bring the teacher's pictures too.
    """
    scene = None
    for _ in range(8):
        reel = reels[int(rng.integers(len(reels)))]
        span = spans.draw(longest_span(reel.count, frames) + 1, rng)
        first = int(rng.integers(reel.count - span * (frames - 1)))
        middle = int(rng.integers(1, span))
        pair = int(rng.integers(frames - 1))
        numbers = [first + span * k for k in range(frames)]
        numbers.insert(pair + 1, numbers[pair] + middle)
        images = reel.pick(numbers)
        height, width = images[0].shape[:2]
        rows, columns = min(side, height), min(side, width)
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        place = slice(top, top + rows), slice(left, left + columns)
        images = [image[place] for image in images]
        target = images.pop(pair + 1)
        scene = Scene(images, target, middle / span, pair)
        steps = [_change(a, b) for a, b in itertools.pairwise(images)]
        if _change(images[0], images[-1]) > LEAST_CHANGE and max(steps) < MOST_CHANGE:
            break
    assert scene is not None
    if with_taught:
        pictures = reel.pick_taught(numbers)
        if pictures is None:
            raise SafaError("The data hold no pictures of a teacher: pack them with 'safa pack --teacher'.")
        pictures = [picture[place] for picture in pictures]
        taught = pictures.pop(pair + 1)
        scene.taught = pictures, taught
    return scene


def _change(first: Image, second: Image) -> float:
    return float(np.abs(first.astype(np.int16) - second).mean())


# Search for the windows of a clip worth packing: sharp and moving, without cuts and repeated frames.

# Mean absolute Laplacian (of 255 grey levels) below which a place counts as blurred or empty.
LEAST_SHARPNESS = 1.2
# A step between two frames this many times the window's median step, and this large at least, is a cut.
CUT_RATIO, CUT_LEAST = 3.5, 10.0
# A step below this part of the median is a repeated frame, as frame-rate conversion leaves it.
REPEATED = 0.15
# Pixels along a side of a frame, at least.
SMALLEST = 32
# Motion beyond this change per window counts no further: otherwise flicker would be preferred to motion.
ENOUGH_CHANGE = 12.0


@dataclass(frozen=True)
class Candidate:
    """A window that may go into the pack."""

    start: int
    top: int
    left: int
    frames: list[Image]
    sharpness: float
    change: float

    @property
    def score(self) -> float:
        """Detail counts in full, motion with diminishing returns."""
        return self.sharpness * min(self.change, ENOUGH_CHANGE) ** 0.5


def find_candidates(sequence: FrameSequence, count: int, side: int) -> Iterator[Candidate]:
    """Return all windows of a clip that are worth packing, in the clip's order.

    Args:
        count: frames of a window; a clip that is shorter as a whole makes one shorter window.
        side: of a window in pixels.
    """
    frames = scaled_frames(sequence)
    first = next(frames, None)
    if first is None:
        return
    if min(first.shape[:2]) < SMALLEST:
        raise SafaError(
            f"The frames of {sequence.name} are {first.shape[1]}x{first.shape[0]} pixels after they were scaled down: "
            f"too small to train on, {SMALLEST} is the least. Remove it from the training data."
        )
    frames = itertools.chain([first], frames)
    for chunk in itertools.count():
        run = list(itertools.islice(frames, count))
        # Published septuplets are shorter than a window; the end of a longer clip does not make a short one.
        if len(run) < LEAST_FRAMES or (chunk > 0 and len(run) < count):
            return
        if _runs_smoothly(run):
            yield from _places(run, chunk * count, side)


def _runs_smoothly(run: list[Image]) -> bool:
    """Neither a cut nor a repeated frame among consecutive frames."""
    small = [cv2.resize(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), None, fx=0.25, fy=0.25) for frame in run]
    steps = [float(cv2.absdiff(a, b).mean()) for a, b in itertools.pairwise(small)]
    median = float(np.median(steps))
    is_cut = max(steps) > max(CUT_RATIO * median, CUT_LEAST)
    return not is_cut and min(steps) > REPEATED * median


def _places(run: list[Image], start: int, side: int) -> Iterator[Candidate]:
    """Return the best windows of a run of frames that do not overlap."""
    height, width = run[0].shape[:2]
    rows, columns = min(side, height // 8 * 8), min(side, width // 8 * 8)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (run[0], run[len(run) // 2], run[-1])]
    detail = cv2.integral(np.abs(cv2.Laplacian(grey[1], cv2.CV_32F)))
    change = cv2.integral(cv2.absdiff(grey[0], grey[2]).astype(np.float32))
    found = []
    for top in sorted({*range(0, height - rows + 1, max(8, rows // 2)), height - rows}):
        for left in sorted({*range(0, width - columns + 1, max(8, columns // 2)), width - columns}):
            sharpness, moved = (_mean(table, top, left, rows, columns) for table in (detail, change))
            if sharpness > LEAST_SHARPNESS and LEAST_CHANGE < moved < MOST_CHANGE:
                found.append(Candidate(start, top, left, [], sharpness, moved))
    taken: list[Candidate] = []
    for place in sorted(found, key=lambda candidate: -candidate.score):
        if all(abs(place.top - one.top) >= rows or abs(place.left - one.left) >= columns for one in taken):
            taken.append(place)
            near = slice(place.top, place.top + rows), slice(place.left, place.left + columns)
            frames = [np.ascontiguousarray(frame[near]) for frame in run]
            yield Candidate(start, place.top, place.left, frames, place.sharpness, place.change)


def _mean(table: NDArray[Any], top: int, left: int, rows: int, columns: int) -> float:
    """Mean over a rectangle from its integral image."""
    bottom, right = top + rows, left + columns
    total = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return float(total / (rows * columns))
