"""A tiny folder of training data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.media import write_clip


def write_training_data(folder: Path) -> Path:
    """One clip of 12 frames and one photograph, both textured."""
    random = np.random.default_rng(0)
    noise = cv2.resize(random.integers(0, 256, (24, 32, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "photo.png"), noise)
    write_clip(folder / "clip.mp4", frames=12, sound=False, size=(160, 128))
    return folder
