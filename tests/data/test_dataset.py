"""Training samples."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.data_fixtures import write_training_data

from safa.data.dataset import TrainingData, collate, reduce_quarter
from safa.data.stills import Path2D, draw_motion, load_still
from safa.errors import SafaError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


def make(folder: Path, still_share: float = 0.5) -> TrainingData:
    return TrainingData(folder, patch=64, still_share=still_share, seed=3, length=100)


@pytest.mark.parametrize("still_share", [0.0, 1.0], ids=["clips", "stills"])
def test_shapes_and_ranges(folder: Path, still_share: float) -> None:
    batch = collate([make(folder, still_share)[k] for k in range(3)])
    assert batch.frame0.shape == batch.frame1.shape == (3, 3, 16, 16)
    assert batch.targets.shape == (3, 3, 3, 64, 64)
    assert batch.prior[0].shape == (3, 2, 16, 16)
    assert batch.targets.min() >= 0
    assert batch.targets.max() <= 1
    assert ((batch.t > 0) & (batch.t < 1)).all()


def test_a_sample_depends_on_seed_and_number_alone(folder: Path) -> None:
    first, second = make(folder), make(folder)
    first[5], first[6]
    assert torch.equal(first[7].targets, second[7].targets)
    assert not torch.equal(first[7].targets, first[8].targets)


def test_low_resolution_frames_show_what_the_targets_show(folder: Path) -> None:
    sample = make(folder)[4]
    for low, target in ((sample.frame0, sample.targets[0]), (sample.frame1, sample.targets[2])):
        reduced = torch.nn.functional.avg_pool2d(target, 4)
        assert (reduced - low).abs().mean() < 0.05


def test_reduction_is_the_fields(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    fixture = load_file(Path(__file__).parents[1] / "fixtures" / "resize.safetensors")
    ours = reduce_quarter(fixture["image"].numpy())
    assert np.array_equal(ours, fixture["pil_bicubic_quarter"].numpy())


def test_truth_of_a_pan_is_the_shifted_photograph(folder: Path) -> None:
    # A pan by 8 pixels: the frame at t = 0.5 is the frame at 0 shifted by 4.
    photo = load_still(folder / "photo.png").levels[0]
    path = Path2D(np.zeros(4), np.array([8.0, 0, 0, 0]), np.zeros(4))
    frames = [
        cv2.warpAffine(photo, path.matrix(t, (64.0, 64.0), (150.0, 110.0)), (128, 128), flags=cv2.WARP_INVERSE_MAP | 1)
        for t in (0.0, 0.5)
    ]
    assert np.array_equal(frames[1][:, 4:], frames[0][:, :-4])


def test_photographs_move_between_the_ends(folder: Path) -> None:
    scene = draw_motion([load_still(folder / "photo.png")], 96, np.random.default_rng(1))
    ends = np.abs(scene.frame0.astype(int) - scene.frame1).mean()
    half = np.abs(scene.frame0.astype(int) - scene.target).mean()
    assert 0 < half < 1.2 * ends


@pytest.mark.parametrize(("patch", "message"), [(60, "multiple of 32"), (64, "neither video clips nor photographs")])
def test_unusable_data_is_one_sentence(tmp_path: Path, patch: int, message: str) -> None:
    with pytest.raises(SafaError, match=message):
        TrainingData(tmp_path, patch, 0.5, 0, 1)
