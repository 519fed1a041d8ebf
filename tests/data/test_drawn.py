"""Drawn scenes: the same every time, held poses, truth between frames."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from safa.data.dataset import SampleSettings, TrainingData, validation_settings
from safa.data.drawn import Drawing, Figure, FigurePart, draw_drawing, draw_drawn_scene
from safa.data.material import Split
from safa.data.synthetic import CameraPath, Still
from safa.errors import SafaError

SQUARE = np.array([[-8, -8], [8, -8], [8, 8], [-8, 8]], np.float64)
STILL_CAMERA = CameraPath(np.zeros(6), np.zeros(6), np.zeros(6))


def square(hold: int = 1, width: float = 1.0) -> Drawing:
    """A black square that moves 4 pixels a frame to the right over a background of gray 100."""
    part = FigurePart(SQUARE, (0, 0, 0), None, width)
    figure = Figure([part], (20.0, 32.0), (4.0, 0.0), cycle=0.0, growth=0.0, hold=hold)
    return Drawing(np.full((96, 96, 3), 100, np.uint8), STILL_CAMERA, 64, 5, [figure])


def centre(frame: np.ndarray) -> float:
    darkness = (100 - frame[..., 0].astype(float)).sum(axis=0)
    return float((darkness * np.arange(64)).sum() / darkness.sum())


@pytest.mark.parametrize("time", [0.0, 0.5, 1.0, 2.25])
def test_figures_are_where_their_motion_puts_them(time: float) -> None:
    assert centre(square().frame(time)) == pytest.approx(20 + 4 * time, abs=0.1)


def test_a_pose_is_held_between_its_frames_and_moves_between_poses() -> None:
    drawing = square(hold=2)
    assert [round(centre(drawing.frame(k))) for k in range(5)] == [20, 20, 28, 28, 36]
    assert np.array_equal(drawing.frame(0.5), drawing.frame(0))
    assert centre(drawing.frame(1.5)) == pytest.approx(24, abs=0.1)


def test_scenes_depend_on_the_seed_alone() -> None:
    stills = (Still.from_image("a", np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)),)
    for seed in range(6):
        first, again = (draw_drawn_scene(stills, 64, 3, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(first.target, again.target)
        assert all(np.array_equal(a, b) for a, b in zip(first.frames, again.frames, strict=True))
        assert {frame.shape for frame in (*first.frames, first.target)} == {(64, 64, 3)}
        drawing = draw_drawing(stills, 64, 3, np.random.default_rng(seed))
        for number, frame in enumerate(first.frames):
            assert np.array_equal(frame, drawing.frame(number))
            assert frame.std() > 0


def test_samples_of_drawn_scenes() -> None:
    split = Split(stills=(Still.from_image("flat", np.full((200, 200, 3), 128, np.uint8)),))
    settings = SampleSettings(frames=3, patch=64, drawn=1.0, with_prior=False)
    sample = TrainingData(split, settings, seed=1, length=4)[2]
    assert sample.truths.shape == (3, 3, 64, 64)
    assert sample.truths.std() > 0
    none = TrainingData(split, dataclasses.replace(settings, drawn=0.0), seed=1, length=4)[2]
    assert none.truths.std() < 0.01
    assert validation_settings(settings, split).drawn == 1
    with pytest.raises(SafaError, match="set drawn to 0"):
        SampleSettings(frames=2, drawn=0.5)
