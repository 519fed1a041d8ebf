"""How blocks come by their scales in training."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tests.data_fixtures import write_training_data
from tests.training.windows import ANY, CHOOSING, NETWORK, SELECTING, batch_of, changed, lively_network

from safa.checkpoint import save_checkpoint
from safa.errors import SafaError
from safa.network.safa import Safa
from safa.training import Objective
from safa.training.initialise import start_from


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


def test_scales_are_drawn_evenly_or_as_the_pattern_says(data: Path) -> None:
    torch.manual_seed(0)
    drawn = [Objective(Safa(NETWORK), changed(pattern_share=0.4))._draw_scales() for _ in range(200)]
    assert 0.4 < sum(list(scales or ()) == [0, 1] for scales in drawn) / 200 < 0.6  # 0.4 + 0.6 / 9
    assert {tuple(scales or ()) for scales in drawn} == {(a, b) for a in range(3) for b in range(3)}
    assert Objective(Safa(NETWORK), changed(scale_pattern=None, pattern_share=1.0))._draw_scales() is None


def test_each_block_is_pulled_towards_the_wanted_shares(data: Path) -> None:
    """By a running mean over samples, so that a block may take different scales for different samples."""
    config = changed(**CHOOSING, scale_balance=1.0, scale_shares=(2.0, 1.0, 1.0))
    network = lively_network(SELECTING)
    with torch.no_grad():
        network.selector.decide.bias.fill_(4.0)  # type: ignore[union-attr]  # the finest scale, nearly always
    objective, batch = Objective(network, config), batch_of(data, config)
    assert torch.equal(objective.shares, torch.tensor([[0.5, 0.25, 0.25]] * 2))
    values = [objective(batch, ANY) for _ in range(3)]
    assert (objective.shares[:, 0] > 0.51).all()
    imbalances = [float(value["imbalance"].detach()) for value in values]
    assert 0 < imbalances[0] < imbalances[1] < imbalances[2]
    (gradient,) = torch.autograd.grad(values[-1]["imbalance"], network.selector.decide.bias)  # type: ignore[union-attr]
    assert (gradient > 0).all()  # less of the finest scale


def test_a_single_choice_may_be_certain_or_not(data: Path) -> None:
    config = changed(**CHOOSING, scale_balance=1.0)
    objective = Objective(lively_network(SELECTING), config)
    certain, open_ = torch.eye(3).repeat(2, 1, 1), torch.full((2, 3, 3), 1 / 3)
    for share in (certain, open_):  # blocks, samples, scales
        torch.testing.assert_close(objective._running(share.mean(dim=1)), torch.full((2, 3), 1 / 3))


def test_deeper_networks_begin_with_the_pictures_of_the_weights(tmp_path: Path) -> None:
    shallow = dataclasses.replace(NETWORK, propagation=1, decoder_blocks=1)
    trained = lively_network(shallow).eval()
    save_checkpoint(trained, tmp_path / "start.safetensors")
    deeper = Safa(dataclasses.replace(shallow, propagation=3, decoder_blocks=2)).eval()
    start_from(deeper, str(tmp_path / "start.safetensors"))
    frames = [torch.rand(1, 3, 16, 16) for _ in range(3)]
    flows = [(torch.rand(1, 2, 16, 16), torch.rand(1, 2, 16, 16)) for _ in range(2)]
    made = []
    with torch.no_grad():
        for network in (trained, deeper):
            first, second, _ = network.encode_window(frames, flows)
            made.append(network.synthesize(network.encode_pair(first, second, flows[0]), 0.4).image)
    torch.testing.assert_close(*made)
    save_checkpoint(deeper, tmp_path / "deeper.safetensors")
    with pytest.raises(SafaError, match="propagation is 3 instead of 1"):
        start_from(Safa(shallow), str(tmp_path / "deeper.safetensors"))


def test_a_selector_is_added_to_weights_that_have_none(tmp_path: Path) -> None:
    trained = lively_network(NETWORK)
    save_checkpoint(trained, tmp_path / "start.safetensors")
    torch.manual_seed(7)
    selecting, untouched = Safa(SELECTING), Safa(NETWORK)
    before = selecting.selector.decide.weight.clone()  # type: ignore[union-attr]
    for network in (selecting, untouched):
        start_from(network, str(tmp_path / "start.safetensors"))
        assert all(torch.equal(network.state_dict()[name], value) for name, value in trained.state_dict().items())
    assert torch.equal(selecting.selector.decide.weight, before)  # type: ignore[union-attr]
    with pytest.raises(SafaError, match="channels is 8 instead of 10"):
        start_from(Safa(dataclasses.replace(NETWORK, channels=10)), str(tmp_path / "start.safetensors"))
