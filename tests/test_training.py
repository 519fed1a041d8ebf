"""The training loop on a tiny network."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from safa.checkpoint import load_checkpoint
from safa.data.dataset import TrainingData, collate
from safa.errors import SafaError
from safa.network.safa import Safa, SafaConfig
from safa.training import Objective, TrainConfig, TrainProgress, _imbalance, train
from tests.conftest import TINY
from tests.data_fixtures import write_training_data

CONFIG = TrainConfig(
    network=SafaConfig(**TINY, grid="input", blend_prior=True, flow_prior="dis"),  # type: ignore[arg-type]
    steps=6,
    batch=2,
    patch=32,
    warmup=2,
    workers=0,
    log_every=2,
    save_every=2,
    picture_every=4,
    learning_rate=2e-3,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


def run(config: TrainConfig, data: Path, out: Path, **options: object) -> int:
    return train(config, data, out, accelerator="cpu", devices=1, **options)  # type: ignore[arg-type]


class Stopped(Exception):
    """Stands for a crash."""


def stop_at(step: int) -> object:
    def check(progress: TrainProgress) -> None:
        if progress.step == step:
            raise Stopped

    return check


@pytest.mark.parametrize("times", ["one", "three"])
def test_resumed_equals_uninterrupted_to_the_last_bit(data: Path, tmp_path: Path, times: str) -> None:
    config = dataclasses.replace(CONFIG, times=times)
    assert run(config, data, tmp_path / "whole") == 6
    with pytest.raises(Stopped):
        run(config, data, tmp_path / "parts", on_progress=stop_at(3))
    run(config, data, tmp_path / "parts", resume=True)
    whole, parts = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_run_leaves_weights_log_and_pictures(data: Path, tmp_path: Path) -> None:
    run(CONFIG, data, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").provenance["steps"] == 6
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert all(row["l1"] > 0 for row in rows)
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_time_ends_a_run_that_can_be_resumed(data: Path, tmp_path: Path) -> None:
    assert run(CONFIG, data, tmp_path / "run", minutes=0) == 1
    assert run(CONFIG, data, tmp_path / "run", resume=True) == 6


def test_training_starts_from_given_weights(data: Path, tmp_path: Path) -> None:
    run(CONFIG, data, tmp_path / "first")
    still = dataclasses.replace(CONFIG, steps=1, learning_rate=0.0, final_learning_rate=0.0)
    run(still, data, tmp_path / "second", init=str(tmp_path / "first" / "last.safetensors"))
    first, second = (load_checkpoint(tmp_path / name / "last.safetensors").network for name in ("first", "second"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_objective_can_be_learnt(data: Path) -> None:
    samples = TrainingData(data, 32, 0.5, seed=1, length=4)
    batch = collate([samples[k] for k in range(4)])
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, fixed_scale=0))
    torch.manual_seed(0)
    objective = Objective(Safa(config.network).train(), config)
    optimizer = torch.optim.AdamW(objective.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        loss = objective(batch, torch.ones(4, dtype=torch.long))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_learning_rate_warms_up_and_falls_to_its_end() -> None:
    config = TrainConfig(steps=100, warmup=10, learning_rate=1.0, final_learning_rate=0.1)
    assert config.learning_rate_at(4) == pytest.approx(0.5)
    assert config.learning_rate_at(10) == pytest.approx(1.0)
    assert config.learning_rate_at(55) == pytest.approx(0.55)
    assert config.learning_rate_at(100) == pytest.approx(0.1)


def test_imbalance_is_zero_for_certain_equal_choices_and_large_for_collapse() -> None:
    assert float(_imbalance(torch.eye(3))) == pytest.approx(0, abs=1e-4)
    assert float(_imbalance(torch.eye(3)[[0, 0, 0]])) == pytest.approx(math.log(3), abs=1e-4)
    assert 0 < float(_imbalance(torch.full((3, 3), 1 / 3))) < 0.3


def test_recipe_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('steps = 5\n[network]\ngrid = "input"\nchannels = 8\n')
    config = TrainConfig.from_toml(path)
    assert (config.steps, config.network.channels) == (5, 8)
    for text, message in (
        ("stepps = 5", "stepps"),
        ("steps = ", "not valid TOML"),
        ("[network]\nx = 1", "unknown names: x"),
    ):
        path.write_text(text)
        with pytest.raises(SafaError, match=message):
            TrainConfig.from_toml(path)


@pytest.mark.parametrize(("options", "message"), [({"resume": True}, "no run to resume"), ({}, "already holds a run")])
def test_a_run_is_neither_overwritten_nor_invented(
    data: Path, tmp_path: Path, options: dict[str, bool], message: str
) -> None:
    if not options:
        run(dataclasses.replace(CONFIG, steps=1), data, tmp_path)
    with pytest.raises(SafaError, match=message):
        run(CONFIG, data, tmp_path, **options)


@pytest.mark.parametrize("name", sorted(Path("recipes").glob("*.toml")), ids=str)
def test_every_recipe_is_valid(name: Path) -> None:
    assert TrainConfig.from_toml(name).steps > 0
