"""Network files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import safa.checkpoint
from safa.checkpoint import load_checkpoint, save_checkpoint, shipped_names
from safa.errors import SafaError
from safa.network.released import import_released
from tests.conftest import tiny_network


def test_round_trip_keeps_weights_configuration_and_provenance(tmp_path: Path) -> None:
    network = tiny_network(grid="input", scales=(1.0, 0.5), flow_prior="dis")
    digest = save_checkpoint(network, tmp_path / "x.safetensors", {"steps": 7})
    read = load_checkpoint(tmp_path / "x.safetensors")
    assert (read.network.config, read.provenance, read.sha256) == (network.config, {"steps": 7}, digest)
    for name, value in network.named_parameters():
        assert torch.equal(read.network.get_parameter(name), value)


def test_half_precision_storage_halves_the_file(tmp_path: Path) -> None:
    network = tiny_network(channels=32)
    save_checkpoint(network, tmp_path / "full.safetensors")
    save_checkpoint(network, tmp_path / "half.safetensors", dtype="float16")
    full, half = ((tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    assert load_checkpoint(tmp_path / "half.safetensors").network.flow_head[0].weight.dtype == torch.float32


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(tiny_network(), path)
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(SafaError, match="damaged"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"scales": "abc"}', "scales is 'abc'; it must be a list of numbers"),
        ('{"scales": [[1]]}', "each must be 1, 0.5"),
        ('{"fixed_scale": 1.0}', "fixed_scale is 1.0; it must be an index"),
        ('{"blend_prior": "no"}', "blend_prior is 'no'; it must be true or false"),
        ("[1]", "must be names with values"),
        ("null", "must be names with values"),
        ("[" * 100_000, "unreadable configuration"),
        ("{", "unreadable configuration"),
    ],
    ids=lambda text: text[:12],
)
def test_a_configuration_that_no_network_has_is_refused(tmp_path: Path, config: str, message: str) -> None:
    metadata = {"format": safa.checkpoint.FORMAT, "config": config, "digest": safa.checkpoint._tensor_digest({})}
    save_file({}, tmp_path / "x.safetensors", metadata)
    with pytest.raises(SafaError, match=message):
        load_checkpoint(tmp_path / "x.safetensors")


def test_shipped_weights_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tiny_network(), tmp_path / "mine.safetensors")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  mine.safetensors\n")
    monkeypatch.setattr(safa.checkpoint, "SHIPPED", tmp_path)
    with pytest.raises(SafaError, match="reinstall"):
        load_checkpoint("mine")


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_weight_loads_and_has_a_card(name: str) -> None:
    assert load_checkpoint(name).provenance
    assert (safa.checkpoint.SHIPPED / f"{name}.md").is_file()


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(SafaError, match="not a SAFA network"):
        load_checkpoint(tmp_path / "other.safetensors")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b'\x08\0\0\0\0\0\0\0{"a":1}'])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(SafaError, match=r"safetensors|SAFA network"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_unknown_name_lists_what_is_shipped() -> None:
    with pytest.raises(SafaError, match="neither a file nor a shipped name"):
        load_checkpoint("nonsense")


def test_import_of_a_missing_file() -> None:
    with pytest.raises(SafaError, match="no file"):
        import_released("nowhere.pkl")
