"""Real motion: random windows from video clips held in memory.

Most clips at hand are compressed, so they are scaled down before they serve as high-resolution truth: the fewer
bits a pixel was coded with, the more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.scene import Scene
from safa.errors import SafaError

VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".avi", ".m4v", ".ts"}
# Window lengths in source frames and how often each is drawn: short ones are what doubling a frame rate needs,
# long ones teach large motion.
WINDOW_LENGTHS = (2, 3, 4, 6, 8)
WINDOW_SHARES = (0.45, 0.15, 0.2, 0.1, 0.1)
# Mean absolute difference (of 255) between the ends of a window outside of which there is nothing to learn: a still
# picture, or a scene cut.
LEAST_CHANGE, MOST_CHANGE = 0.7, 50.0


@dataclass(frozen=True)
class Clip:
    """Consecutive frames of one scene."""

    name: str
    frames: NDArray[np.uint8]  # N,H,W,3


def find_clips(folder: Path) -> list[Path]:
    """All video files below ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)


def load_clip(path: Path, most_frames: int = 240, longest_side: int = 800) -> Clip:
    """Decode a clip and scale it down by what its bit rate calls for (0.5 to 0.75).

    Args:
        most_frames: later frames are left out, to bound memory.
        longest_side: in pixels, after scaling.
    """
    frames: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            bits_per_pixel = path.stat().st_size * 8 / max(
                1.0, float((container.duration or 1) / av.time_base) * float(stream.average_rate or 30)
                * stream.width * stream.height
            )  # fmt: skip
            scale = 0.5 if bits_per_pixel < 0.2 else 0.6 if bits_per_pixel < 0.35 else 0.75
            scale = min(scale, longest_side / max(stream.width, stream.height))
            size = (round(stream.width * scale / 8) * 8, round(stream.height * scale / 8) * 8)
            for frame in container.decode(stream):
                smaller = cv2.resize(frame.to_ndarray(format="rgb24"), size, interpolation=cv2.INTER_AREA)
                frames.append(np.asarray(smaller, np.uint8))
                if len(frames) == most_frames:
                    break
    except (av.FFmpegError, IndexError) as error:
        raise SafaError(f"The clip {path} cannot be decoded; remove it from the training data.") from error
    if len(frames) < max(WINDOW_LENGTHS) + 1:
        raise SafaError(f"The clip {path} has only {len(frames)} frames; it needs {max(WINDOW_LENGTHS) + 1}.")
    return Clip(path.stem, np.stack(frames))


def draw_window(clips: list[Clip], side: int, rng: np.random.Generator) -> Scene:
    """A random window of a random clip, cropped at random to at most ``side`` pixels a side.

    Windows that hardly move or that contain a cut are drawn again.
    """
    scene = None
    for _ in range(8):
        clip = clips[rng.integers(len(clips))]
        length = int(rng.choice(WINDOW_LENGTHS, p=WINDOW_SHARES))
        first = int(rng.integers(len(clip.frames) - length))
        middle = int(rng.integers(1, length))
        height, width = clip.frames.shape[1:3]
        rows, columns = min(side, height), min(side, width)
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        window = clip.frames[:, top : top + rows, left : left + columns]
        scene = Scene(window[first], window[first + middle], window[first + length], middle / length)
        if LEAST_CHANGE < np.abs(scene.frame0.astype(np.int16) - scene.frame1).mean() < MOST_CHANGE:
            break
    assert scene is not None
    return scene
