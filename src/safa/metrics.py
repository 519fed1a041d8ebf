"""PSNR and SSIM on RGB and on Y, as the super-resolution literature measures them.

Pictures are ``B,C,H,W`` float in [0, 1]; values are float64, one per sample, ``B``. Everything is computed in float64:
sums in float32 depend, in digits that are told, on the order in which a processor adds.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from safa.errors import SafaError
from safa.network.operations import luma

WINDOW = 11
"""Side of SSIM's Gaussian window in pixels; smaller pictures have no SSIM."""
SIGMA = 1.5
"""Standard deviation of that Gaussian in pixels."""
BEST_PSNR = 100.0
"""PSNR in dB of a picture that equals the truth: one black frame must not make a mean infinite."""


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for a peak of 1, over all channels together; at most ``BEST_PSNR``.

    Args:
        image, truth: ``B,C,H,W`` of one shape, in [0, 1].

    Returns:
        ``B``.
    """
    _check(image, truth)
    ratio = -10 * torch.log10((_double(image) - _double(truth)).square().mean(dim=(1, 2, 3)))
    return ratio.clamp(max=BEST_PSNR)


def psnr_y(image: Tensor, truth: Tensor) -> Tensor:
    """``psnr`` on Y of ``B,3,H,W`` RGB, ``B``."""
    return psnr(luma(_double(image)), luma(_double(truth)))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al., 2004), the mean over channels and over the valid region.

    11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, peak 1, population covariance; the 5 pixels at each
    border whose window would leave the picture are not counted.

    Args:
        image, truth: ``B,C,H,W`` of one shape, in [0, 1], at least 11 pixels a side.

    Returns:
        ``B``, at most 1.
    """
    _check(image, truth)
    if min(image.shape[-2:]) < WINDOW:
        raise SafaError(f"SSIM needs pictures of at least {WINDOW}x{WINDOW} pixels; these are {_size(image)}.")
    # Variances do not change with an offset, and around zero less is lost in E[x^2] - E[x]^2.
    x, y = _double(image) - 0.5, _double(truth) - 0.5
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = _blur(torch.stack((x, y, x * x, y * y, x * y)))
    variance_x, variance_y, covariance = mean_xx - mean_x**2, mean_yy - mean_y**2, mean_xy - mean_x * mean_y
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    similarity: Tensor = (luminance * structure).mean(dim=(1, 2, 3))
    return similarity


def measure(image: Tensor, truth: Tensor) -> dict[str, Tensor]:
    """All four: ``psnr_y``, ``ssim_y``, ``psnr_rgb`` and ``ssim_rgb`` of ``B,3,H,W`` RGB in [0, 1], ``B`` each."""
    image, truth = _double(image), _double(truth)
    return {
        "psnr_y": psnr_y(image, truth),
        "ssim_y": ssim(luma(image), luma(truth)),
        "psnr_rgb": psnr(image, truth),
        "ssim_rgb": ssim(image, truth),
    }


def _blur(maps: Tensor) -> Tensor:
    """Gaussian window over the valid region: ``N,B,C,H,W`` -> ``N,B,C,H-10,W-10``."""
    for axis in (-1, -2):
        maps = _blur_along(maps, axis)
    return maps


def _blur_along(maps: Tensor, axis: int) -> Tensor:
    # Sums of shifted pictures: PyTorch's convolution takes several times as long with a single channel on a CPU.
    length = maps.shape[axis] - WINDOW + 1
    first, *others = _gaussian()
    total = maps.narrow(axis, 0, length) * first
    for shift, weight in enumerate(others, 1):
        total.add_(maps.narrow(axis, shift, length), alpha=weight)
    return total


@lru_cache(maxsize=1)
def _gaussian() -> list[float]:
    distance = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weight = torch.exp(-(distance**2) / (2 * SIGMA**2))
    weights: list[float] = (weight / weight.sum()).tolist()
    return weights


def _double(image: Tensor) -> Tensor:
    """Convert to float64, on the CPU where the picture's own device lacks it."""
    return (image.cpu() if image.device.type == "mps" else image).double()


def _check(image: Tensor, truth: Tensor) -> None:
    if image.ndim != 4 or image.shape != truth.shape:
        raise SafaError(
            f"Pictures of shape {tuple(image.shape)} and {tuple(truth.shape)} cannot be compared: both must be "
            "batch,channels,height,width."
        )


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]}x{image.shape[-2]}"


# Detail where the truth has less: what sharp networks invent. A measure of results, and a term of training.

SQUARE, STEP = 12, 4
"""Side of the squares whose detail is compared, in pixels, and how far apart they lie."""
SMALLEST = SQUARE + 2
"""Sides of the smallest pictures that have such a square, in pixels."""


def false_detail(image: Tensor, truth: Tensor) -> Tensor:
    """Measure detail that the truth lacks, such as dots and grain on smooth areas.

    Detail is the mean absolute Laplacian of the grey picture over small squares. Those beside them count as well in the
    truth, so that detail may be a few pixels from where it belongs, as it is where motion is uncertain.

    Args:
        image, truth: ``B,3,H,W`` RGB in [0, 1], sides from ``SMALLEST`` pixels.

    Returns:
        a scalar, in the unit of the pictures.
    """
    made, real = (local_detail(pictures.float()) for pictures in (image, truth))
    return F.relu(made - F.max_pool2d(real, 3, stride=1, padding=1)).mean()


def local_detail(pictures: Tensor) -> Tensor:
    """Mean absolute Laplacian over squares of pictures ``B,3,H,W``: ``B,1,h,w``."""
    laplacian = pictures.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    steps = F.conv2d(pictures.mean(dim=1, keepdim=True), laplacian)
    return F.avg_pool2d(steps.abs(), SQUARE, stride=STEP)
