"""Tiny networks shared by the tests."""

from __future__ import annotations

import pytest
import torch

from safa.network.safa import Safa, SafaConfig

TINY = {"channels": 8, "blocks": 2, "stem_channels": 4, "decoder_blocks": 1}


def tiny_network(**settings: object) -> Safa:
    """A small random network in evaluation mode whose heads are not zero, so that every part matters."""
    torch.manual_seed(0)
    network = Safa(SafaConfig(**{**TINY, **settings}))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("flow_head", "decoder.head")) or name.endswith("beta"):
                parameter.normal_(std=0.2)
    return network.eval()


@pytest.fixture
def input_network() -> Safa:
    """The input grid with both priors, as the shipped default has it."""
    return tiny_network(grid="input", blend_prior=True, flow_prior="dis")
