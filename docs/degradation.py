"""Draws docs/degradation.webp: what each part of the degradation does to one low-resolution frame.

Run it from the repository's root: python docs/degradation.py
"""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from safa.data.codec import pass_codec
from safa.data.degrade import Degradation, degrade, sharpen
from safa.data.scene import Image
from safa.data.sequences import Video

ROOT = Path(__file__).parents[1]
NONE = Degradation(blur=0, resize=0, noise=0, jpeg=0, codec=0)
ZOOM = 3
COLUMNS = 4


def panel(picture: Image, title: str, zoom: int = ZOOM) -> Image:
    """The picture enlarged without smoothing, below its title."""
    large = cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
    head = np.full((22, large.shape[1], 3), 255, np.uint8)
    cv2.putText(head, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack((head, large))


def main() -> None:
    """Make all panels from two frames of the sample clip and write the picture."""
    frames = list(islice(Video("hens", ROOT / "samples" / "hens.mp4").frames(), 8))
    frames = [np.asarray(cv2.resize(frame, (384, 216), interpolation=cv2.INTER_AREA)) for frame in frames[::7]]

    def second(settings: Degradation, seed: int = 7) -> Image:
        return degrade(frames, settings, np.random.default_rng(seed))[1]

    clean = second(NONE)
    low = degrade(frames, NONE, np.random.default_rng(7))
    panels = [panel(clean, "clean")]
    panels += [
        panel(second(dataclasses.replace(NONE, **{part: 1.0})), part) for part in ("blur", "resize", "noise", "jpeg")
    ]
    panels += [panel(pass_codec(low, codec, 0.1)[1], codec) for codec in ("h264", "hevc", "mpeg2")]
    panels += [panel(second(Degradation(), seed), f"all, seed {seed}") for seed in (1, 2, 3)]
    panels.append(panel(sharpen(frames[1], 0.5)[27:189, 48:336], "sharpened target", 1))
    rows = [np.hstack(panels[first : first + COLUMNS]) for first in range(0, len(panels), COLUMNS)]
    picture = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(ROOT / "docs" / "degradation.webp"), picture, [cv2.IMWRITE_WEBP_QUALITY, 80])


if __name__ == "__main__":
    main()
