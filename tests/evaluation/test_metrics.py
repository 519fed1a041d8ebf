"""PSNR and SSIM against scikit-image and against formulas written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from safa.errors import SafaError
from safa.metrics import measure, psnr, ssim

TOLERANCE = 1e-9  # everything is measured in float64, whatever the processor


def pictures(kind: str) -> tuple[Tensor, Tensor]:
    """A batch of two pictures and of their disturbed copies, ``2,3,20,27``."""
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand(2, 3, 20, 27, generator=generator)
    if kind == "bright and flat":  # where E[x^2] - E[x]^2 cancels most
        truth = 0.98 + 0.002 * truth
    noise = torch.randn(truth.shape, generator=generator) * torch.tensor([0.02, 0.1]).view(2, 1, 1, 1)
    return (truth + (0.02 if kind == "bright and flat" else 1) * noise).clamp(0, 1), truth


def luma_by_hand(picture: Tensor) -> np.ndarray:
    """Y in [16/255, 235/255] of ``3,H,W``, as BasicSR's rgb2ycbcr has it: 65.481 R + 128.553 G + 24.966 B + 16."""
    red, green, blue = picture.double().numpy()
    return np.asarray((65.481 * red + 128.553 * green + 24.966 * blue + 16) / 255)


def scikit_ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Mean of scikit-image's map over the region where the 11x11 window fits; ``H,W`` each."""
    _, similarity = structural_similarity(
        image,
        truth,
        data_range=1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return float(similarity[5:-5, 5:-5].mean())


@pytest.mark.parametrize("kind", ["noise", "bright and flat"])
def test_each_value_agrees_with_scikit_image(kind: str) -> None:
    image, truth = pictures(kind)
    measured = measure(image, truth)
    for sample in range(2):
        y, y_truth = luma_by_hand(image[sample]), luma_by_hand(truth[sample])
        rgb, rgb_truth = image[sample].double().numpy(), truth[sample].double().numpy()
        expected = {
            "psnr_y": peak_signal_noise_ratio(y_truth, y, data_range=1),
            "ssim_y": scikit_ssim(y, y_truth),
            "psnr_rgb": peak_signal_noise_ratio(rgb_truth, rgb, data_range=1),
            "ssim_rgb": np.mean([scikit_ssim(a, b) for a, b in zip(rgb, rgb_truth, strict=True)]),
        }
        assert {name: float(value[sample]) for name, value in measured.items()} == pytest.approx(
            expected, abs=TOLERANCE
        )


def test_psnr_of_a_known_error() -> None:
    truth = torch.full((2, 1, 12, 12), 0.5, dtype=torch.float64)
    image = truth + torch.tensor([0.1, 0.01], dtype=torch.float64).view(2, 1, 1, 1)
    assert psnr(image, truth).tolist() == pytest.approx([20, 40], abs=TOLERANCE)


def test_equal_pictures_are_perfect() -> None:
    _, truth = pictures("noise")
    assert ssim(truth, truth).tolist() == pytest.approx([1, 1], abs=TOLERANCE)
    assert psnr(truth, truth).tolist() == [100, 100]


def test_pictures_of_different_size_are_refused() -> None:
    with pytest.raises(SafaError, match="cannot be compared"):
        psnr(torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 12, 1))


def test_ssim_refuses_pictures_smaller_than_its_window() -> None:
    with pytest.raises(SafaError, match="at least 11x11 pixels; these are 40x10"):
        ssim(torch.zeros(1, 3, 10, 40), torch.zeros(1, 3, 10, 40))
