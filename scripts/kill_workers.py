"""Kill one worker and then one node of a Ray cluster in mid-job, and compare the frames with those of one process.

    python scripts/kill_workers.py CLIP --weights FILE

Three nodes run on this machine: one for the driver, and two with a worker each. The first progress report costs one
worker its life (SIGKILL), the second one a node with all its processes. Exit code 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import av
import ray
from ray.cluster_utils import Cluster

from safa.cluster import upscale_on_cluster
from safa.jobs import plan
from safa.jobs.batch import BatchEvents
from safa.jobs.pipeline import Progress
from safa.jobs.upscale import upscale
from safa.options import UpscaleSettings

MEMORY = 100_000_000


def frame_hashes(path: Path) -> list[str]:
    """Time and content of every frame."""
    with av.open(str(path)) as container:
        return [
            f"{frame.pts} {hashlib.sha256(frame.to_ndarray(format='rgb24').tobytes()).hexdigest()}"
            for frame in container.decode(video=0)
        ]


def children(parent: int) -> dict[int, str]:
    """Processes below ``parent`` and their command lines."""
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                command = (folder / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue  # it ended meanwhile
            if int(fields[1]) == parent:
                found |= {int(folder.name): command, **children(int(folder.name))}
    return found


class Killer:
    """Kills once at the first progress report and once at the second; each time on another node."""

    def __init__(self, raylets: list[int]) -> None:
        self.raylets = raylets
        self.killed: list[str] = []

    def __call__(self, progress: Progress) -> None:
        """Told after every finished segment."""
        print(f"{progress.done} of {progress.total} frames")
        if len(self.killed) == 0:
            self._kill_worker(self.raylets[0])
        elif len(self.killed) == 1:
            self._kill_node(self.raylets[1])

    def _kill_worker(self, raylet: int) -> None:
        worker = next((pid for pid, command in children(raylet).items() if "ray::Worker.render" in command), None)
        if worker is not None:  # it may be between two segments; next time
            os.kill(worker, signal.SIGKILL)
            self.killed.append(f"worker {worker}")
            print(f"killed {self.killed[-1]}")

    def _kill_node(self, raylet: int) -> None:
        for pid in [raylet, *children(raylet)]:
            os.kill(pid, signal.SIGKILL)
        self.killed.append(f"node {raylet}")
        print(f"killed {self.killed[-1]} and all its processes")


def main() -> int:
    """Run the experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("--weights", default="fast")
    parser.add_argument("--segment", type=int, default=24, help="Frames in a segment, so that a short clip has many.")
    arguments = parser.parse_args()
    plan.SEGMENT_FRAMES = arguments.segment
    settings = UpscaleSettings(rate=2)
    with tempfile.TemporaryDirectory() as folder:
        alone, output = Path(folder) / "alone.mp4", Path(folder) / "cluster.mp4"
        upscale(arguments.source, alone, settings=settings, weights=arguments.weights, device="cpu")
        cluster = Cluster(
            True, head_node_args={"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
        )
        try:
            nodes = [cluster.add_node(num_cpus=1, object_store_memory=MEMORY) for _ in range(2)]
            cluster.wait_for_nodes()
            ray.init(address=cluster.address, log_to_driver=False)
            killer = Killer([node.all_processes["raylet"][0].process.pid for node in nodes])
            events = BatchEvents(on_progress=killer, on_warning=lambda text: print(f"warning: {text}"))
            (outcome,) = upscale_on_cluster(
                [(arguments.source, output)], settings=settings, weights=arguments.weights, events=events
            )
        finally:
            ray.shutdown()
            cluster.shutdown()  # type: ignore[no-untyped-call]
        report = outcome.report
        assert report is not None
        equal = frame_hashes(alone) == frame_hashes(output)
        print(f"{len(killer.killed)} kills, {report.retries} segments tried again, {report.frames} frames")
        print("frames equal to those of one process" if equal else "FRAMES DIFFER")
    return int(not equal or len(killer.killed) < 2 or not report.verification.ok)


if __name__ == "__main__":
    sys.exit(main())
