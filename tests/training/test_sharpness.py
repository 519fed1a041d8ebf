"""Training for sharp results: shares of the gradient, and a discriminator beside the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.data_fixtures import write_training_data
from tests.training.windows import ANY, batch_of, changed, lively_network, resumed_to_the_last_bit, run
from torch import Tensor, nn

from safa.errors import SafaError
from safa.training import Objective, TrainConfig
from safa.training.adversarial import (
    ALONE,
    RISE,
    Discriminator,
    FeatureDiscriminator,
    Sharpness,
    penalty,
    relativistic_loss,
    views,
    with_noise,
)
from safa.training.losses import Perceptual, charbonnier


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VGG of two small stages with random weights."""
    generator = torch.Generator().manual_seed(1)
    path = tmp_path_factory.mktemp("features") / "vgg.safetensors"
    shapes = {0: (8, 3), 2: (8, 8), 5: (12, 8)}
    tensors = {
        f"features.{n}.weight": torch.randn(*shape, 3, 3, generator=generator) / 5 for n, shape in shapes.items()
    }
    save_file(tensors | {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in shapes.items()}, str(path))
    return path


def sharp(features: Path, **more: object) -> TrainConfig:
    shares = {"perceptual_share": 1.5, "adversarial_share": 0.8, "feature_adversarial_share": 0.6}
    return changed(perceptual_weights=str(features), **shares, **more)


def test_resumed_equals_uninterrupted_to_the_last_bit(data: Path, features: Path, tmp_path: Path) -> None:
    whole = resumed_to_the_last_bit(sharp(features), data, tmp_path)
    for name in ("discriminator.", "feature_discriminator."):
        assert any(key.startswith(f"optimizer.exp_avg.sharpness.{name}") for key in whole)


def test_a_run_without_a_discriminator_is_not_taken_for_one_with_it(data: Path, features: Path, tmp_path: Path) -> None:
    run(changed(steps=2), data, tmp_path / "run")
    with pytest.raises(SafaError, match="with no discriminator"):
        run(sharp(features), data, tmp_path / "run", resume=True)
    run(sharp(features, steps=1), data, tmp_path / "other")
    with pytest.raises(SafaError, match="with discriminator and feature_discriminator"):
        run(changed(steps=2), data, tmp_path / "other", resume=True)


def test_a_gradient_that_is_not_finite_is_not_remembered(features: Path) -> None:
    torch.manual_seed(3)
    terms = Sharpness(Perceptual(features), 1.5, 0.8, 0.6)
    results, truths = torch.rand(2, 3, 2, 3, 32, 32)
    for pictures in (results * torch.inf, results, results * torch.inf):
        terms(pictures, truths)
    assert torch.isfinite(terms.lengths).all()
    assert (terms.lengths > 0).all()
    assert torch.isfinite(terms(results.requires_grad_(), truths)["sharpness"])


def test_gradients_have_the_shares_asked_for(features: Path) -> None:
    torch.manual_seed(3)
    results, truths = torch.rand(2, 3, 2, 3, 32, 32)
    expected = torch.autograd.grad(charbonnier(results.requires_grad_(), truths), results)[0].norm()

    def length(perceptual_share: float, adversarial_share: float, steps: int) -> float:
        terms = Sharpness(Perceptual(features), perceptual_share, adversarial_share)
        terms.steps += steps
        value = terms(results, truths)["sharpness"]
        assert value == 0
        return float(torch.autograd.grad(value, results)[0].norm() / expected)

    assert length(1.5, 0, 0) == pytest.approx(1.5, rel=1e-4)
    # The running mean is not that of a first step once steps are counted, so only what does not depend on it is asked.
    assert length(0, 0.8, 0) == 0
    for terms in (Sharpness(None, 0, 0.8), Sharpness(Perceptual(features), 0, 0, 0.8)):
        terms(results, truths)
        terms.steps.fill_(ALONE + RISE)
        value = terms(results, truths)["sharpness"]
        assert float(torch.autograd.grad(value, results)[0].norm() / expected) == pytest.approx(0.8, rel=0.2)


def test_neither_side_is_moved_by_the_others_loss(data: Path, features: Path) -> None:
    config = sharp(features)
    network, batch = lively_network(config.network), batch_of(data, config)
    objective = Objective(network, config, None, Perceptual(features))
    assert objective.sharpness is not None
    objective.sharpness.steps.fill_(ALONE + RISE)
    losses = objective(batch, ANY)
    against = list(objective.sharpness.parameters())
    theirs = torch.autograd.grad(losses["sharpness"], against, retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in theirs)
    own = torch.autograd.grad(losses["discriminator"], list(network.parameters()), retain_graph=True, allow_unused=True)
    assert all(gradient is None for gradient in own)
    moved = torch.autograd.grad(losses["discriminator"], against)
    # Not all: what is exactly nothing for one parameter or another depends on the processor's arithmetic.
    assert any(float(gradient.abs().sum()) > 0 for gradient in moved)


def more_certain(discriminator: nn.Module, made: Sequence[Tensor], real: Sequence[Tensor]) -> bool:
    """Whether it tells results from truth better after a few steps of its own."""
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3)
    noisy = [torch.cat(both) for both in zip(real, made, strict=True)]
    losses = []
    for _ in range(31):
        optimizer.zero_grad()
        of_real, of_made = discriminator(*real), discriminator(*made)
        losses.append(float(relativistic_loss(of_made, of_real).detach()))
        of_noisy = discriminator(*map(with_noise, noisy))
        loss = relativistic_loss(of_real, of_made) + penalty(torch.cat((of_real, of_made)), of_noisy)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses[-1] > losses[0]


def test_a_discriminator_of_features_learns_to_see_blur(features: Path) -> None:
    torch.manual_seed(5)
    perceptual = Perceptual(features)
    assert perceptual.widths() == [8, 12]
    truths = torch.rand(4, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(truths, 3, 1, 1)
    made, real = (perceptual.features(frames) for frames in (blurred, truths))
    discriminator = FeatureDiscriminator(perceptual.widths())
    assert discriminator(*made).shape == (4, 32 * 32 + 16 * 16)
    assert more_certain(discriminator, made, real)


def test_a_discriminator_learns_to_see_blur_and_flicker() -> None:
    torch.manual_seed(5)
    truths = torch.rand(3, 4, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(truths.flatten(0, 1), 3, 1, 1).view_as(truths)
    flicker = truths * torch.tensor([1.0, 0.8, 1.0]).view(3, 1, 1, 1, 1)
    for results in (blurred, flicker):
        discriminator = Discriminator(8)
        made, real = views(*results), views(*truths)
        assert made.shape == (12, 9, 32, 32)
        assert more_certain(discriminator, [made], [real])


@pytest.mark.parametrize(("setting", "term"), [("lattice_loss", "lattices"), ("false_detail_loss", "false_detail")])
@pytest.mark.parametrize("beside", ["sharpness", "nothing"])
def test_patterns_count_by_their_weight(data: Path, features: Path, beside: str, setting: str, term: str) -> None:
    weight: dict[str, Any] = {setting: 3.0}
    with_it = sharp(features, **weight) if beside == "sharpness" else changed(**weight)
    network, batch = lively_network(with_it.network), batch_of(data, with_it)
    found = []
    for config in (with_it, dataclasses.replace(with_it, **{setting: 0.0})):
        torch.manual_seed(5)
        perceptual = Perceptual(features) if beside == "sharpness" else None
        found.append(Objective(network, config, None, perceptual)(batch, ANY))
    assert float(found[0][term].detach()) > 0
    difference = float((found[0]["loss"] - found[1]["loss"]).detach())
    assert difference == pytest.approx(3 * float(found[0][term].detach()), rel=1e-3)


def test_shares_are_for_windows(features: Path) -> None:
    for name in ("adversarial_share", "lattice_loss", "false_detail_loss"):
        with pytest.raises(SafaError, match=f"{name} is for windows"):
            TrainConfig(**{name: 0.5})  # type: ignore[arg-type]
    with pytest.raises(SafaError, match="feature_adversarial_share needs perceptual_weights"):
        changed(feature_adversarial_share=1.0)
    with pytest.raises(SafaError, match="perceptual_share needs perceptual_weights"):
        changed(perceptual_share=1.0)
