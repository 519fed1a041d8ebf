"""Draws docs/moving.webp: a clip as it is and as `safa upscale` makes it, divided by a line that wanders.

Run it from the repository's root with a clip that was not trained on: python docs/moving.py CLIP START FRAMES
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from safa.checkpoint import DEFAULT, with_detail
from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import Video
from safa.options import DETAIL
from safa.upscaler.upscaler import load
from safa.video.pictures import bicubic

WIDTH, HEIGHT = 576, 320
MILLISECONDS = 40


def main(clip: Path, start: int, count: int) -> None:
    """Every second frame is the input, reduced to a quarter; half the frame rate and bicubic on the left."""
    taken = itertools.islice(Video(clip.stem, clip).frames(), start, start + count)
    inputs = [reduce_quarter(middle(frame)) for frame in taken][::2]
    made = list(load(with_detail(DEFAULT, DETAIL)).stream(inputs, 2))  # what the clip gets by itself
    shown = []
    for number, after in enumerate(made):
        before = bicubic(inputs[number // 2], (HEIGHT, WIDTH))
        place = round(WIDTH * (0.5 + 0.3 * np.sin(2 * np.pi * number / len(made))))
        picture = np.concatenate((before[:, :place], after[:, place:]), axis=1)
        picture[:, place - 1 : place + 1] = 255
        shown.append(PillowImage.fromarray(picture))
    target = Path(__file__).with_name("moving.webp")
    shown[0].save(target, save_all=True, append_images=shown[1:], duration=MILLISECONDS, loop=0, quality=70, method=6)
    print(target, target.stat().st_size)


def middle(frame: Image) -> Image:
    """The part that is shown."""
    top, left = (frame.shape[0] - HEIGHT) // 2, (frame.shape[1] - WIDTH) // 2
    return np.ascontiguousarray(frame[top : top + HEIGHT, left : left + WIDTH])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
