"""Small moving pictures, and files of them, for the tests here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from safa.data.scene import Image
from tests.media import write_video


def moving(count: int, height: int = 48, width: int = 64, step: float = 1.0) -> list[Image]:
    """Frames of a smooth pattern that moves ``step`` pixels to the right from one frame to the next."""
    y, x = np.mgrid[0:height, 0:width].astype(float)

    def frame(shift: float) -> Image:
        waves = [np.sin((x - shift) / 5 + y / 9), np.sin((x - shift) / 7 - y / 6), np.cos((x - shift + y) / 8)]
        return np.rint(127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)

    return [frame(step * index) for index in range(count)]


def save_pictures(folder: Path, frames: Sequence[Image], pattern: str = "{}.png") -> Path:
    """Write ``frames`` as ``folder/0.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        PillowImage.fromarray(frame).save(folder / pattern.format(index))
    return folder


def save_video(path: Path, frames: Sequence[Image], pixel_format: str = "bgr0") -> Path:
    """Write ``frames`` losslessly (FFV1)."""
    return write_video(path, frames, time_base=Fraction(1, 24), codec="ffv1", pixel_format=pixel_format)


@dataclass(frozen=True)
class Held:
    """A sequence that is already in memory."""

    name: str
    frames: Sequence[Image]

    def count(self) -> int:
        return len(self.frames)

    def read(self, windows: Sequence[range]) -> Iterator[tuple[Image, ...]]:
        for window in windows:
            yield tuple(self.frames[window[0] : window[-1] + 1])
