"""Tiny networks shared by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from safa.checkpoint import save_checkpoint
from safa.network.config import SafaConfig
from safa.network.safa import Safa

# Of PyTorch. Tiny networks gain nothing by more, and lose much of their time where the processors have other work;
# gradients of some convolutions add up in another order each time on some processors.
torch.set_num_threads(1)

# The same examples every time: a suite that passes passes again. `--hypothesis-profile=random` draws others. No
# deadlines: the machine may be busy.
settings.register_profile("random", deadline=None)
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

TINY = {"channels": 8, "blocks": 2, "stem_channels": 4, "decoder_blocks": 1}


# Files beside those of the folder "export" that want the same exported networks.
EXPORTED = ("tests/evaluation/test_exported.py", "tests/test_examples.py")


def sharing(nodeid: str) -> str:
    """What a test's worker is chosen by: tests of a file share one, and so do all that want the same costly things."""
    file = nodeid.split("::")[0]
    folder = file.split("/")[1]
    return "export" if file in EXPORTED else folder if folder in ("export", "cluster") else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # PyTorch's exporter takes longest: what comes last would be waited for.
    items.sort(key=lambda item: sharing(item.nodeid) != "export")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread the tests over the workers by ``sharing``."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return sharing(nodeid)

    return Sharing(config, log)


def tiny_network(**settings: object) -> Safa:
    """A small random network in evaluation mode whose heads are not zero, so that every part matters."""
    torch.manual_seed(0)
    network = Safa(SafaConfig(**{**TINY, **settings}))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith(("flow_head", "decoder.head", "propagation.decoder")) or name.endswith("beta"):
                parameter.normal_(std=0.2)
    return network.eval()


def streaming_network(**settings: object) -> Safa:
    """The smallest network that carries features along a window."""
    return tiny_network(
        **{"grid": "input", "blend_prior": True, "flow_prior": "dis", "blocks": 1, "propagation": 1, **settings}
    )


def small_stream() -> Safa:
    """A network with propagation in few parts, with a change of the classical flow that is not zero."""
    network = streaming_network(scales=(0.5,), extractor="stem")
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "flow_change.1" in name:
                parameter.normal_(std=0.2)
    return network


@pytest.fixture
def input_network() -> Safa:
    """The input grid with both priors, as the shipped default has it."""
    return tiny_network(grid="input", blend_prior=True, flow_prior="dis")


@pytest.fixture(scope="session")
def exported_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, "tiny.safetensors", and the folder "tiny" with its ONNX graphs; the folder is returned."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the export extra is not installed")
    from safa.export import export_model

    folder = tmp_path_factory.mktemp("export")
    # Few parts: PyTorch's exporter takes seconds for each.
    network = tiny_network(
        grid="input", blend_prior=True, flow_prior="dis", blocks=1, scales=(1.0, 0.5), extractor="stem"
    )
    save_checkpoint(network, folder / "tiny.safetensors")
    export_model(folder / "tiny.safetensors", folder / "tiny")
    return folder / "tiny"


@pytest.fixture(scope="session")
def exported_stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``exported_onnx``, of a network with propagation whose scale is fixed, as a shipped one may be."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="the export extra is not installed")
    from safa.export import export_model

    folder = tmp_path_factory.mktemp("export")
    save_checkpoint(small_stream(), folder / "stream.safetensors")
    export_model(folder / "stream.safetensors", folder / "stream")
    return folder / "stream"
