"""The training loop on a tiny network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.data.dataset import Sample, TrainingData, collate, open_material
from safa.data.degrade import Degradation
from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.safa import Safa
from safa.training import Objective, TrainConfig, TrainProgress, train
from safa.training.initialise import start_anew
from tests.conftest import TINY, tiny_network
from tests.data_fixtures import write_pack, write_training_data

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
    held_out=0.0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pack(tmp_path_factory.mktemp("packed"))


def run(config: TrainConfig, data: Path, out: Path, **options: object) -> int:
    return train(config, data, out, accelerator="cpu", devices=1, **options)  # type: ignore[arg-type]


class Stopped(Exception):
    """Stands for a crash."""


def stop_at(step: int) -> object:
    def check(progress: TrainProgress) -> None:
        if progress.step == step:
            raise Stopped

    return check


@pytest.mark.parametrize(
    "changes",
    [{"times": "one"}, {"times": "three"}, {"flow_loss": 0.1, "degradation": Degradation(), "checkpointing": True}],
    ids=["one", "three", "everything"],
)
def test_resumed_equals_uninterrupted_to_the_last_bit(data: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    config = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
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


def test_a_run_from_before_blocks_were_balanced_goes_on(data: Path, tmp_path: Path) -> None:
    run(dataclasses.replace(CONFIG, steps=2), data, tmp_path)
    tensors = load_file(tmp_path / "state.safetensors")
    del tensors["shares"]
    save_file(tensors, tmp_path / "state.safetensors", {"step": "2"})
    assert run(CONFIG, data, tmp_path, resume=True) == 6


def test_training_starts_from_given_weights(data: Path, tmp_path: Path) -> None:
    run(CONFIG, data, tmp_path / "first")
    still = dataclasses.replace(CONFIG, steps=1, learning_rate=0.0, final_learning_rate=0.0)
    run(still, data, tmp_path / "second", init=str(tmp_path / "first" / "last.safetensors"))
    first, second = (load_checkpoint(tmp_path / name / "last.safetensors").network for name in ("first", "second"))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_validation_is_shown_and_logged_and_disturbs_nothing(packed: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4, validate_every=2, validation_samples=3)
    seen: list[TrainProgress] = []
    run(config, packed, tmp_path / "with", on_progress=seen.append)
    run(dataclasses.replace(config, validation_samples=0), packed, tmp_path / "without")
    assert [one.validation.step if one.validation else None for one in seen] == [None, 2, 2, 4]
    last = seen[-1].validation
    assert last is not None
    # A network whose heads start at zero begins at what its bicubic frames give.
    assert abs(last.inputs - last.bicubic) < 3
    rows = [json.loads(line) for line in (tmp_path / "with" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "held_out_between" in row] == [2, 4]
    weights = [load_file(tmp_path / name / "last.safetensors") for name in ("with", "without")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_collapsed_selector_is_warned_about_once_an_interval(data: Path, tmp_path: Path) -> None:
    network = Safa(CONFIG.network)
    with torch.no_grad():
        assert network.selector is not None
        network.selector.decide.bias.fill_(20.0)  # scale 1, always
    save_checkpoint(network, tmp_path / "start.safetensors")
    config = dataclasses.replace(CONFIG, steps=4, learning_rate=0.0, final_learning_rate=0.0)
    seen: list[TrainProgress] = []
    run(config, data, tmp_path / "run", init=str(tmp_path / "start.safetensors"), on_progress=seen.append)
    warnings = [one.warning for one in seen]
    assert [warning is None for warning in warnings] == [True, False, True, False]
    assert "scale 1 for 100% of the samples in block 1" in str(warnings[1])
    assert "scale_balance" in str(warnings[1])


def test_a_gradient_that_is_not_finite_does_not_spoil_the_weights(data: Path, tmp_path: Path) -> None:
    run(dataclasses.replace(CONFIG, steps=2), data, tmp_path / "run")
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    spoilt = dataclasses.replace(CONFIG, scale_balance=1e38)
    with pytest.raises(SafaError, match="not finite at step 2"):
        run(spoilt, data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before


def test_epochs_count_the_windows(packed: Path, tmp_path: Path) -> None:
    windows = len(open_material(packed, 0.0).train.reels)
    assert run(dataclasses.replace(CONFIG, epochs=3), packed, tmp_path / "run") == -(-3 * windows // 2)


def batch_of(data: Path, config: TrainConfig) -> Sample:
    samples = TrainingData(open_material(data, 0.0).train, config.sample_settings(), seed=1, length=4)
    return collate([samples[k] for k in range(4)])


def test_the_objective_can_be_learnt(data: Path) -> None:
    config = dataclasses.replace(CONFIG, network=dataclasses.replace(CONFIG.network, fixed_scale=0))
    batch = batch_of(data, config)
    torch.manual_seed(0)
    network = Safa(config.network).train()
    start_anew(network)
    objective = Objective(network, config)
    optimizer = torch.optim.AdamW(objective.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        loss = objective(batch, torch.ones(4, dtype=torch.long))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_gradient_checkpointing_changes_no_gradient(data: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        config = dataclasses.replace(CONFIG, checkpointing=checkpointing)
        network = tiny_network(grid="input", blend_prior=True, flow_prior="dis").train()
        objective = Objective(network, config)
        torch.manual_seed(5)
        objective(batch_of(data, config), torch.ones(4, dtype=torch.long))["loss"].backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    plain, checkpointed = gradients
    assert [gradient is None for gradient in plain] == [gradient is None for gradient in checkpointed]
    pairs = [(a, b) for a, b in zip(plain, checkpointed, strict=True) if a is not None and b is not None]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert sum(bool(a.abs().sum() > 0) for a, _ in pairs) > len(pairs) / 2


def test_exact_flow_teaches_motion_and_a_teacher_fills_the_gaps(data: Path) -> None:
    config = dataclasses.replace(CONFIG, flow_loss=1.0, still_share=0.0)  # clips alone: no exact flow
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis").train()
    batch, pick = batch_of(data, config), torch.ones(4, dtype=torch.long)
    assert float(Objective(network, config)(batch, pick)["flow"].detach()) == 0
    for grid in ("input", "paper"):
        teacher = tiny_network(grid=grid, blocks=1)
        assert float(Objective(network, config, teacher)(batch, pick)["flow"].detach()) > 0
    stills = dataclasses.replace(config, still_share=1.0)
    batch = batch_of(data, stills)
    assert float(Objective(network, stills)(batch, pick)["flow"].detach()) > 0


def test_a_run_that_was_killed_while_it_saved_goes_on(data: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=4, log_every=1, save_every=2)
    run(config, data, tmp_path)
    saved = load_file(tmp_path / "last.safetensors")
    (tmp_path / "last.safetensors").unlink()
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 5, "loss": 1.0}\n{"step": 6, "lo')
    assert run(config, data, tmp_path, resume=True) == 4
    again = load_file(tmp_path / "last.safetensors")
    assert all(torch.equal(again[name], value) for name, value in saved.items())
    run(dataclasses.replace(config, steps=5), data, tmp_path, resume=True)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2, 3, 4, 5]
    (tmp_path / "state.safetensors").write_bytes(b"")
    with pytest.raises(SafaError, match=r"state\.safetensors is damaged.*--init"):
        run(config, data, tmp_path, resume=True)


@pytest.mark.parametrize(("options", "message"), [({"resume": True}, "no run to resume"), ({}, "already holds a run")])
def test_a_run_is_neither_overwritten_nor_invented(
    data: Path, tmp_path: Path, options: dict[str, bool], message: str
) -> None:
    if not options:
        run(dataclasses.replace(CONFIG, steps=1), data, tmp_path)
    with pytest.raises(SafaError, match=message):
        run(CONFIG, data, tmp_path, **options)
