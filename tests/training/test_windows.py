"""Training networks that look along a window."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from tests.data_fixtures import write_pack, write_training_data
from tests.training.windows import (
    ANY,
    CHOOSING,
    CONFIG,
    NETWORK,
    SELECTING,
    batch_of,
    changed,
    lively_network,
    resumed_to_the_last_bit,
    run,
)

from safa.checkpoint import load_checkpoint
from safa.data.degrade import Degradation
from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.layers import ResidualBlock
from safa.network.safa import Safa
from safa.training import Objective, TrainConfig, TrainProgress
from safa.training.basicvsr import BasicVSR
from safa.training.initialise import start_anew, start_from
from safa.training.losses import PIXEL_LOSSES
from safa.training.objective import fuse_operations, synthesize_all


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


@pytest.mark.parametrize(
    "changes", [{"degradation": Degradation()}, {**CHOOSING, "checkpointing": True}], ids=["random", "selector"]
)
def test_resumed_equals_uninterrupted_to_the_last_bit(data: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    whole = resumed_to_the_last_bit(changed(**changes), data, tmp_path)
    moved = not torch.equal(whole["shares"], torch.full((2, 3), 1 / 3))
    assert moved == ("network" in changes)


def test_what_makes_frames_between_can_be_trained_alone(data: Path, tmp_path: Path) -> None:
    config = changed(trained="synthesis", average=0.0)
    run(changed(steps=2), data, tmp_path / "begin")
    begin = tmp_path / "begin" / "last.safetensors"
    resumed_to_the_last_bit(config, data, tmp_path, init=str(begin))
    before, after = (load_checkpoint(path).network for path in (begin, tmp_path / "whole" / "last.safetensors"))
    changed_parts = {
        name.partition(".")[0]
        for (name, ours), theirs in zip(before.state_dict().items(), after.state_dict().values(), strict=True)
        if not torch.equal(ours, theirs)
    }
    assert changed_parts == {"first_hidden", "blocks", "flow_head", "decoder"}


def test_compiled_chains_give_the_same(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, compiled = (Objective(lively_network(NETWORK), CONFIG) for _ in range(2))
    chains = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: chains.append(self))
    fuse_operations(compiled.network)
    propagation = compiled.network.propagation
    assert chains == [propagation.backward_pass.body, propagation.forward_pass.body, compiled.network.decoder.body]
    for chain in chains:
        chain._compiled_call_impl = torch.compile(chain._call_impl, dynamic=False, backend="aot_eager")
    sample, losses = batch_of(data, CONFIG), []
    for objective in (plain, compiled):
        torch.manual_seed(1)  # scales are drawn
        losses.append(objective(sample, ANY)["loss"])
        losses[-1].backward()
    torch.testing.assert_close(losses[0], losses[1])
    for ours, theirs in zip(plain.network.parameters(), compiled.network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_run_in_half_precision_leaves_weights_and_a_log(data: Path, tmp_path: Path) -> None:
    run(changed(precision="bf16-mixed", steps=2), data, tmp_path / "run")
    assert load_checkpoint(tmp_path / "run" / "last.safetensors").network.config == NETWORK
    (row,) = (json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines())
    assert row["loss"] == pytest.approx(
        row["inputs_charbonnier"] + 0.7 * (row["charbonnier"] + 0.5 * row["fused"]), rel=1e-4
    )


def test_all_input_frames_and_one_time_between_are_compared(data: Path) -> None:
    config = changed(scale_choice="selector", fused_loss=0.0, between_loss=0.7)
    network, batch = lively_network(NETWORK), batch_of(data, config)
    loss = Objective(network, config)(batch, ANY)["loss"]
    inputs, between = synthesize_all(network, batch)
    charbonnier = PIXEL_LOSSES["charbonnier"]
    wanted = charbonnier(inputs, batch.truths) + 0.7 * charbonnier(between, batch.between)
    torch.testing.assert_close(loss, wanted)
    # The time lies between the frames that the sample names.
    enlarged = synthesize_all(network, dataclasses.replace(batch, t=torch.zeros(4)))[1]
    assert torch.equal(enlarged, inputs[torch.arange(4), batch.pair])


def test_distillation_is_the_distance_to_the_teachers_pictures(data: Path) -> None:
    config = changed(distillation_loss=0.5, truth_loss=0.2, scale_choice="selector", fused_loss=0.0)
    network, batch = lively_network(NETWORK).eval(), batch_of(data, CONFIG)
    pictures = torch.rand_like(batch.truths), torch.rand_like(batch.between)
    taught = dataclasses.replace(batch, taught=pictures)
    values = Objective(network, config)(taught, ANY)
    charbonnier = PIXEL_LOSSES["charbonnier"]
    inputs, between = synthesize_all(network, batch)
    to_truth = charbonnier(inputs, batch.truths) + 0.7 * charbonnier(between, batch.between)
    to_teacher = charbonnier(inputs, pictures[0]) + 0.7 * charbonnier(between, pictures[1])
    torch.testing.assert_close(values["loss"], 0.2 * to_truth + 0.5 * to_teacher)


def test_a_teacher_that_is_asked_in_every_step_knows_the_input_frames(data: Path) -> None:
    teacher = BasicVSR().eval()
    config = changed(distillation_loss=0.5, picture_teachers=("a file",), scale_choice="selector")
    network, batch = lively_network(NETWORK).eval(), batch_of(data, config)
    objective = Objective(network, config, picture_teachers=[teacher])
    inputs = synthesize_all(network, batch)[0]
    wanted = [teacher(batch.frames).detach(), teacher(batch.frames.flip(-1)).flip(-1).detach()]
    distances = [PIXEL_LOSSES["charbonnier"](inputs, pictures) for pictures in wanted]
    seen = set()
    for seed in range(8):
        torch.manual_seed(seed)
        values = objective(batch, ANY)
        assert "distillation" not in values  # nothing is known of the time between
        near = [torch.isclose(values["inputs_distillation"], distance, rtol=1e-5) for distance in distances]
        assert any(near)
        seen.add(near.index(True))
    assert seen == {0, 1}


def test_a_teacher_looks_at_the_frames_before_the_damage(data: Path) -> None:
    teacher = BasicVSR().eval()
    config = changed(distillation_loss=0.5, picture_teachers=("a file",), scale_choice="selector")
    network, batch = lively_network(NETWORK).eval(), batch_of(data, config)
    batch = dataclasses.replace(batch, clean=batch.frames.flip(1))  # any other frames
    values = Objective(network, config, picture_teachers=[teacher])(batch, ANY)
    seen = batch.frames.flip(1)
    wanted = [teacher(seen).detach(), teacher(seen.flip(-1)).flip(-1).detach()]
    inputs = synthesize_all(network, batch)[0]
    distances = [PIXEL_LOSSES["charbonnier"](inputs, pictures) for pictures in wanted]
    assert any(torch.isclose(values["inputs_distillation"], distance, rtol=1e-5) for distance in distances)


def test_plain_blocks_give_the_same_and_stay_plain(data: Path, tmp_path: Path) -> None:
    config = changed(plain_blocks=True, average=0.0)
    resumed_to_the_last_bit(config, data, tmp_path)
    blocks = [
        module
        for module in load_checkpoint(tmp_path / "whole" / "last.safetensors").network.modules()
        if isinstance(module, ResidualBlock)
    ]
    for block in blocks:
        x = torch.randn(1, 8, 6, 6)
        learned = block(x)
        assert block.make_plain()
        torch.testing.assert_close(block(x), learned)
    other = lively_network(NETWORK).propagation.refine  # type: ignore[union-attr]
    other.act.weight.data[0] = 0.5  # learned
    assert not other.make_plain()
    assert other.plain_slope is None
    assert other.beta.requires_grad


def test_the_objective_can_be_learnt(data: Path) -> None:
    config = changed(pattern_share=1.0)
    batch = batch_of(data, config)
    torch.manual_seed(0)
    network = Safa(config.network).train()
    start_anew(network)
    objective = Objective(network, config)
    optimizer = torch.optim.AdamW(objective.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = objective(batch, ANY)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_gradient_checkpointing_changes_no_gradient(data: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        config = changed(**CHOOSING, checkpointing=checkpointing)
        network = lively_network(SELECTING)
        objective = Objective(network, config)
        torch.manual_seed(5)
        objective(batch_of(data, config), ANY)["loss"].backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    pairs = [(a, b) for a, b in zip(*gradients, strict=True) if a is not None and b is not None]
    assert len(pairs) == len(list(network.parameters()))
    assert all(torch.equal(a, b) for a, b in pairs)


def test_validation_starts_at_bicubic_and_measures_every_input_frame(tmp_path: Path) -> None:
    packed = write_pack(tmp_path)
    still = changed(learning_rate=0.0, final_learning_rate=0.0, steps=2, validation_samples=3, validate_every=2)
    seen: list[TrainProgress] = []
    run(still, packed, tmp_path / "run", on_progress=seen.append)
    figures = seen[-1].validation
    assert figures is not None
    assert figures.inputs == pytest.approx(figures.bicubic)
    assert figures.between > figures.blend  # the classical flow alone is better than blending


def test_a_run_in_hours_ends_by_the_clock_and_goes_on_where_it_stood(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("safa.training.trainer.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    config = changed(hours=60 / 3600, warmup=0, log_every=1, validation_samples=0)
    assert (first := run(config, data, tmp_path / "run", minutes=0.5)) > 1
    with safe_open(str(tmp_path / "run" / "state.safetensors"), "pt") as file:
        seconds = float(file.metadata()["seconds"])
    assert 20 < seconds < 40
    seen: list[TrainProgress] = []
    last = run(config, data, tmp_path / "run", resume=True, on_progress=seen.append)
    assert last > first
    assert seen[-1].seconds_left == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    rates = [row["learning_rate"] for row in rows]
    assert rates == sorted(rates, reverse=True)
    assert rates[first] < 0.75 * CONFIG.learning_rate  # the cosine went on, it did not begin again
    assert rates[-1] < 0.1 * CONFIG.learning_rate
    assert run(config, data, tmp_path / "run", resume=True) == last


def test_the_shipped_network_is_the_recipes() -> None:
    shipped = load_checkpoint("fast").network
    for stage in ("fast", "fast-7", "fast-between"):
        config = TrainConfig.from_toml(Path(f"recipes/{stage}.toml")).network
        assert dataclasses.replace(config, fixed_scale=None) == shipped.config
    network = Safa(dataclasses.replace(shipped.config, fixed_scale=1))
    start_from(network, "fast")
    assert network.selector is None
    assert torch.equal(network.first_hidden.conv.weight, shipped.first_hidden.conv.weight)


def test_residual_blocks_begin_near_the_identity() -> None:
    network = lively_network(NETWORK)
    block, x = network.propagation.refine, torch.randn(1, 8, 6, 6)  # type: ignore[union-attr]
    change = float((block(x) - x).detach().abs().mean())
    assert 0 < change < 0.2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 2}, "trained on windows: set frames to 3 or more"),
        ({"network": SafaConfig(), "scale_choice": "selector"}, "without propagation looks at two frames only"),
        ({"flow_loss": 0.1}, "no exact flow"),
        ({"teacher": "fast"}, "learn from picture_teachers"),
        ({"picture_teachers": ["a file"]}, "count for nothing"),
        ({"distillation_loss": 1.0, "crispness": 0.5}, "set crispness, graphics and drawn to 0"),
        ({"distillation_loss": -1.0}, "distillation_loss"),
        ({"frames": 1}, "at least 2"),
        ({"network": SELECTING}, "give network.fixed_scale"),
        ({"scale_pattern": (0, 1, 2)}, "3 scales for 2 blocks"),
        ({"scale_shares": (0.5, 0.5)}, "one number above 0 for each"),
        ({"pattern_share": 2.0}, "from 0 to 1"),
        ({"hours": 0.0}, "above 0"),
        ({"hours": 1.0, "epochs": 3}, "beside epochs"),
        ({"betas": (0.9, 1.0)}, "less than 1"),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, object], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        changed(**changes)


def test_a_recipe_that_cannot_be_fed_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SafaError, match="clips of 17"):
        run(changed(frames=9), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
