"""Single pictures on disk."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from safa.errors import MediaError
from safa.video.file_source import VideoReader
from safa.video.info import ReadOptions
from safa.video.pictures import load_picture, side_by_side
from tests.video.making import convert, make_video, picture
from tests.video.test_matrix import turned

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


def shown_numbers(both: np.ndarray) -> list[int]:
    """Which of ``picture``'s frames the two halves of a before/after picture show."""
    width = (both.shape[1] - 8) // 2
    halves = (both[::4, :width:4].astype(int), both[::4, width + 8 :: 4].astype(int))
    return [min(range(24), key=lambda number: float(np.abs(picture(number) - half).mean())) for half in halves]


@pytest.mark.parametrize(
    ("options", "at", "number"),
    [
        ({}, None, 12),
        ({}, "0.25", 6),
        ({"slow": Fraction(2)}, None, 12),
        ({"slow": Fraction(2)}, "0.25", 6),
        ({"start": Fraction(1, 2)}, "0.75", 18),
        ({"start": Fraction(1, 2)}, None, 18),
        ({"start": Fraction(1, 4), "slow": Fraction(1, 2)}, "0.5", 12),
    ],
)
def test_before_and_after_show_one_moment(
    tmp_path: Path, options: dict[str, Fraction], at: str | None, number: int
) -> None:
    source = make_video(tmp_path / "in.mp4", range(24))
    start, slow = options.get("start"), options.get("slow", Fraction(1))
    convert(source, tmp_path / "out.mp4", scale=4, selection=(start, None), slow=slow)
    moment = Fraction(at) if at else None
    both = side_by_side(source, tmp_path / "out.mp4", moment, slow, ReadOptions(start=start))
    assert shown_numbers(both) == [number, number]


def test_a_moment_that_the_result_does_not_show_is_refused(tmp_path: Path) -> None:
    source, result = make_video(tmp_path / "in.mp4", range(24)), tmp_path / "out.mp4"
    convert(source, result, scale=4, selection=(Fraction(1, 4), Fraction(1, 2)))
    for at in (Fraction(1, 10), Fraction(9, 10)):
        with pytest.raises(MediaError, match=r"before the start of the result|ends before 0\.9 s"):
            side_by_side(source, result, at, options=ReadOptions(start=Fraction(1, 4)))


def test_before_and_after_of_a_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(6):
        Image.fromarray(picture(number)).save(tmp_path / "in" / f"{number}.png")
    convert(tmp_path / "in", tmp_path / "out.mp4", scale=4, source_fps=Fraction(24))
    options = ReadOptions(source_fps=Fraction(24))
    both = side_by_side(tmp_path / "in", tmp_path / "out.mp4", Fraction(3, 24), options=options)
    assert shown_numbers(both) == [3, 3]


def test_before_and_after_of_a_phone_held_upright(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", range(4), configure=turned)
    convert(source, tmp_path / "out.mp4", scale=4)
    assert side_by_side(source, tmp_path / "out.mp4").shape == (4 * 64, 2 * 4 * 48 + 8, 3)


def test_before_and_after_of_transparent_footage(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mov", range(4), codec="png", pixel_format="rgba")
    convert(source, tmp_path / "out.mp4", scale=4)
    assert side_by_side(source, tmp_path / "out.mp4").shape == (4 * 48, 2 * 4 * 64 + 8, 3)


def test_pictures_of_floating_point_are_16_bits(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 6 * 8 * 3, dtype=np.float32).reshape(6, 8, 3)
    cv2.imwrite(str(tmp_path / "float.pfm"), values)
    with VideoReader(tmp_path / "float.pfm") as reader:
        (frame,) = reader.frames()
    assert (frame.image.shape, frame.image.dtype) == ((6, 8, 3), np.uint16)
    assert np.abs(frame.image[..., ::-1] / 65535 - values).max() < 0.01
