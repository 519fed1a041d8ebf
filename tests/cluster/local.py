"""Workers without Ray: everything runs in this process, and failures are scripted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safa.checkpoint import Checkpoint
from safa.cluster.plan import SegmentPlan
from safa.cluster.pool import WorkerEvent, WorkerHandle
from safa.cluster.segment_source import SharedSource
from safa.cluster.worker import Failed, InputMissing, JobContext, Rendered, Worker
from safa.options import ComputeOptions

Script = Callable[[SegmentPlan, int], Failed | str | None]
"""Maps a segment and its number of earlier tries to a failure, the reason for the loss of its worker, or None."""


class LocalWorkers:
    """Stands in for ``Pool``: ``script`` may make the work fail.

    With ``last_first`` all segments are handed out before the first is made, and the last one is made first.
    """

    def __init__(self, checkpoint: Checkpoint, script: Script | None = None, count: int = 2, last_first: bool = False):
        self.worker = Worker(checkpoint, ComputeOptions("cpu", threads=1))
        self.facts: dict[str, Any] | None = self.worker.facts()["same"]
        self.rendered: list[int] = []
        self.shipped: list[SharedSource] = []
        self._script = script or (lambda plan, tries: None)
        self._members = [WorkerHandle(None, "here", True, False) for _ in range(20 if last_first else count)]
        self._work: list[tuple[WorkerHandle, Any, JobContext, SegmentPlan]] = []
        self._tries: dict[tuple[Path, int], int] = {}
        self._last_first = last_first

    @property
    def size(self) -> int:
        return len(self._members)

    def idle(self) -> list[WorkerHandle]:
        return [member for member in self._members if not member.is_busy]

    def put(self, value: Any) -> Any:
        return value

    def give(self, member: WorkerHandle, work: Any, job: JobContext, plan: SegmentPlan) -> None:
        member.is_busy = True
        self._work.append((member, work, job, plan))

    def ship(self, member: WorkerHandle, source: SharedSource) -> bool:
        if source in self.shipped:
            return False
        self.shipped.append(source)
        for name, offset, data in source.chunks():
            self.worker.receive(source, name, offset, data)
        return True

    def shipment_error(self, member: WorkerHandle, source: SharedSource) -> str:
        """Return no error."""
        return ""

    def wait(self, seconds: float) -> list[WorkerEvent]:
        if not self._work or (self._last_first and not all(work[0].is_planned for _, work, _, _ in self._work)):
            time.sleep(min(seconds, 0.005))  # leaves the processor to the thread that plans
            return []
        member, work, job, plan = self._work.pop(-1 if self._last_first else 0)
        member.is_busy = False
        key = job.source.path, plan.number
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        fate = self._script(plan, tries)
        if isinstance(fate, str):
            return [WorkerEvent(member, work, None, fate)]
        return [WorkerEvent(member, work, fate or self._render(job, plan))]

    def _render(self, job: JobContext, plan: SegmentPlan) -> Rendered | Failed | InputMissing:
        result = self.worker.render(job, plan)
        if isinstance(result, Rendered):
            self.rendered.append(plan.number)
        return result
