"""Subtitles and logos before scenes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.data_fixtures import write_training_data

from safa.data.dataset import SampleSettings, TrainingData, open_material, validation_settings
from safa.data.graphics import Graphic, draw_graphics
from safa.data.scene import Scene

SIZE = 96


def scene_of(colour: int = 100) -> Scene:
    frames = [np.full((SIZE, SIZE, 3), colour, np.uint8) for _ in range(3)]
    return Scene(frames, frames[0].copy(), 0.25, 1)


def test_what_stands_still_is_the_same_in_all_frames_and_what_scrolls_is_not() -> None:
    still = moving = 0
    for seed in range(60):
        scene = scene_of()
        made = draw_graphics(scene, np.random.default_rng(seed))
        assert all((frame == 100).all() for frame in scene.frames)  # the originals stay as they are
        assert [frame.shape for frame in (*made.frames, made.target)] == [(SIZE, SIZE, 3)] * 4
        assert made.flow is None
        equal = [np.array_equal(made.target, frame) for frame in made.frames]
        still += all(equal) and bool((made.target != 100).any())
        moving += not any(equal)
    assert still > 20
    assert moving > 5


def test_a_graphic_is_at_its_place_at_every_time() -> None:
    stamp = np.full((4, 6, 4), 255, np.uint8)
    graphic = Graphic(stamp, (10.0, -2.0), (8.0, 4.0))
    for time, (top, bottom, left) in {0.0: (0, 2, 10), 0.5: (0, 4, 14), 2.0: (6, 10, 26), 50.0: (0, 0, 0)}.items():
        made = graphic.over(np.zeros((SIZE, SIZE, 3), np.uint8), time)
        expected = np.zeros_like(made)
        expected[top:bottom, left : left + 6] = 255
        assert np.array_equal(made, expected), time


def test_half_opaque_is_half_way() -> None:
    stamp = np.zeros((4, 4, 4), np.uint8)
    stamp[..., 0], stamp[..., 3] = 200, 128
    made = Graphic(stamp, (0.0, 0.0)).over(np.full((8, 8, 3), 100, np.uint8), 0.0)
    assert made[0, 0].tolist() == [150, 50, 50]
    assert made[7, 7].tolist() == [100, 100, 100]


@pytest.mark.parametrize("frames", [2, 3])
def test_samples_have_them_as_often_as_asked_for_and_validation_never(frames: int, tmp_path: Path) -> None:
    given = open_material(write_training_data(tmp_path / "data"), 0.0)
    plain = SampleSettings(frames=frames, patch=64)
    some = SampleSettings(frames=frames, patch=64, graphics=0.5)
    one, other = (TrainingData(given.train, settings, 1, 24) for settings in (plain, some))
    changed = [not bool((one[k].truths == other[k].truths).all()) for k in range(24)]
    assert 3 < sum(changed) < 22
    assert validation_settings(some, given.train).graphics == 0
