"""The bench's bookkeeping (never its timings)."""

from __future__ import annotations

from pathlib import Path

from safa.bench import run_bench
from safa.checkpoint import save_checkpoint
from tests.conftest import tiny_network


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
