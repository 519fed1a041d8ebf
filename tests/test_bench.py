"""The bench's bookkeeping (never its timings)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from safa.bench import run_bench, stream_work, usable_engines
from safa.checkpoint import save_checkpoint
from safa.engine.torch import TorchEngine
from safa.errors import SafaError
from safa.upscaler.upscaler import WINDOW
from tests.cli.test_cli import Shell
from tests.conftest import streaming_network, tiny_network


def test_every_combination_is_measured_in_every_round(tmp_path: Path) -> None:
    save_checkpoint(tiny_network(grid="input"), tmp_path / "tiny.safetensors")
    seen: list[tuple[int, int]] = []
    result = run_bench(
        [str(tmp_path / "tiny.safetensors")],
        [(16, 8), (24, 16)],
        [1, 3],
        engines=["torch"],
        scales=[None, 2],
        rounds=2,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert len(result.cases) == 8
    assert all(len(case.seconds) == 2 for case in result.cases)
    assert seen[-1] == (16, 16)
    assert all(result.ratio(case) == 1 for case in result.cases)
    assert len(result.rows()) == 9


def test_operations_grow_with_frames_but_less_than_in_proportion(tmp_path: Path) -> None:
    save_checkpoint(tiny_network(grid="input"), tmp_path / "tiny.safetensors")
    options = {"engines": ["torch"], "scales": [0], "rounds": 1}
    result = run_bench([str(tmp_path / "tiny.safetensors")], [(16, 16)], [1, 4], **options)  # type: ignore[arg-type]
    one, four = (case.operations for case in result.cases)
    assert one < four < 4 * one


def test_a_window_is_shared_among_its_pairs(tmp_path: Path) -> None:
    """What a frame costs in a stream includes the frames that a window computes and throws away."""
    network = streaming_network()
    save_checkpoint(network, tmp_path / "tiny.safetensors")
    work = stream_work(TorchEngine(network), (16, 8), 2)
    assert work.pairs == WINDOW.length
    result = run_bench([str(tmp_path / "tiny.safetensors")], [(16, 8)], [2], engines=["torch"], rounds=1)
    with FlopCounterMode(display=False) as counter:
        work.run(None)
    assert result.cases[0].operations == counter.get_total_flops() // WINDOW.length > 0


NO_COMPILER = "there was no usable C++ compiler"


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where the native engine could not be built."""

    def missing() -> None:
        raise SafaError(f"The native engine was not built: {NO_COMPILER}.")

    monkeypatch.setattr("safa.engine.library.usable_builds", missing)


@pytest.fixture
def bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``safa bench`` of a tiny network: exit code, standard output, standard error."""
    save_checkpoint(tiny_network(grid="input"), tmp_path / "tiny.safetensors")
    shell = Shell(monkeypatch, capsys)
    return lambda *options: shell("bench", tmp_path / "tiny.safetensors", "--size", "16x8", *options)


def test_a_stream_of_the_papers_network(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose weights are random: it needs no file."""
    shell = Shell(monkeypatch, capsys)
    code, out, _ = shell("bench", "paper", "--size", "16x8", "--engines", "torch", "--stream", "2", "--rounds", "1")
    assert code == 0
    assert out.startswith("paper, torch, 2 frames of 16x8")


@pytest.mark.parametrize("options", [["--rounds", "1", "--json"], ["--stream", "2", "--rounds", "1"], ["--profile"]])
def test_what_does_not_run_here_is_left_out(without_native: None, bench: Any, options: list[str]) -> None:
    code, out, error = bench(*options)
    assert code == 0
    assert "torch" in out
    assert "native" not in out
    assert NO_COMPILER in error


def test_an_engine_that_was_asked_for_must_run(without_native: None, bench: Any) -> None:
    code, out, error = bench("--engines", "torch,native")
    assert (code, out) == (2, "")
    assert NO_COMPILER in error


def test_engines_of_a_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which need not be here: nothing is computed."""
    monkeypatch.setattr("safa.bench.pick_device", str)
    monkeypatch.setattr(
        "safa.engine.torch.TorchEngine",
        lambda *given: SimpleNamespace(precision=given[2]),
    )
    usable, (obstacle,) = usable_engines("cuda")
    assert usable == ["torch:float32", "torch:float16"]
    assert "runs on the CPU, not on 'cuda'" in obstacle


@pytest.mark.parametrize("options", [[], ["--stream", "2"], ["--profile"]])
def test_a_device_that_is_not_there_is_one_sentence(bench: Any, options: list[str]) -> None:
    code, out, error = bench("--device", "cuda:7", *options)
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "not available here" in error


def test_the_best_device_may_be_asked_for(bench: Any) -> None:
    code, out, _ = bench("--device", "auto", "--engines", "torch", "--rounds", "1", "--json")
    assert code == 0
    assert json.loads(out)["device"] in ("cpu", "cuda", "mps")
