"""Single pictures on disk."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from safa.pictures import load_picture

PATTERN = np.zeros((24, 40, 3), np.uint8)
PATTERN[:8, :16] = (250, 40, 30)  # another colour in every corner, none of equal size
PATTERN[:6, 30:] = (30, 220, 60)
PATTERN[18:, :10] = (20, 60, 240)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_pictures_are_read_the_way_up_that_a_viewer_shows_them(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photograph{suffix}"
    Image.fromarray(PATTERN).save(path, exif=exif)
    with Image.open(path) as picture:
        shown = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"), int)
    found = load_picture(path)
    assert found.shape == shown.shape
    assert np.abs(found - shown).mean() < 3  # decoders of lossy pictures round differently
    assert found.flags.c_contiguous


@pytest.mark.parametrize("channels", [1, 4])
def test_depth_and_transparency_are_kept(tmp_path: Path, channels: int) -> None:
    picture = np.arange(6 * 8 * channels, dtype=np.uint16).reshape(6, 8, channels) * 300
    cv2.imwrite(str(tmp_path / "deep.png"), picture)
    found = load_picture(tmp_path / "deep.png")
    assert (found.shape, found.dtype) == ((6, 8, max(channels, 3)), np.uint16)
    assert np.array_equal(found[..., 0], picture[..., 2 if channels == 4 else 0])
