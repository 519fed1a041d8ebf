"""Behaviour of the network beyond the authors' release."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import TINY, tiny_network
from torch.utils.flop_counter import FlopCounterMode

from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.flow_block import branch_weights, sample_straight_through
from safa.network.operations import bicubic_upsample
from safa.network.prior import classical_flow_pair, flow_from_time
from safa.network.safa import Safa

FRAMES = torch.rand(2, 3, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def flops(network: Safa, frame0: torch.Tensor, frame1: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(frame0, frame1, [0.5])
    return counter.get_total_flops()


@pytest.mark.parametrize("grid", ["paper", "input"])
@torch.no_grad()
def test_output_is_four_times_larger_at_every_time(grid: str) -> None:
    result = tiny_network(grid=grid)(FRAMES[0], FRAMES[1], [0.0, 0.3, torch.tensor([0.1, 0.5, 1.0])])
    assert result.shape == (3, 3, 3, 64, 96)
    assert result.min() >= 0
    assert result.max() <= 1


@torch.no_grad()
def test_evaluation_is_deterministic(input_network: Safa) -> None:
    first, second = (input_network(FRAMES[0], FRAMES[1], [0.5]) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("grid", ["paper", "input"])
def test_batch_computes_no_branch_in_vain(grid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network(grid=grid)
    assert network.selector is not None
    answers = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    single = []
    for sample in range(3):
        monkeypatch.setattr(network.selector, "forward", lambda x, s=sample: answers[s : s + 1])
        single.append(flops(network, FRAMES[0, sample : sample + 1], FRAMES[1, sample : sample + 1]))
    monkeypatch.setattr(network.selector, "forward", lambda x: answers)
    assert flops(network, FRAMES[0], FRAMES[1]) == sum(single)
    assert single[0] > single[1] > single[2]


@torch.no_grad()
def test_batch_equals_single_samples(input_network: Safa) -> None:
    batched = input_network(FRAMES[0], FRAMES[1], [0.25])
    for sample in range(3):
        single = input_network(FRAMES[0, sample : sample + 1], FRAMES[1, sample : sample + 1], [0.25])
        torch.testing.assert_close(batched[sample], single[0], atol=1e-5, rtol=0)


def test_branch_weights_follow_the_binary_choices() -> None:
    choices = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert branch_weights(choices).argmax(dim=1).tolist() == [0, 1, 2, 2]
    assert torch.equal(branch_weights(choices).sum(dim=1), torch.ones(4))


def test_gradient_passes_straight_through_the_choice() -> None:
    probability = torch.tensor([[0.3, 0.8]], requires_grad=True)
    choice = sample_straight_through(probability)
    assert set(choice.detach().round(decimals=5).flatten().tolist()) <= {0.0, 1.0}
    (choice * torch.tensor([2.0, -3.0])).sum().backward()
    assert probability.grad is not None
    assert probability.grad.tolist() == [[2.0, -3.0]]


def test_training_reaches_every_parameter() -> None:
    network = tiny_network(grid="input").train()
    network(FRAMES[0], FRAMES[1], [0.4]).square().mean().backward()
    frozen = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert not frozen


@pytest.mark.parametrize(
    "settings",
    [
        *({"extractor": name} for name in ("stem", "stage1", "stage2", "stage3", "bottleneck")),
        {"fusion": "image"},
        {"fusion": "feature"},
        {"blocks": 1},
        {"fixed_scale": 1},
        {"scales": (1.0, 0.5)},
        {"scales": (1.0, 0.5, 0.25, 0.125)},
        {"shared_branches": False},
        {"blend_prior": True},
        {"flow_prior": "dis"},
    ],
    ids=str,
)
@torch.no_grad()
def test_every_ablation_runs_on_both_grids(settings: dict[str, object]) -> None:
    for grid in ("paper", "input"):
        result = tiny_network(grid=grid, **settings)(FRAMES[0], FRAMES[1], [0.5])
        assert result.shape == (3, 1, 3, 64, 96)
        assert result.isfinite().all()


def test_separate_branches_have_their_own_weights() -> None:
    shared, separate = (
        sum(p.numel() for p in tiny_network(shared_branches=s).blocks.parameters()) for s in (True, False)
    )
    assert separate == 3 * shared


@torch.no_grad()
def test_image_fusion_alone_reproduces_the_inputs_with_the_blend_prior() -> None:
    # Without decoder and with no flow, the mask prior makes t = 0 nearly frame 0 and t = 1 nearly frame 1.
    network = Safa(SafaConfig(**TINY, grid="input", fusion="image", blend_prior=True)).eval()  # type: ignore[arg-type]
    pair = network.encode(FRAMES[0], FRAMES[1])
    for t, frame in ((0.0, pair.frame0), (1.0, pair.frame1)):
        error = (network.synthesize(pair, t).image - frame.enlarged.clamp(0, 1)).abs().max()
        assert error < 0.05


def test_what_only_one_frame_shows_is_taken_from_that_one() -> None:
    network = Safa(SafaConfig(**TINY, grid="input", fusion="image", flow_prior="dis", blend_prior=True)).eval()  # type: ignore[arg-type]
    torch.nn.init.zeros_(network.flow_head[0].weight)
    torch.nn.init.zeros_(network.flow_head[0].bias)
    scene = torch.rand(1, 3, 32, 64 + 16, generator=torch.Generator().manual_seed(3))
    first, middle, second = (scene[..., start : start + 64] for start in (0, 8, 16))
    motion = torch.zeros(1, 2, 32, 64)
    motion[:, 0] = -16
    with torch.no_grad():
        made = network.synthesize(network.encode(first, second, (motion, -motion)), 0.5).image
    # Half of the wrong frame would be off by a tenth and more; what is left is where enlarged frames end elsewhere.
    error = (made - bicubic_upsample(middle).clamp(0, 1)).abs()
    for part in (error[..., :24], error[..., -24:], error[..., 64:-64]):
        assert part.mean() < 0.02


def test_classical_flow_finds_a_shift() -> None:
    image = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(2))
    image = torch.nn.functional.interpolate(image, scale_factor=8, mode="bicubic").clamp(0, 1)
    forward, backward = classical_flow_pair(image, torch.roll(image, 3, dims=3))
    middle = (..., slice(20, -20), slice(20, -20))
    assert abs(forward[0, 0][middle].mean() - 3) < 0.2
    assert abs(backward[0, 0][middle].mean() + 3) < 0.2


def test_flow_from_time_is_exact_for_constant_motion() -> None:
    forward, backward = torch.full((1, 2, 4, 4), 4.0), torch.full((1, 2, 4, 4), -4.0)
    to_0, to_1 = flow_from_time(forward, backward, torch.tensor([0.25]))
    torch.testing.assert_close(to_0, torch.full((1, 2, 4, 4), -1.0))
    torch.testing.assert_close(to_1, torch.full((1, 2, 4, 4), 3.0))


@pytest.mark.parametrize("t", [0.0, 0.25, 0.5, 1.0])
def test_flow_from_time_is_exact_for_constant_acceleration(t: float) -> None:
    speed, change = 3.0, 2.0

    def way(time: float) -> float:
        return speed * time + change * time**2 / 2

    forward, acceleration = torch.full((1, 2, 4, 4), way(1)), torch.full((1, 2, 4, 4), change)
    to_0, to_1 = flow_from_time(forward, -forward, torch.tensor([t]), acceleration)
    torch.testing.assert_close(to_0, torch.full((1, 2, 4, 4), -way(t)))
    torch.testing.assert_close(to_1, torch.full((1, 2, 4, 4), way(1) - way(t)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grid": "other"}, "grid is 'other'"),
        ({"channels": 7}, "even number"),
        ({"blocks": 0}, "blocks is 0"),
        ({"scales": (0.5, 1.0)}, "fine to coarse"),
        ({"fixed_scale": 3}, "fixed_scale is 3"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        SafaConfig(**settings)  # type: ignore[arg-type]


def test_a_size_that_does_not_fit_is_refused(input_network: Safa) -> None:
    with pytest.raises(SafaError, match="multiples of 8"):
        input_network(torch.zeros(1, 3, 17, 24), torch.zeros(1, 3, 17, 24), [0.5])
