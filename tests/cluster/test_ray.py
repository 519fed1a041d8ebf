"""A job on real Ray workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from safa.checkpoint import Checkpoint
from safa.cluster import ClusterSettings, WorkerShape, upscale_on_cluster
from safa.cluster.plan import SegmentPlan
from safa.cluster.pool import ClusterError, Pool, WorkerHandle
from safa.jobs.batch import BatchEvents
from safa.jobs.upscale import upscale
from safa.upscaler.upscaler import Upscaler
from tests.conftest import tiny_network
from tests.video.making import frame_hashes, make_video

ray = pytest.importorskip("ray", reason="Ray is an optional dependency, safa-video[cluster]")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=1)
    return Checkpoint.of(network, "tiny")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterSettings]:
    """A Ray cluster with two processors."""
    memory = 200_000_000
    ray.init(num_cpus=2, object_store_memory=memory, include_dashboard=False, log_to_driver=False, logging_level=50)
    yield ClusterSettings("auto", WorkerShape(2))
    ray.shutdown()


def test_a_killed_worker_costs_a_segment_and_changes_nothing(
    tmp_path: Path, checkpoint: Checkpoint, cluster: ClusterSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 8)
    clip = make_video(tmp_path / "clip.mp4", range(24), options={"g": "5"}, audio=1.0)
    killed: list[int] = []
    warnings: list[str] = []
    give = Pool.give

    def give_and_kill(self: Pool, member: WorkerHandle, work: Any, film: Any, plan: SegmentPlan) -> None:
        process = ray.get(member.actor.__ray_call__.remote(lambda worker: os.getpid()))
        give(self, member, work, film, plan)
        if not killed:
            killed.append(process)
            os.kill(process, signal.SIGKILL)

    monkeypatch.setattr(Pool, "give", give_and_kill)
    events = BatchEvents(on_warning=warnings.append)
    (outcome,) = upscale_on_cluster([(clip, tmp_path / "out.mp4")], cluster, weights=checkpoint, events=events)
    assert outcome.report is not None
    assert outcome.report.verification.ok
    assert outcome.report.retries == len(warnings) == 1
    assert "segment 0 (frames 0 to 7, 0:00 to 0:00) is tried again: its worker on" in warnings[0]
    upscale(clip, tmp_path / "whole.mp4", upscaler=Upscaler(checkpoint, "cpu"))
    assert frame_hashes(tmp_path / "out.mp4") == frame_hashes(tmp_path / "whole.mp4")


def test_a_worker_too_large_for_all_machines_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, cluster: ClusterSettings
) -> None:
    clip = make_video(tmp_path / "clip.mp4", range(3))
    greedy = ClusterSettings("auto", WorkerShape(cpus=64, gpus=0))
    with pytest.raises(ClusterError, match="64 CPUs and 0 GPUs"):
        upscale_on_cluster([(clip, tmp_path / "out.mp4")], greedy, weights=checkpoint)
