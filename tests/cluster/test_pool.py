"""Starting workers with a stand-in for Ray."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safa.checkpoint import Checkpoint
from safa.cluster import ClusterSettings, upscale_on_cluster
from safa.cluster.pool import ClusterError, Pool, WorkerShape
from safa.engine import library
from safa.jobs.batch import BatchEvents
from safa.options import ComputeOptions, UpscaleSettings
from tests.conftest import tiny_network

SAME = {"engine": "native bfloat16, amx, OpenCV 5.0.0 AVX512-SKX", "safa": "0.1", "libraries": {"libavcodec": [62]}}


class StandIn:
    """Ray with one machine, on which the n-th worker has the n-th of ``facts``."""

    exceptions = SimpleNamespace(RayError=ConnectionError)

    def __init__(self, processors: int, facts: list[dict[str, Any]]) -> None:
        self._processors, self._facts, self.started = processors, facts, 0

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": float(self._processors)}}]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self._processors)}

    def put(self, value: Any) -> Any:
        return value

    def get(self, reference: int) -> dict[str, Any]:
        return {"node": f"node{reference}", "same": self._facts[reference]}

    def wait(self, references: list[int], num_returns: int, timeout: float) -> tuple[list[int], list[int]]:
        return references[:num_returns], references[num_returns:]

    def remote(self, **options: Any) -> Any:
        def start(*arguments: Any) -> Any:
            number, self.started = self.started, self.started + 1
            return SimpleNamespace(facts=SimpleNamespace(remote=lambda: number))

        return lambda kind: SimpleNamespace(remote=start)


def pool_of(ray: StandIn, shape: WorkerShape, can_grow: bool = False) -> Pool:
    return Pool(ray, shape, Checkpoint.of(tiny_network(), "tiny"), ComputeOptions("cpu"), can_grow)


@pytest.mark.parametrize(("count", "can_grow"), [(None, False), (None, True), (1, False)])
def test_workers_larger_than_every_machine_are_refused(count: int | None, can_grow: bool) -> None:
    ray = StandIn(2, [])
    with pytest.raises(ClusterError, match="No machine of the cluster has 64 CPUs and 0 GPUs for a worker; ask for"):
        pool_of(ray, WorkerShape(count, cpus=64), can_grow)
    assert ray.started == 0


def test_waiting_for_a_machine_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that grows on demand has no such machine at first."""
    ray, warnings = StandIn(2, []), []
    monkeypatch.setattr("safa.cluster.scheduler.joined", lambda address: nullcontext((ray, True)))
    monkeypatch.setattr("safa.cluster.scheduler._longest_first", lambda jobs, request: (list(jobs), {}))
    monkeypatch.setattr("safa.cluster.scheduler.Scheduler.run", lambda *arguments: ["made"])
    monkeypatch.setattr(Pool, "stop", lambda pool: None)
    cluster = ClusterSettings("auto", WorkerShape(1, cpus=64))
    settings = UpscaleSettings(compute=ComputeOptions("cpu"))
    job = tmp_path / "in.mp4", tmp_path / "out.mp4"
    weights, events = Checkpoint.of(tiny_network(), "tiny"), BatchEvents(on_warning=warnings.append)
    assert upscale_on_cluster([job], cluster, settings, weights, events=events) == ["made"]  # type: ignore[comparison-overlap]
    assert ray.started == 1
    assert warnings == ["No machine of the cluster has 64 CPUs and 0 GPUs for a worker; waiting for one that joins it."]


def test_equal_workers_are_accepted() -> None:
    pool = pool_of(StandIn(2, [SAME, SAME]), WorkerShape(2))
    assert pool.wait(0) == []
    assert (pool.facts, [member.is_ready for member in pool.idle()]) == (SAME, [True, True])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("engine", "native bfloat16, avx512bf16, OpenCV 5.0.0 AVX512-SKX"),
        ("engine", "native bfloat16, amx, OpenCV 5.0.0 AVX2"),
        ("libraries", {"libavcodec": [61]}),
    ],
)
def test_workers_whose_frames_would_differ_are_refused(name: str, value: Any) -> None:
    pool = pool_of(StandIn(2, [SAME, {**SAME, name: value}]), WorkerShape(2))
    with pytest.raises(ClusterError) as refusal:
        pool.wait(0)
    assert f"node1 has {name} {value}; others have {name} {SAME[name]}" in str(refusal.value)
    assert "safa" not in str(refusal.value)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_builds_with_other_results_have_other_names(precision: str) -> None:
    names = [library.arithmetic(build, precision) for build in library.BUILDS]
    if precision == "float32":
        assert names == ["baseline", "avx2", "avx2", "avx2", "avx2"]
    else:
        assert names == ["baseline", "avx2", "avx2", "avx512bf16", "amx"]
