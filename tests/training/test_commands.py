"""The commands pack, train and ablate."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.data_fixtures import write_frames

from safa import cli

RECIPE = """
steps = 2
batch = 2
patch = 32
workers = 0
validate_every = 2
validation_samples = 2
network = { grid = "input", channels = 8, blocks = 1, stem_channels = 4, decoder_blocks = 1 }
"""


@pytest.fixture
def safa(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["safa", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        out, err = capsys.readouterr()
        return int(exit_info.value.code or 0), out, err

    return run


def test_from_a_folder_to_weights_and_a_table(safa, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for k in range(2):
        write_frames(tmp_path / "clips" / str(k), seed=k)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "table.toml").write_text('extends = "recipe"\n[rows.a]\n[rows.b]\nlearning_rate = 1e-3\n')
    data = tmp_path / "data.pack"
    code, out, _ = safa("pack", tmp_path / "clips", "-o", data, "--side", 96, "--frames", 5, "--held-out", 0.5)
    assert code == 0
    assert "windows and 0 photographs to train on" in out

    options = ["--data", data, "--accelerator", "cpu", "--devices", 1]
    code, out, _ = safa("train", *options, "--out", tmp_path / "run", "--config", tmp_path / "recipe.toml")
    assert code == 0
    assert "step 2: inputs" in out
    assert "over bicubic" in out
    assert (tmp_path / "run" / "last.safetensors").is_file()
    code, out, _ = safa("train", *options, "--out", tmp_path / "run", "--resume", "--set", "steps=3")
    assert code == 0
    assert "3 steps done" in out

    code, out, _ = safa("ablate", tmp_path / "table.toml", *options, "--out", tmp_path / "table", "--steps", 1)
    assert code == 0
    assert [line.split(" | ")[0] for line in out.splitlines()[2:]] == ["| a", "| b"]


def test_bad_requests_are_one_sentence(safa, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for arguments, message in (
        (["pack", tmp_path / "nowhere", "-o", tmp_path / "x.pack"], "no folder"),
        (["train", "--data", tmp_path, "--out", tmp_path / "run", "--set", "stepps=1"], "stepps"),
        (["ablate", tmp_path / "no.toml", "--data", tmp_path, "--out", tmp_path / "t"], "cannot be read"),
    ):
        code, out, err = safa(*arguments)
        assert code == 2
        assert out == ""
        assert message in err
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
