"""Training samples."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data_fixtures import texture, write_training_data

from safa.data.clips import Spans
from safa.data.dataset import SampleSettings, TrainingData, collate, open_material
from safa.data.degrade import Degradation
from safa.data.material import Material
from safa.data.scene import Scene, augment, crisp, reduce_quarter
from safa.data.synthetic import Still, draw_motion
from safa.errors import SafaError
from safa.network.operations import warp

SETTINGS = SampleSettings(patch=64)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return open_material(write_training_data(tmp_path_factory.mktemp("data") / "train"), held_out=0.0)


def make(material: Material, **changes: object) -> TrainingData:
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return TrainingData(material.train, settings, seed=3, length=100)


@pytest.mark.parametrize("still_share", [0.0, 1.0], ids=["clips", "stills"])
def test_shapes_and_ranges(material: Material, still_share: float) -> None:
    batch = collate([make(material, still_share=still_share)[k] for k in range(3)])
    assert batch.frames.shape == (3, 2, 3, 16, 16)
    assert batch.truths.shape == (3, 2, 3, 64, 64)
    assert batch.between.shape == (3, 3, 64, 64)
    assert batch.prior is not None
    assert batch.prior.shape == (3, 1, 2, 2, 16, 16)
    assert batch.truths.min() >= 0
    assert batch.truths.max() <= 1
    assert (batch.pair == 0).all()
    assert ((batch.t > 0) & (batch.t < 1)).all()


@pytest.mark.parametrize("changes", [{}, {"degradation": Degradation()}], ids=["clean", "degraded"])
def test_a_sample_depends_on_seed_and_number_alone(material: Material, changes: dict[str, object]) -> None:
    first, second = make(material, **changes), make(material, **changes)
    first[5], first[6]
    assert torch.equal(first[7].between, second[7].between)
    assert torch.equal(first[7].frames, second[7].frames)
    assert not torch.equal(first[7].between, first[8].between)


def test_low_resolution_frames_show_what_the_targets_show(material: Material) -> None:
    sample = make(material)[4]
    for low, target in zip(sample.frames, sample.truths, strict=True):
        reduced = torch.nn.functional.avg_pool2d(target, 4)
        assert (reduced - low).abs().mean() < 0.05


def test_degraded_frames_come_with_the_clean_ones_they_were(material: Material) -> None:
    damage = Degradation(blur=1.0, sigma=(1.5, 2.0))
    sample = make(material, degradation=damage, with_clean=True)[4]
    assert sample.clean is not None
    inside = slice(2, -2)  # at the edges the reduction sees neighbours that the truth has not
    reduced = [reduce_quarter(tensor.mul(255).round().byte().permute(1, 2, 0).numpy()) for tensor in sample.truths]
    for clean, expected in zip(sample.clean, reduced, strict=True):
        found = clean.mul(255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(found[inside, inside], expected[inside, inside])
    assert not torch.equal(sample.frames, sample.clean)
    assert make(material, degradation=damage)[4].clean is None


def test_what_is_not_asked_for_is_not_computed(material: Material) -> None:
    sample = make(material, with_prior=False)[0]
    assert sample.prior is None
    assert sample.flow is None


def test_flow_is_exact_for_photographs_and_unknown_for_clips(material: Material) -> None:
    stills, clips = (make(material, still_share=share, with_flow=True)[1].flow for share in (1.0, 0.0))
    assert stills is not None
    assert stills.shape == (3, 4, 16, 16)
    assert (stills[0, :2].abs() < 1e-4).all()  # from time 0 to frame 0 nothing moves
    assert clips is not None
    assert clips.isnan().all()


def test_flow_follows_the_frames_through_every_augmentation() -> None:
    still = Still.from_image("a", texture(1, 640, 480))
    worse = 0
    for seed in range(24):
        rng = np.random.default_rng(seed)
        scene = augment(draw_motion((still,), 128, rng, with_flow=True), rng)
        assert scene.flow is not None
        low = [torch.tensor(reduce_quarter(f)).permute(2, 0, 1)[None].float() for f in (scene.frames[0], scene.target)]
        flow = torch.from_numpy(scene.flow[1]).permute(2, 0, 1)[None]
        along, unmoved = (low[1] - warp(low[0], flow[:, :2])).abs(), (low[1] - low[0]).abs()
        worse += bool(along.median() > unmoved.median())
    assert worse == 0


def test_spans_are_what_is_asked_for(material: Material) -> None:
    spans = Spans((8,), (1.0,))
    samples = [make(material, still_share=0.0, spans=spans)[k] for k in range(20)]
    assert {round(float(sample.t) * 8, 4) for sample in samples} <= set(range(1, 8))
    assert Spans((4, 8), (0.5, 0.5)).draw(7, np.random.default_rng(0)) == 4
    assert Spans((8,), (1.0,)).draw(7, np.random.default_rng(0)) == 6  # septuplets: as far apart as they go


def test_crisp_scenes_are_sharper_in_all_their_frames() -> None:
    frames = [texture(seed)[::4, ::4] for seed in range(3)]
    scene = Scene([frames[0], frames[2]], frames[1], 0.3)
    sharper = crisp(scene, 2.0, np.random.default_rng(0))
    assert sharper.t == 0.3
    for old, new in zip([*scene.frames, scene.target], [*sharper.frames, sharper.target], strict=True):
        before, after = old.astype(float), new.astype(float)
        assert np.abs(np.diff(after, axis=0)).mean() > 1.1 * np.abs(np.diff(before, axis=0)).mean()
        assert abs(after.mean() - before.mean()) < 2
    same = crisp(scene, 0.0, np.random.default_rng(0))
    assert np.array_equal(same.frames, scene.frames)


def test_without_transposition_rows_stay_rows() -> None:
    frame = np.zeros((8, 16, 3), np.uint8)
    scene = Scene([frame, frame], frame, 0.5)
    shapes = {augment(scene, np.random.default_rng(k), transpose=False).target.shape for k in range(8)}
    assert shapes == {(8, 16, 3)}


def test_reduction_is_the_fields(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    fixture = load_file(Path(__file__).parents[1] / "fixtures" / "resize.safetensors")
    ours = reduce_quarter(fixture["image"].numpy())
    assert np.array_equal(ours, fixture["pil_bicubic_quarter"].numpy())


def test_unusable_settings_and_data_are_one_sentence(tmp_path: Path, material: Material) -> None:
    with pytest.raises(SafaError, match="multiple of 32"):
        SampleSettings(patch=60)
    with pytest.raises(SafaError, match="neither video clips nor photographs"):
        open_material(tmp_path, 0.1)
    with pytest.raises(SafaError, match="nothing to train on"):
        TrainingData(material.held_out, SETTINGS, 0, 1)
    with pytest.raises(SafaError, match="2 or more frames"):
        Spans((1,), (1.0,))
