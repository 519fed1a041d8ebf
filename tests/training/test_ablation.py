"""The ablation table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.data_fixtures import write_pack, write_training_data

from safa.errors import SafaError
from safa.training.ablation import AblationResult, ablate, as_table, read_rows
from safa.training.config import TrainConfig

TABLE = """
batch = 2
patch = 32
workers = 0
validation_samples = 2
held_out = 0.5
network = { grid = "input", channels = 8, blocks = 2, stem_channels = 4, decoder_blocks = 1 }
[rows.one]
label = "1 iteration"
network.blocks = 1
[rows.two]
label = "2 iterations"
[rows.again]
label = "the same as two"
[rows.file]
label = "from a file"
extractor_weights = "not-there.safetensors"
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "table.toml").write_text(TABLE)
    return tmp_path / "table.toml"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packed"))


def test_every_row_gets_the_same_budget_and_its_figures(table: Path, packed: Path, tmp_path: Path) -> None:
    results = ablate(read_rows(table), packed, tmp_path / "out", steps=2, accelerator="cpu", devices=1)
    one, two, again, missing = results
    assert (one.steps, two.steps) == (2, 2)
    assert one.parameters is not None
    assert two.parameters is not None
    assert one.parameters < two.parameters
    assert one.gigaflop is not None
    assert two.gigaflop is not None
    assert one.gigaflop < two.gigaflop
    assert again == dataclasses.replace(two, name="again", label="the same as two")
    assert not (tmp_path / "out" / "again").exists()
    assert missing.skipped == "needs not-there.safetensors"
    text = (tmp_path / "out" / "table.md").read_text()
    assert text == as_table(results) + "\n"
    assert f"| one | 1 iteration | 2 | {one.parameters / 1e6:.2f} M |" in text


def test_finished_rows_are_kept(table: Path, packed: Path, tmp_path: Path) -> None:
    options = {"steps": 1, "accelerator": "cpu", "devices": 1}
    first = ablate(read_rows(table, only=["one"]), packed, tmp_path / "out", **options)  # type: ignore[arg-type]
    trained: list[str] = []
    again = ablate(
        read_rows(table, only=["one", "two"]),
        packed,
        tmp_path / "out",
        **options,  # type: ignore[arg-type]
        on_progress=lambda row, progress: trained.append(row.name),
    )
    assert again[0] == first[0]
    assert trained == ["two"]


def test_rows_of_other_settings_are_trained_anew(table: Path, packed: Path, tmp_path: Path) -> None:
    trained: list[tuple[str, int]] = []

    def run(steps: int, *overrides: str, data: Path = packed) -> list[AblationResult]:
        trained.clear()
        return ablate(
            read_rows(table, overrides, only=["one"]),
            data,
            tmp_path / "out",
            steps=steps,
            accelerator="cpu",
            devices=1,
            on_progress=lambda row, progress: trained.append((row.name, progress.step)),
        )

    assert [row.steps for row in run(1)] == [1]
    kept = (tmp_path / "out" / "one" / "last.safetensors").read_bytes()
    assert [row.steps for row in run(2)] == [2]
    assert trained == [("one", 1), ("one", 2)]  # not the second step of the earlier run
    assert (tmp_path / "out" / "one.earlier-1" / "last.safetensors").read_bytes() == kept
    run(2, "learning_rate=1e-3")
    assert trained == [("one", 1), ("one", 2)]
    other = write_pack(tmp_path / "other")
    other.write_bytes(other.read_bytes() + b"x")
    run(2, "learning_rate=1e-3", data=other)
    assert trained == [("one", 1), ("one", 2)]
    run(2, "learning_rate=1e-3", data=other)
    assert trained == []


def test_a_stopped_row_gets_what_is_left_of_its_minutes(
    table: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    clock = [0.0]

    def stopped(*arguments: object, minutes: float, **options: object) -> int:
        given.append(minutes)
        clock[0] += 4 * 60
        raise KeyboardInterrupt

    monkeypatch.setattr("safa.training.ablation.train", stopped)
    monkeypatch.setattr("safa.training.ablation.monotonic", lambda: clock[0])
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            ablate(read_rows(table, only=["one"]), packed, tmp_path / "out", minutes=10)
    assert given == [10, 6, 2, 0]


def test_wrong_requests_are_one_sentence(table: Path, tmp_path: Path) -> None:
    with pytest.raises(SafaError, match="no row three; it has one, two, again, file"):
        read_rows(table, only=["three"])
    with pytest.raises(SafaError, match="either in minutes or in steps"):
        ablate(read_rows(table), tmp_path, tmp_path / "out")
    data = write_training_data(tmp_path / "data")
    with pytest.raises(SafaError, match="holds nothing out"):
        ablate(read_rows(table, ["held_out=0.0"]), data, tmp_path / "out", steps=1)


def test_the_papers_axes_differ_from_the_base_in_one_setting() -> None:
    base = TrainConfig.from_toml(Path("recipes/base.toml")).to_dict()
    rows = read_rows(Path("recipes/ablation.toml"))
    assert [row.name for row in rows] == [
        f"{axis}{number}"
        for axis, count in zip("abcde", (5, 3, 8, 3, 4), strict=True)
        for number in range(1, count + 1)
    ] + ["c4-seed2", "c8-seed2", "c8-seed3"]
    for row in rows:
        values = row.config.to_dict()
        network = {name for name in base["network"] if values["network"][name] != base["network"][name]}
        others = {name for name in base if name != "network" and values[name] != base[name]}
        is_base = "(chosen)" in row.label or row.name in ("d1", "c8-seed2", "c8-seed3")
        assert len(network | others - {"seed"}) == (0 if is_base else 1), row.name
        assert ("seed" in others) == ("seed" in row.name)


def test_every_row_of_the_network_table_differs_from_fast() -> None:
    chosen, *others = read_rows(Path("recipes/network.toml"))
    assert chosen.config == TrainConfig.from_toml(Path("recipes/pair.toml"))
    assert all(row.config != chosen.config for row in others)
