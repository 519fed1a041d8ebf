"""Windows of consecutive frames."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from tests.data_fixtures import texture, write_training_data

from safa.data.clips import Clip, Spans, draw_window
from safa.data.dataset import SampleSettings, TrainingData, collate, open_material, validation_settings
from safa.data.degrade import Degradation
from safa.data.material import Material, Split
from safa.data.scene import augment
from safa.data.synthetic import COARSEST, Film, Still, draw_film
from safa.errors import SafaError
from safa.network.operations import warp

SETTINGS = SampleSettings(frames=4, patch=64)
STILLS = (Still.from_image("a", texture(1, 640, 480)),)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return open_material(write_training_data(tmp_path_factory.mktemp("data") / "train"), held_out=0.0)


def make(material: Material, **changes: object) -> TrainingData:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return TrainingData(material.train, settings, seed=3, length=100)


def counting_clip(frames: int) -> Clip:
    """Every frame is as bright as its number."""
    return Clip(
        "counting", np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, 32, 32, 3))
    )


@pytest.mark.parametrize("still_share", [0.0, 1.0], ids=["clips", "stills"])
@pytest.mark.parametrize("degradation", [None, Degradation(sharpen=0.5)], ids=["clean", "degraded"])
def test_shapes_and_ranges(material: Material, still_share: float, degradation: Degradation | None) -> None:
    data = make(material, still_share=still_share, degradation=degradation, crispness=0.5, motion_blur=0.5)
    batch = collate([data[k] for k in range(3)])
    assert batch.frames.shape == (3, 4, 3, 16, 16)
    assert batch.truths.shape == (3, 4, 3, 64, 64)
    assert batch.between.shape == (3, 3, 64, 64)
    assert batch.prior is not None
    assert batch.prior.shape == (3, 3, 2, 2, 16, 16)
    assert batch.flow is None
    assert ((batch.pair >= 0) & (batch.pair <= 2)).all()
    assert torch.equal(data[1].frames, batch.frames[1])
    if degradation is None:
        reduced = torch.nn.functional.avg_pool2d(batch.truths.flatten(0, 1), 4)
        assert (reduced - batch.frames.flatten(0, 1)).abs().mean() < 0.05


def test_flow_leads_from_frame_to_frame_both_ways(material: Material) -> None:
    data = make(material, still_share=1.0, patch=128)
    along, unmoved = [], []
    for sample in (data[k] for k in range(8)):
        assert sample.prior is not None
        for k in range(3):
            for here, there, way in ((k, k + 1, 0), (k + 1, k, 1)):
                fetched = warp(sample.frames[None, there], sample.prior[None, k, way])
                along.append(float((fetched - sample.frames[here]).abs().mean()))
                unmoved.append(float((sample.frames[there] - sample.frames[here]).abs().mean()))
    assert np.mean(along) < 0.5 * np.mean(unmoved)


def test_the_time_between_lies_where_it_says_also_after_reversal() -> None:
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        scene = augment(draw_window([counting_clip(40)], 32, Spans((4, 6), (0.5, 0.5)), rng, frames=5), rng)
        values = [float(frame[0, 0, 0]) for frame in scene.frames]
        before, after = values[scene.pair], values[scene.pair + 1]
        assert float(scene.target[0, 0, 0]) == pytest.approx(before + scene.t * (after - before))
        assert len(set(np.diff(values))) == 1
        seen |= {f"pair {scene.pair}", after - before}
    assert seen == {"pair 0", "pair 1", "pair 2", "pair 3", -6.0, -4.0, 4.0, 6.0}


def test_windows_with_a_cut_are_drawn_again() -> None:
    images = np.array(counting_clip(30).images)
    images[15:] += 100
    scene = draw_window([Clip("cut", images)], 32, Spans((2,), (1.0,)), np.random.default_rng(1), frames=5)
    assert (
        max(abs(float(a[0, 0, 0]) - float(b[0, 0, 0])) for a, b in zip(scene.frames, scene.frames[1:], strict=False))
        < 9
    )


def test_photographs_are_never_enlarged() -> None:
    for seed in range(30):
        film = Film(STILLS, 64, 7, np.random.default_rng(seed))
        for view in (film.background, *(view for _, view in film.openings)):
            for time in (0.0, 2.5, 6.0):
                scale = np.sqrt(np.linalg.det(view._map(time)[:2, :2]))
                assert 1 - 1e-9 <= scale < 1.2 * COARSEST


def test_motion_is_exact_at_every_time() -> None:
    still = Still.from_image("smooth", cv2.GaussianBlur(texture(3, 640, 480), (0, 0), 5))
    for seed in range(6):
        film = Film((still,), 64, 5, np.random.default_rng(seed))
        film.openings = []
        first, later = film.frame(0), film.frame(2.3)
        there = np.linalg.inv(film.background._map(0)) @ film.background._map(2.3)
        moved = cv2.warpAffine(
            first, there[:2], (64, 64), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
        )
        seen = cv2.warpAffine(np.ones_like(first), there[:2], (64, 64), flags=cv2.WARP_INVERSE_MAP) > 0
        assert np.abs(moved.astype(int) - later)[seen].mean() < 2


def test_openings_move_over_what_lies_behind() -> None:
    film = next(
        film for film in (Film(STILLS, 64, 5, np.random.default_rng(seed)) for seed in range(20)) if film.openings
    )
    opening, view = film.openings[0]
    opening.corners, opening.velocity, opening.softness = (
        np.array([[8.0, 8], [24, 8], [24, 40], [8, 40]]),
        np.array([5.0, 0]),
        0.0,
    )
    film.openings = film.openings[:1]
    for time in (1.0, 2.0):
        left = 8 + 5 * (time - 2)
        inside = (slice(10, 38), slice(int(left) + 2, int(left) + 14))
        assert np.array_equal(film.frame(time)[inside], view.colour(time)[inside])
        outside = (slice(45, 64), slice(0, 64))
        assert np.array_equal(film.frame(time)[outside], film.background.colour(time)[outside])


def test_a_film_depends_on_its_generator_alone() -> None:
    first, again = (draw_film(STILLS, 64, 5, np.random.default_rng(2), blur=1.0) for _ in range(2))
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.target, again.target)
    small = (Still.from_image("small", texture(1, 40, 50)),)
    assert draw_film(small, 64, 5, np.random.default_rng(2)).target.shape == (64, 64, 3)


def test_clips_too_short_for_a_window_are_left_out_or_named(material: Material) -> None:
    long, short = counting_clip(9), counting_clip(8)
    settings = dataclasses.replace(SETTINGS, frames=5, patch=32, still_share=0.0)
    assert TrainingData(Split((short, long), ()), settings, 1, 1).reels == (long,)
    with pytest.raises(SafaError, match="clips of 9, and the longest has 8: pack with --frames 9"):
        TrainingData(Split((short,), material.train.stills), settings, 1, 1)
    stills = dataclasses.replace(settings, still_share=1.0)
    assert TrainingData(Split((short,), material.train.stills), stills, 1, 1).still_share == 1
    # What is held out may be measured on photographs then.
    assert validation_settings(settings, Split((short,), material.train.stills)).still_share == 1
    assert validation_settings(settings, Split((long,), material.train.stills)).still_share == 0


def test_exact_flow_is_for_pairs() -> None:
    with pytest.raises(SafaError, match="without exact flow"):
        SampleSettings(frames=5, with_flow=True)
