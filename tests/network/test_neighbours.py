"""Features of neighbouring frames."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import tiny_network

from safa.errors import SafaError
from safa.network.safa import Safa
from safa.network.states import Outer


def outer(frame: torch.Tensor, there: list[float]) -> Outer:
    """Frames and motion around a pair of frames like ``frame``, of which each sample has what ``there`` says."""
    flow = torch.full((len(frame), 2, *frame.shape[2:]), 1.5)
    return Outer(frame.flip(3), frame.flip(2), flow, -flow, torch.tensor(there), torch.tensor(there[::-1]))


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    return torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24), (torch.randn(2, 2, 16, 24), torch.randn(2, 2, 16, 24))


@pytest.mark.parametrize("grid", ["paper", "input"])
def test_fusion_starts_as_no_change(pair: tuple, grid: str) -> None:
    plain = tiny_network(grid=grid)
    looking = Safa(tiny_network(grid=grid, neighbours=True).config).eval()
    looking.load_state_dict(plain.state_dict(), strict=False)
    frame0, frame1, prior = pair
    around = looking.encode_among(frame0, frame1, prior, outer(frame0, [1.0, 1.0]))
    expected = plain.synthesize(plain.encode(frame0, frame1), 0.5).image
    assert torch.equal(looking.synthesize(around, 0.5).image, expected)


def test_a_frame_that_is_not_there_adds_nothing(pair: tuple) -> None:
    network = tiny_network(grid="input", neighbours=True)
    frame0, frame1, prior = pair
    alone = network.encode(frame0, frame1, prior)
    around = network.encode_among(frame0, frame1, prior, outer(frame0, [1.0, 0.0]))
    same = [
        [torch.allclose(ours.features[k], theirs.features[k]) for k in range(2)]
        for ours, theirs in ((alone.frame0, around.frame0), (alone.frame1, around.frame1))
    ]
    assert same == [[False, True], [True, False]]


def test_neighbours_are_fetched_along_the_flow() -> None:
    network = tiny_network(grid="input", neighbours=True)
    frame = network.encode_frame(torch.rand(1, 3, 16, 24))
    shifted = network.encode_frame(torch.rand(1, 3, 16, 24))
    flow = torch.zeros(1, 2, 16, 24)
    flow[:, 0] = 5.0
    moved = type(shifted)(shifted.enlarged, shifted.features.roll(-5, dims=3))
    near, far = (
        network.with_neighbours(frame, [neighbour]).features for neighbour in ((moved, 0 * flow), (shifted, flow))
    )
    torch.testing.assert_close(near[..., :16], far[..., :16])


def test_a_network_for_two_frames_says_so(pair: tuple) -> None:
    network = tiny_network(grid="input")
    frame = network.encode_frame(pair[0])
    with pytest.raises(SafaError, match="two frames only"):
        network.with_neighbours(frame, [(frame, pair[2][0])])
