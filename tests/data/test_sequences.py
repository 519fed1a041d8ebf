"""Reading ground truth from pictures and from videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.footage import moving, save_pictures, save_video

from safa.data.sequences import Pictures, Video, find_pictures
from safa.errors import SafaError
from safa.video.pictures import to_8_bits


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    save_pictures(tmp_path, moving(12))
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [path.name for path in find_pictures(tmp_path)] == [f"{index}.png" for index in range(12)]


def test_pictures_lose_what_has_no_whole_low_resolution_pixel(tmp_path: Path) -> None:
    frames = moving(2, height=35, width=42)
    sequence = Pictures("x", find_pictures(save_pictures(tmp_path, frames)))
    (window,) = sequence.read([range(2)])
    assert np.array_equal(window, np.stack(frames)[:, :32, :40])


def test_a_video_gives_the_same_windows_as_its_pictures(tmp_path: Path) -> None:
    frames = moving(9)
    video = Video("x", save_video(tmp_path / "x.mkv", frames))
    pictures = Pictures("x", find_pictures(save_pictures(tmp_path / "x", frames)))
    assert video.count() == pictures.count() == 9
    spans = [range(3), range(2, 5), range(2, 6), range(6, 9)]  # that share frames, of other lengths, and apart
    for ours, theirs, span in zip(video.read(spans), pictures.read(spans), spans, strict=True):
        assert len(ours) == len(span)
        assert np.array_equal(ours, theirs)


def test_a_deep_video_is_rounded_to_8_bits(tmp_path: Path) -> None:
    frames = moving(2)
    video = Video("x", save_video(tmp_path / "x.mkv", frames, pixel_format="gbrp10le"))
    (window,) = video.read([range(2)])
    assert np.abs(np.stack(window).astype(int) - np.stack(frames)).max() <= 1


def test_16_bits_are_rounded_to_8() -> None:
    assert to_8_bits(np.array([[[0, 128, 129, 9], [65535, 257, 128 * 257, 9]]], np.uint16)).tolist() == [
        [[0, 0, 1], [255, 1, 128]]
    ]


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path, moving(1))
    (tmp_path / "1.png").write_bytes(b"not a picture")
    with pytest.raises(SafaError, match="not a picture that can be read"):
        list(Pictures("x", find_pictures(tmp_path)).read([range(2)]))


def test_pictures_of_different_size_are_refused(tmp_path: Path) -> None:
    save_pictures(tmp_path, [moving(1)[0], moving(1, width=80)[0]])
    with pytest.raises(SafaError, match="differ in size"):
        list(Pictures("x", find_pictures(tmp_path)).read([range(2)]))
