"""Features carried along a window of frames."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import streaming_network, tiny_network

from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.propagation import LARGEST_SEEN


def window(count: int, batch: int = 1) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(1)
    frames = [torch.rand(batch, 3, 16, 24, generator=generator) for _ in range(count)]
    flows = [tuple(torch.randn(batch, 2, 16, 24, generator=generator) for _ in range(2)) for _ in range(count - 1)]
    return frames, flows  # type: ignore[return-value]


@torch.no_grad()
def test_every_frame_reaches_every_other() -> None:
    network = streaming_network()
    frames, flows = window(4)
    before = network.encode_window(frames, flows)
    for changed in range(4):
        others = list(frames)
        others[changed] = 1 - others[changed]
        after = network.encode_window(others, flows)
        assert all(not torch.allclose(a.features, b.features) for a, b in zip(before, after, strict=True))


@torch.no_grad()
def test_samples_of_a_batch_do_not_mix() -> None:
    network = streaming_network()
    frames, flows = window(3, batch=2)
    both = network.encode_window(frames, flows)
    first = network.encode_window([f[:1] for f in frames], [(a[:1], b[:1]) for a, b in flows])
    for ours, theirs in zip(both, first, strict=True):
        torch.testing.assert_close(ours.enlarged[:1], theirs.enlarged, atol=1e-5, rtol=0)


@torch.no_grad()
def test_states_are_fetched_along_the_flow() -> None:
    network = streaming_network()
    (first, second), _ = window(2)
    still = torch.zeros(1, 2, 16, 24)
    moved = still.clone()
    moved[:, 0] = 8.0  # what the second frame shows at x is in the first one at x + 8
    aligned, shifted = (
        network.carry([frame, second], [(-flow, flow)])[1]
        for frame, flow in ((first.roll(-8, dims=3), still), (first, moved))
    )
    inside = (..., slice(4, 12), slice(6, 10))
    unaligned = network.carry([first, second], [(still, still)])[1]
    error = (aligned - shifted)[inside].abs().mean()
    assert error < 0.3 * (aligned - unaligned)[inside].abs().mean()


@torch.no_grad()
@pytest.mark.parametrize("reach", [2.0, 40.0])
def test_convolutions_are_told_of_flow_within_what_training_shows(reach: float) -> None:
    network = streaming_network()
    flow = torch.full((1, 6, 16, 24), reach)
    features = torch.rand(1, network.config.channels, 16, 24)
    seen = network.block_input(features, features, features, flow, torch.tensor([0.5]))
    flows = seen[:, network.config.channels :][:, :6]
    assert float(flows[:, :4].max()) == min(reach, LARGEST_SEEN)
    assert float(flows[:, 4].max()) == reach  # the mask's logit is no flow


@torch.no_grad()
def test_an_input_frame_has_a_picture_of_its_own() -> None:
    network = streaming_network()
    frames, flows = window(2)
    first, second = network.encode_window(frames, flows)
    pair = network.encode_pair(first, second, flows[0])
    for t, state in ((0.0, first), (1.0, second)):
        assert torch.equal(network.synthesize(pair, t).image, state.enlarged.clamp(0, 1))
    assert not torch.allclose(network.synthesize(pair, 0.5).image, first.enlarged.clamp(0, 1))


def test_a_new_network_gives_bicubic_frames() -> None:
    config = SafaConfig(channels=8, stem_channels=4, grid="input", flow_prior="dis", propagation=1)
    network = type(streaming_network())(config).eval()
    frames, flows = window(2)
    plain = tiny_network(grid="input").encode_frame(frames[0]).enlarged
    assert torch.equal(network.encode_window(frames, flows)[0].enlarged, plain)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SafaError, match="two frames only"):
        tiny_network(grid="input").encode_window(*window(2))
    with pytest.raises(SafaError, match="propagation must have"):
        SafaConfig(propagation=2)
    with pytest.raises(SafaError, match="no longer supported"):
        SafaConfig.from_dict({"neighbours": True})
    assert SafaConfig.from_dict({"neighbours": False}) == SafaConfig()
