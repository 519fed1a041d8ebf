"""Ctrl-C and errors inside the optimiser's step."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import TINY
from tests.data_fixtures import write_training_data

from safa.network.config import SafaConfig
from safa.training import TrainConfig, TrainProgress, train
from safa.training.trainer import SIGNALS, ignore_in_worker

CONFIG = TrainConfig(
    network=SafaConfig(**TINY, grid="input", blend_prior=True, flow_prior="dis"),  # type: ignore[arg-type]
    steps=4,
    batch=2,
    patch=32,
    warmup=2,
    workers=0,
    save_every=2,
    learning_rate=2e-3,
    held_out=0.0,
)


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Ctrl-C as in a terminal; a test suite in the background has it ignored."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_training_data(tmp_path_factory.mktemp("data") / "train")


def inside_step(monkeypatch: pytest.MonkeyPatch, number: int, event: Callable[[], object]) -> None:
    """Let ``event`` happen in the middle of the optimiser's step ``number``, when half of the weights are updated."""
    step = torch.optim.AdamW.step
    calls = 0

    def halves(self: torch.optim.AdamW, closure: Any = None) -> None:
        nonlocal calls
        calls += 1
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        gradients = [p.grad for p in parameters]
        middle = len(parameters) // 2
        for half in (range(middle), range(middle, len(parameters))):
            for k, parameter in enumerate(parameters):
                parameter.grad = gradients[k] if k in half else None
            step(self)
            if calls == number and half.start == 0:
                event()

    monkeypatch.setattr(torch.optim.AdamW, "step", halves)


def run(data: Path, out: Path, **options: Any) -> int:
    return train(CONFIG, data, out, accelerator="cpu", devices=1, **options)


def press(number: int = signal.SIGINT) -> None:
    signal.raise_signal(number)


def fail() -> None:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize(
    ("number", "last"), [*((number, 3) for number in SIGNALS), (signal.SIGINT, 4)], ids=["Ctrl-C", "kill", "at the end"]
)
def test_a_signal_inside_a_step_ends_the_run_after_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, last: int
) -> None:
    run(data, tmp_path / "whole")
    seen: list[TrainProgress] = []
    with monkeypatch.context() as patch:
        inside_step(patch, last, partial(press, number))
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "parts", on_progress=seen.append)
    assert [progress.step for progress in seen] == list(range(1, last + 1))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert run(data, tmp_path / "parts", resume=True) == 4
    whole, parts = (load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("event", [fail, lambda: (press(), press())], ids=["an error", "Ctrl-C twice"])
def test_half_a_step_is_never_saved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: Callable[[], object]
) -> None:
    kept: list[bytes] = []

    def look(progress: TrainProgress) -> None:
        if progress.step == 3:
            kept.append((tmp_path / "run" / "state.safetensors").read_bytes())

    inside_step(monkeypatch, 4, event)
    with pytest.raises((RuntimeError, KeyboardInterrupt)):
        run(data, tmp_path / "run", on_progress=look)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == kept[0]


@pytest.mark.parametrize("number", SIGNALS)
def test_workers_survive_ctrl_c(number: int) -> None:
    ignore_in_worker(0)
    press(number)
