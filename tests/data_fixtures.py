"""A tiny folder of training data."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from safa.data.pack import PackSettings, pack
from tests.media import write_clip


def texture(seed: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
    """A smooth random picture, ``height,width,3`` uint8."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def write_training_data(folder: Path) -> Path:
    """One clip of 12 frames and one photograph, both textured."""
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "photo.png"), texture())
    write_clip(folder / "clip.mp4", frames=12, sound=False, size=(160, 128))
    return folder


def write_frames(folder: Path, count: int = 10, speed: int = 3, seed: int = 0, side: int = 96) -> Path:
    """A folder of numbered frames that show a texture passing by."""
    folder.mkdir(parents=True, exist_ok=True)
    picture = texture(seed, side + speed * count + 10, side)
    for index in range(count):
        left = speed * index
        cv2.imwrite(str(folder / f"{index:04}.png"), picture[:, left : left + side])
    return folder


def write_pack(folder: Path) -> Path:
    """A pack of two moving clips, one of them held out."""
    for k in range(2):
        write_frames(folder / "clips" / str(k), seed=k)
    pack(folder / "clips", folder / "data.pack", PackSettings(side=96, held_out=0.5))
    return folder / "data.pack"
