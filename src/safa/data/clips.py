"""Real motion: random windows from reels of consecutive frames.

Most available clips are compressed, so they are scaled down before they serve as high-resolution truth: the fewer
bits per pixel was coded with, the more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.scene import Image, Scene
from safa.data.sequences import FrameSequence, Video
from safa.errors import SafaError
from safa.video.read.reader import VideoReader

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
        """The frames with these numbers, which ascend."""

    def pick_taught(self, indices: Sequence[int]) -> list[Image] | None:
        """The teacher's pictures of these frames; None where there are none."""


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
        """The frames with these numbers."""
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
        """A span that fits into ``frames`` consecutive frames; the longest possible one if none does."""
        fitting = [(length, share) for length, share in zip(self.lengths, self.shares, strict=True) if length < frames]
        total = sum(share for _, share in fitting)
        if not total:
            return frames - 1
        return int(rng.choice([length for length, _ in fitting], p=[share / total for _, share in fitting]))


def scaled_frames(sequence: FrameSequence) -> Iterator[Image]:
    """The frames of ``sequence`` at the size at which they can serve as truth.

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
    """By how much a compressed clip must shrink: 0.5 below 0.2 bits per pixel, 0.6 below 0.35, else 0.75; more where
    its longer side would exceed ``LONGEST_SIDE``."""
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
    """A random window of a random reel, cropped at random to at most ``side`` pixels a side.

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
