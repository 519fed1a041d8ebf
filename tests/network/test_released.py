"""Our network against outputs of the authors' code, through the importer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.errors import SafaError
from safa.network.released import import_released
from safa.network.safa import Safa

FIXTURE = Path(__file__).parents[1] / "fixtures" / "released_layout_c16_b3.safetensors"
TIMES = ("0.00", "0.25", "0.50", "1.00")
SCALES = ("full", "half", "quarter")


@pytest.fixture(scope="module")
def fixture() -> dict[str, torch.Tensor]:
    return load_file(FIXTURE)


def write_release(fixture: dict[str, torch.Tensor], path: Path, prefix: str = "module.") -> Path:
    """A pickle in the authors' layout."""
    state = {k.replace("weights.", prefix, 1): v for k, v in fixture.items() if k.startswith("weights.")}
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def network(fixture: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Safa:
    folder = tmp_path_factory.mktemp("release")
    imported = import_released(write_release(fixture, folder / "flownet.pkl"))
    save_checkpoint(imported, folder / "imported.safetensors")
    return load_checkpoint(folder / "imported.safetensors").network


@torch.no_grad()
@pytest.mark.parametrize("scale", range(3), ids=SCALES)
def test_forced_scale_matches_authors(network: Safa, fixture: dict[str, torch.Tensor], scale: int) -> None:
    pair = network.encode_pair(
        network.encode_enlarged(fixture["input.frame0"]), network.encode_enlarged(fixture["input.frame1"])
    )
    for t in TIMES:
        ours = network.synthesize(pair, float(t), scale).image
        torch.testing.assert_close(ours, fixture[f"output.{SCALES[scale]}.t{t}"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_batch_with_a_different_scale_per_sample_matches_authors(
    network: Safa, fixture: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The selector is made to answer full, half and quarter for samples 0, 1 and 2.
    answers = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    monkeypatch.setattr(network.selector, "forward", lambda x: answers)
    frames = [fixture[f"input.frame{k}"].expand(3, -1, -1, -1) for k in (0, 1)]
    pair = network.encode_pair(*(network.encode_enlarged(frame) for frame in frames))
    for t in TIMES:
        result = network.synthesize(pair, float(t))
        assert result.scale.tolist() == [[0] * 3, [1] * 3, [2] * 3]
        for sample, scale in enumerate(SCALES):
            expected = fixture[f"output.{scale}.t{t}"][0]
            torch.testing.assert_close(result.image[sample], expected, atol=1e-4, rtol=0)


def test_import_takes_keys_without_module(fixture: dict[str, torch.Tensor], tmp_path: Path) -> None:
    network = import_released(write_release(fixture, tmp_path / "flownet.pkl", prefix=""))
    assert (network.config.channels, network.config.blocks) == (16, 3)


def test_import_names_missing_and_surplus_keys(fixture: dict[str, torch.Tensor], tmp_path: Path) -> None:
    state = {k.removeprefix("weights."): v for k, v in fixture.items() if k.startswith("weights.")}
    state["block.extra"] = state.pop("block.convflow.0.bias")
    torch.save(state, tmp_path / "flownet.pkl")
    with pytest.raises(SafaError, match=r"missing: flow_head\.0\.bias; left over: released:block\.extra"):
        import_released(tmp_path / "flownet.pkl")


def test_import_refuses_a_pickle_with_code(tmp_path: Path) -> None:
    torch.save({"block": print}, tmp_path / "evil.pkl")
    with pytest.raises(SafaError, match="plain tensors"):
        import_released(tmp_path / "evil.pkl")


def test_default_layout_has_the_papers_parameter_count() -> None:
    assert sum(parameter.numel() for parameter in Safa().parameters()) == 4_941_442
