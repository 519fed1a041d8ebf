"""Selector statistics and the cost of time factors."""

from __future__ import annotations

import pytest
import torch

from safa.errors import SafaError
from safa.evaluation.inspect import ScaleCounts, cost_by_factor, count_scales, scales_by_height
from safa.evaluation.methods import network_method
from safa.network.safa import Safa
from tests.conftest import tiny_network
from tests.evaluation.footage import Held, moving


def prefer(network: Safa, scale: int) -> Safa:
    """Make the selector pick ``scale`` everywhere: weight of 1x is g1 g2, of 1/2 (1 - g1) g2, of 1/4 1 - g2."""
    assert network.selector is not None
    with torch.no_grad():
        network.selector.decide.weight.zero_()
        network.selector.decide.bias.copy_(torch.tensor([[9.0, 9.0], [-9.0, 9.0], [9.0, -9.0]][scale]))
    return network


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_every_choice_of_every_block_is_counted(scale: int) -> None:
    frame0, frame1 = torch.rand(2, 1, 3, 13, 21, generator=torch.Generator().manual_seed(0))
    expected = [0, 0, 0]
    expected[scale] = 3
    assert count_scales(prefer(tiny_network(), scale), frame0, frame1, [0, 0.5, 1]) == [expected, expected]


def test_a_network_without_a_selector_has_no_choices() -> None:
    with pytest.raises(SafaError, match="no scale selector"):
        count_scales(tiny_network(fixed_scale=1), *torch.rand(2, 1, 3, 16, 16), [0.5])


def test_clips_are_counted_at_the_heights_they_are_large_enough_for() -> None:
    clips = [Held("small", moving(3, 24, 32)), Held("large", moving(9, 48, 64))]
    counts = scales_by_height(prefer(tiny_network(), 1), clips, heights=(64, 160), pairs_per_clip=3)
    assert [(one.height, one.clips) for one in counts] == [(64, ("small", "large")), (160, ("large",))]
    assert [one.counts for one in counts] == [((0, 5, 0), (0, 5, 0)), ((0, 3, 0), (0, 3, 0))]  # 2 + 3 pairs, then 3


def test_frames_are_brought_to_a_quarter_of_the_height(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        "safa.evaluation.inspect.count_scales",
        lambda network, frame0, frame1, times: seen.append(frame0.shape) or [[0] * 3] * 2,
    )
    scales_by_height(tiny_network(), [Held("x", moving(2, 48, 64))], heights=(64, 128, 192))
    assert seen == [(1, 3, 16, 21), (1, 3, 32, 43), (1, 3, 48, 64)]


def test_shares_of_scales() -> None:
    counts = ScaleCounts(240, ("x",), (1.0, 0.5), ((3, 1), (0, 4)))
    assert counts.shares() == pytest.approx([3 / 8, 5 / 8])
    assert counts.shares(block=0) == pytest.approx([3 / 4, 1 / 4])
    assert ScaleCounts(240, (), (1.0, 0.5), ((0, 0),)).shares() == [0, 0]


def test_more_times_cost_less_than_in_proportion() -> None:
    # Operations are constant for a fixed scale: a + k b, a for encoding.
    method = network_method(tiny_network(fixed_scale=0), "x")
    two, four, eight = (cost.operations for cost in cost_by_factor(method, *torch.rand(2, 1, 3, 16, 16), (2, 4, 8)))
    assert eight - four == 2 * (four - two)
    assert two < four < 2 * two
