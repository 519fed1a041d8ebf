"""Small moving pictures, and files of them, for the tests here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as PillowImage

from safa.data.scene import Image


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
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixel_format
        stream.time_base = stream.codec_context.time_base = Fraction(1, 24)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


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
