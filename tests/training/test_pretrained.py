"""Feature extractors that start from a ResNet-18."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.conftest import tiny_network

from safa.errors import SafaError
from safa.network.synthesis import Decoder
from safa.training.initialise import load_extractor, start_anew


def resnet() -> dict[str, torch.Tensor]:
    """A network of torchvision's names with a stem of 4 channels."""
    torch.manual_seed(1)

    def norm(name: str, channels: int) -> dict[str, torch.Tensor]:
        parts = ("weight", "bias", "running_mean", "running_var")
        return {f"{name}.{part}": torch.rand(channels) + 0.1 for part in parts}

    tensors = {"conv1.weight": torch.randn(4, 3, 7, 7), **norm("bn1", 4), "fc.weight": torch.zeros(2, 2)}
    for stage, (before, width) in enumerate(((4, 4), (4, 8)), start=1):
        for block in range(2):
            inside = before if block == 0 else width
            tensors[f"layer{stage}.{block}.conv1.weight"] = torch.randn(width, inside, 3, 3)
            tensors[f"layer{stage}.{block}.conv2.weight"] = torch.randn(width, width, 3, 3)
            tensors |= norm(f"layer{stage}.{block}.bn1", width) | norm(f"layer{stage}.{block}.bn2", width)
    tensors["layer2.0.downsample.0.weight"] = torch.randn(8, 4, 1, 1)
    return tensors | norm("layer2.0.downsample.1", 8)


def test_stem_and_stages_come_from_the_file(tmp_path: Path) -> None:
    tensors = resnet()
    save_file(tensors, tmp_path / "resnet.safetensors")
    network = tiny_network(grid="paper")
    fuse = network.extractor.fuse[0].weight.clone()
    load_extractor(network, tmp_path / "resnet.safetensors")
    state = network.extractor.state_dict()
    assert torch.equal(state["stem.0.weight"], tensors["conv1.weight"])
    assert torch.equal(state["stages.1.0.shortcut.1.running_var"], tensors["layer2.0.downsample.1.running_var"])
    assert torch.equal(state["stages.0.1.norm2.bias"], tensors["layer1.1.bn2.bias"])
    assert torch.equal(network.extractor.fuse[0].weight, fuse)


def test_another_network_is_named(tmp_path: Path) -> None:
    tensors = resnet()
    del tensors["layer2.1.conv1.weight"]
    save_file(tensors, tmp_path / "resnet.safetensors")
    with pytest.raises(SafaError, match=r"stages\.1\.1\.conv1\.weight is missing"):
        load_extractor(tiny_network(grid="paper"), tmp_path / "resnet.safetensors")


@pytest.mark.parametrize("grid", ["paper", "input"])
def test_what_enters_a_new_decoder_reaches_its_last_layer(grid: str) -> None:
    """That layer begins at 0 and learns by what it gets; as PyTorch makes layers, a seventh would be left."""
    torch.manual_seed(1)
    network = tiny_network(grid=grid, channels=16, decoder_blocks=12)
    start_anew(network)
    decoder = network.decoder
    assert isinstance(decoder, Decoder)
    arrived: list[torch.Tensor] = []
    decoder.head.register_forward_pre_hook(lambda _, given: arrived.append(given[0]))
    entered = torch.randn(2, 33, 32, 32)
    decoder(entered)
    # Deviation over the picture: what is the same everywhere tells the last layer nothing.
    assert arrived[0].std(dim=(2, 3)).mean() > 0.5 * entered.std()
