"""The terms of the objective."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safa.errors import SafaError
from safa.training.losses import (
    Perceptual,
    charbonnier,
    flow_error,
    frequency,
    imbalance,
    l1,
    lattices,
    psnr_loss,
)


def test_charbonnier_is_l1_far_from_zero_and_smooth_at_it() -> None:
    a, b = torch.zeros(1, 3, 4, 4, requires_grad=True), torch.full((1, 3, 4, 4), 0.5)
    assert float(charbonnier(a, b).detach()) == pytest.approx(float(l1(a, b).detach()), abs=1e-5)
    (gradient,) = torch.autograd.grad(charbonnier(a, torch.zeros_like(b)), a)
    assert not gradient.any()


def test_lattices_are_frequencies_that_stand_out_more_than_in_the_truth() -> None:
    truth = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(4))
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    mesh = 0.1 * torch.cos(2 * math.pi * (0.3 * x - 0.155 * y))
    dots = torch.zeros(96, 128)
    dots[1::4, 2::4] = 0.3
    slow = 0.1 * torch.cos(2 * math.pi * (0.09 * x - 0.05 * y))  # what a frame of a quarter of the size can show
    assert float(lattices(truth, truth)) == 0
    assert float(lattices(truth + mesh, truth + mesh)) == 0
    assert float(lattices(0.5 * truth + 0.2, truth)) == pytest.approx(0, abs=1e-3)
    assert float(lattices(truth + slow, truth)) == pytest.approx(0, abs=1e-3)
    for pattern in (mesh, dots):
        assert float(lattices(truth + pattern, truth)) > 0.05
        assert float(lattices(truth, truth + pattern)) < 0.02
    assert float(lattices(truth + 0.3 * mesh, truth)) < float(lattices(truth + 0.6 * mesh, truth))


def test_psnr_loss_falls_by_as_much_for_every_decibel() -> None:
    truth = torch.zeros(1, 3, 8, 8)
    losses = [float(psnr_loss(torch.full_like(truth, error), truth)) for error in (0.1, 0.01 * math.sqrt(10), 0.01)]
    assert losses[0] - losses[1] == pytest.approx(losses[1] - losses[2], rel=0.01)
    both = psnr_loss(torch.stack((truth[0] + 0.1, truth[0] + 0.01)), truth)
    assert float(both) == pytest.approx((losses[0] + losses[2]) / 2)


def test_frequency_loss_sees_a_wave_where_it_is() -> None:
    wave = torch.cos(torch.arange(16) * math.pi / 2).expand(1, 3, 16, 16)
    zero = torch.zeros_like(wave)
    assert float(frequency(wave, wave)) == 0
    # Orthonormal: the energy of the wave sits in one of 9 columns' first row, 16 / 2 = 8 high; 2 parts.
    assert float(frequency(wave, zero)) == pytest.approx(8 / (16 * 9 * 2), rel=1e-4)


@pytest.mark.parametrize("factor", [1, 4], ids=["input grid", "paper grid"])
def test_flow_error_is_in_low_resolution_pixels(factor: int) -> None:
    truth = torch.full((2, 4, 8, 8), 3.0)
    truth[1] = math.nan
    flow = torch.full((2, 4, 8 * factor, 8 * factor), 2.0 * factor, requires_grad=True)
    error = flow_error(flow, truth)
    assert float(error.detach()) == pytest.approx(1.0)
    (gradient,) = torch.autograd.grad(error, flow)
    assert gradient[0].abs().sum() > 0
    assert torch.equal(gradient[1], torch.zeros_like(gradient[1]))


def test_imbalance_looks_at_every_block_by_itself() -> None:
    equal, wanted = torch.full((3,), 1 / 3), torch.tensor([0.5, 0.25, 0.25])
    # A scale of its own for every block: balanced over the blocks, but no block chooses anything.
    assert float(imbalance(torch.eye(3), equal)) == pytest.approx(math.log(3), abs=1e-4)
    assert float(imbalance(equal.repeat(3, 1), equal)) == pytest.approx(0, abs=1e-4)
    assert float(imbalance(wanted.repeat(2, 1), wanted)) == pytest.approx(0, abs=1e-4)
    assert float(imbalance(equal.repeat(2, 1), wanted)) > 0.05


def test_perceptual_loss_reads_any_vgg(tmp_path: Path) -> None:
    # Two convolutions, a pooling, one more: torchvision's numbers of a tiny VGG, and its classifier, which is not used.
    torch.manual_seed(0)
    shapes = {"0": (4, 3), "2": (4, 4), "5": (6, 4)}
    tensors = {f"features.{n}.weight": torch.randn(*shape, 3, 3) for n, shape in shapes.items()}
    tensors |= {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in shapes.items()}
    save_file({**tensors, "classifier.0.weight": torch.zeros(2)}, tmp_path / "vgg.safetensors")
    loss = Perceptual(tmp_path / "vgg.safetensors")
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert [feature.shape[1:] for feature in loss.features(image)] == [(4, 16, 16), (6, 8, 8)]
    assert float(loss(image, image).detach()) == 0
    (gradient,) = torch.autograd.grad(loss(image, torch.rand(1, 3, 16, 16)), image)
    assert gradient.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_perceptual_weights_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "text.safetensors").write_text("no")
    for name, message in (("other", "no VGG"), ("text", "not a readable"), ("missing", "not a readable")):
        with pytest.raises(SafaError, match=message):
            Perceptual(tmp_path / f"{name}.safetensors")
