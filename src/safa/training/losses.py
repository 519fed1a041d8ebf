"""The terms of the objective. Pictures are ``B,3,H,W`` RGB in [0, 1]; every loss is a scalar."""

from __future__ import annotations

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from safa.errors import SafaError
from safa.network.config import SCALE
from safa.network.features import IMAGENET_DEVIATION, IMAGENET_MEAN

# Side of the blocks in which lattices are looked for, in pixels.
BLOCK = 32
# What noise of 2 of 255 grey levels leaves in a block beyond the input's frequencies: blocks with less count less. And
# the least part of a block's power that counts at one frequency, a fifth of the mean.
LEAST_POWER, RELATIVE_POWER = 8.0, 2e-4
# Smoothing of Charbonnier's loss (Lai et al., 2017).
EPSILON = 1e-3


def l1(image: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error."""
    return (image - truth).abs().mean()


def charbonnier(image: Tensor, truth: Tensor) -> Tensor:
    """L1, smooth around zero."""
    return torch.sqrt((image - truth).square() + EPSILON**2).mean()


def psnr_loss(image: Tensor, truth: Tensor) -> Tensor:
    """Logarithm of each sample's mean squared error, as in PSNR; the mean over the samples.

    Where motion is uncertain it wants the mean of what is possible, L1 the median. The factor makes relative changes
    count about as much as in an L1 loss of the usual size, so that the terms beside it keep their weights.
    """
    squares = (image.float() - truth).square().flatten(1).mean(dim=1)
    return 0.015 * torch.log(squares + 1e-6).mean()


PIXEL_LOSSES = {"l1": l1, "charbonnier": charbonnier, "psnr": psnr_loss}


def frequency(image: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of the Fourier transforms, real and imaginary part (Cho et al., 2021).

    The transform is orthonormal, so the value is of the order of an L1 loss.
    """
    with torch.autocast(image.device.type, enabled=False):  # half precision has no transform of every size
        difference = torch.fft.rfft2(image.float() - truth.float(), norm="ortho")
    return torch.view_as_real(difference).abs().mean()


def lattices(image: Tensor, truth: Tensor) -> Tensor:
    """Penalise spectral peaks above the input's Nyquist frequency that the truth lacks: meshes, which a discriminator
    takes for texture.

    The mean power spectra of overlapping blocks, in parts of each block's own power at these frequencies. Where the
    logarithm of their ratio is above its mean on a ring around a frequency, the excess counts squared.
    """
    cycles = (torch.fft.fftfreq(BLOCK, device=image.device) * BLOCK).abs()
    # What cannot come from a frame of a quarter of the size, with room for the window.
    beyond = torch.maximum(cycles[:, None], cycles) >= BLOCK / (2 * SCALE) + 2
    ring = torch.ones(1, 1, 9, 9, device=image.device)
    ring[..., 2:7, 2:7] = 0  # a single frequency is five wide after the window
    with torch.autocast(image.device.type, enabled=False):
        made, real = (_spectrum(pictures.float(), beyond) for pictures in (image, truth))
        ratio = (made + RELATIVE_POWER).log() - (real + RELATIVE_POWER).log()
        around = F.conv2d(F.pad(ratio[None, None], (4, 4, 4, 4), mode="circular"), ring / ring.sum())[0, 0]
        return F.relu(ratio - around)[beyond].square().mean()


def _spectrum(pictures: Tensor, beyond: Tensor) -> Tensor:
    """Mean of all blocks' power spectra, ``BLOCK,BLOCK``, each in parts of its sum over the frequencies ``beyond``."""
    window = torch.hann_window(BLOCK, device=pictures.device)
    blocks = F.unfold(pictures.mean(dim=1, keepdim=True), BLOCK, stride=BLOCK // 2)
    blocks = blocks.transpose(1, 2).unflatten(2, (BLOCK, BLOCK)).flatten(0, 1)
    blocks = (blocks - blocks.mean(dim=(1, 2), keepdim=True)) * window[:, None] * window
    power = torch.fft.fft2(blocks).abs().square()
    size = power.detach()[:, beyond].sum(dim=1)
    return (power / (size + LEAST_POWER)[:, None, None]).mean(dim=0)


def flow_error(flow: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute error of flow in low-resolution pixels where the truth is known.

    Args:
        flow: ``B,4,Hs,Ws`` as the network gives it, in pixels of its own grid.
        truth: ``B,4,h,w`` in pixels of the low-resolution grid, NaN where it is not known.
    """
    flow = to_low_resolution(flow, truth.shape[-1])
    known = ~truth.isnan()
    difference = torch.where(known, flow - truth.nan_to_num(), 0.0)
    return difference.abs().sum() / known.sum().clamp(min=1)


def to_low_resolution(flow: Tensor, width: int) -> Tensor:
    """Flow ``B,4,Hs,Ws`` on a grid ``width`` pixels wide, in pixels of that grid."""
    factor = flow.shape[-1] // width
    return flow if factor == 1 else F.avg_pool2d(flow, factor) / factor


def imbalance(share: Tensor, expected: Tensor) -> Tensor:
    """Divergence of the scales that blocks choose from the wanted shares; 0 is ideal.

    Blocks are looked at one by one and over many samples: a block that takes one scale for everything is far from it
    even when the others make up for that, and nothing is said about how certain a single choice is.

    Args:
        share: ``N,K``: how often each of N blocks takes each of K scales, rows sum to 1.
        expected: ``K``, sums to 1, none 0.
    """
    return (share * (share / expected + 1e-6).log()).sum(dim=1).mean()


class Perceptual(nn.Module):
    """L1 distance between VGG features (Johnson et al., 2016), the last ones before each pooling, equally weighted.

    Args:
        path: safetensors file with a VGG in torchvision's names (``features.<n>.weight``); which one is read off them.

    Raises:
        SafaError: no such file, or none with those names.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise SafaError(f"The perceptual weights {path} are not a readable safetensors file.") from error
        found = [re.fullmatch(r"features\.(\d+)\.weight", name) for name in tensors]
        numbers = sorted(int(match[1]) for match in found if match)
        if not numbers or any(f"features.{number}.bias" not in tensors for number in numbers):
            raise SafaError(
                f"The perceptual weights {path} are no VGG: they lack torchvision's names, features.0.weight."
            )
        self.mean: Tensor
        self.deviation: Tensor
        self.stages = nn.ModuleList([nn.ModuleList()])
        for number, following in zip(numbers, [*numbers[1:], 0], strict=True):
            weight = tensors[f"features.{number}.weight"].float()
            convolution = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=weight.shape[2] // 2)
            convolution.load_state_dict({"weight": weight, "bias": tensors[f"features.{number}.bias"].float()})
            last = self.stages[-1]
            assert isinstance(last, nn.ModuleList)
            last.append(convolution)
            if following == number + 3:  # convolution, ReLU, pooling; without a pooling the next one is 2 further
                self.stages.append(nn.ModuleList())
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(IMAGENET_DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return the distance; its gradient reaches ``image`` alone."""
        with torch.no_grad():
            expected = self.features(truth)
        return torch.stack([l1(a, b) for a, b in zip(self.features(image), expected, strict=True)]).mean()

    def widths(self) -> list[int]:
        """Channels of each of ``features``."""
        return [int(stage[-1].weight.shape[0]) for stage in self.stages]  # type: ignore[index]

    def features(self, image: Tensor) -> list[Tensor]:
        """``B,3,H,W`` in [0, 1] -> the last of each stage, ``B,C,H,W`` with half the side in each."""
        x = (image - self.mean) / self.deviation
        features = []
        for number, stage in enumerate(self.stages):
            if number:
                x = F.max_pool2d(x, 2)
            assert isinstance(stage, nn.ModuleList)
            for convolution in stage:
                x = F.relu(convolution(x))
            features.append(x)
        return features
