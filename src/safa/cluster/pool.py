"""Ray actors: starting and replacing them, giving them work and collecting the results."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from safa.checkpoint import Checkpoint
from safa.cluster.connect import ClusterError
from safa.cluster.inputs import Source
from safa.cluster.plan import SegmentPlan
from safa.cluster.worker import Failed, InputMissing, Rendered, Worker

# Seconds between two attempts to start workers, and attempts in a row that may fail.
PAUSE = 5.0
MAX_START_FAILURES = 3
# Copies of one source to one machine that may fail.
MAX_SHIPMENT_FAILURES = 5


@dataclass(frozen=True)
class WorkerShape:
    """How many workers, and what each takes: ``count`` None for as many as the cluster carries."""

    count: int | None = None
    cpus: float = 1
    gpus: float | None = None
    """None: one where the cluster has any."""


@dataclass
class WorkerHandle:
    """One actor. It has at most one piece of work."""

    actor: Any
    node: str = ""
    is_ready: bool = False
    is_busy: bool = True


@dataclass(frozen=True)
class WorkerEvent:
    """The end of a piece of work: its result, or why the worker that had it was lost."""

    member: WorkerHandle
    work: Any
    result: Rendered | Failed | InputMissing | None
    loss: str = ""


class Pool:
    """As many workers as were asked for, or as the cluster carries at the moment; lost ones are replaced."""

    def __init__(
        self,
        ray: Any,
        shape: WorkerShape,
        checkpoint: Checkpoint,
        device: str,
        engine: str,
        precision: str,
        memory: int | None = None,
        can_grow: bool = False,
    ) -> None:
        """Start the workers. Raises ``ClusterError`` where the cluster has no room for one, unless a number of them is
        given and it ``can_grow``.
        """
        self._ray = ray
        self._count = shape.count
        self._cpus = shape.cpus
        self._gpus = self._wanted_gpus(shape, device)
        device = "cpu" if device == "auto" and not self._gpus else device
        self._arguments = (ray.put(checkpoint), device, engine, precision, max(1, int(shape.cpus)), memory)
        self._class = ray.remote(num_cpus=shape.cpus, num_gpus=self._gpus, max_restarts=0)(Worker)
        self._members: list[WorkerHandle] = []
        self._pending: dict[Any, tuple[WorkerHandle, Any]] = {}
        self._shipments: dict[tuple[str, Source], Future[None]] = {}
        self._failed_shipments: Counter[tuple[str, Source]] = Counter()
        self._shipping = ThreadPoolExecutor(4, "shipping")
        self._start_failures = 0
        self._not_before = 0.0
        self.facts: dict[str, Any] | None = None
        """What all workers have in common, once the first has answered."""
        if not self.capacity() and (shape.count is None or not can_grow):
            raise ClusterError(f"{self.no_room()}; ask for less with --cpus-per-worker and --gpus-per-worker.")
        self.tend()

    def no_room(self) -> str:
        """For messages: what no machine has."""
        return f"No machine of the cluster has {self._cpus:g} CPUs and {self._gpus:g} GPUs for a worker"

    def capacity(self) -> int:
        """Workers that the machines of the cluster can hold now."""
        return sum(self._room(node["Resources"]) for node in self._ray.nodes() if node["Alive"])

    @property
    def size(self) -> int:
        """Workers there are, or are being started."""
        return len(self._members)

    def tend(self) -> None:
        """Start workers that are missing."""
        if time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + PAUSE
        for _ in range(len(self._members), self._count or self.capacity()):
            member = WorkerHandle(self._class.remote(*self._arguments))
            self._members.append(member)
            self._pending[member.actor.facts.remote()] = (member, None)

    def idle(self) -> list[WorkerHandle]:
        """Workers that can be given work."""
        return [member for member in self._members if member.is_ready and not member.is_busy]

    def share(self, value: Any) -> Any:
        """Put something into the object store once, for all workers."""
        return self._ray.put(value)

    def give(self, member: WorkerHandle, work: Any, film: Any, plan: SegmentPlan) -> None:
        """Let a worker render a segment; ``film`` is what ``share`` gave; ``work`` comes back with the event."""
        member.is_busy = True
        self._pending[member.actor.render.remote(film, plan)] = (member, work)

    def ship(self, member: WorkerHandle, source: Source) -> bool:
        """Copy the source to a worker's machine that lacks it; False if that was done before, or failed too often.

        A copy may fail because the worker that received it was lost, which says nothing about the machine.
        """
        key = member.node, source
        before = self._shipments.get(key)
        if before is not None and before.done():
            if before.exception() is None or self._failed_shipments[key] >= MAX_SHIPMENT_FAILURES:
                return False
            self._failed_shipments[key] += 1
            del self._shipments[key]
        if key not in self._shipments:
            self._shipments[key] = self._shipping.submit(self._ship, member, source)
        member.is_busy = True
        self._shipments[key].add_done_callback(lambda _: setattr(member, "is_busy", False))
        return True

    def shipment_error(self, member: WorkerHandle, source: Source) -> str:
        """Why the source could not be copied to a worker's machine; "" where it was."""
        shipment = self._shipments.get((member.node, source))
        error = shipment.exception() if shipment is not None and shipment.done() else None
        return "" if error is None else _last_line(error)

    def wait(self, seconds: float) -> list[WorkerEvent]:
        """What has happened since the last call; waits up to ``seconds`` for the first.

        Raises ``ClusterError`` where no worker can be started.
        """
        self.tend()
        if not self._pending:
            time.sleep(min(seconds, 0.05))
            return []
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        if done:
            done, _ = self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        return [news for reference in done if (news := self._news(reference)) is not None]

    def stop(self) -> None:
        """End all workers, and delete copies of sources."""
        self._shipping.shutdown(wait=False, cancel_futures=True)
        for node, source in self._shipments:
            for member in [member for member in self._members if member.node == node][:1]:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.get(member.actor.forget.remote(source), timeout=5)
        for member in self._members:
            with suppress(Exception):
                self._ray.kill(member.actor)
        self._members, self._pending = [], {}

    def _news(self, reference: Any) -> WorkerEvent | None:
        member, work = self._pending.pop(reference)
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._lose(member)
            if work is None:
                self._start_failed(error)
                return None
            return WorkerEvent(member, work, None, type(error).__name__)
        member.is_busy = False
        if work is not None:
            return WorkerEvent(member, work, result)
        member.node, member.is_ready = result["node"], True
        self._start_failures = 0
        self.facts = self.facts or result["same"]
        if result["same"] != self.facts:
            raise ClusterError(_difference(member.node, result["same"], self.facts))
        return None

    def _lose(self, member: WorkerHandle) -> None:
        self._members.remove(member)
        with suppress(Exception):  # it may be unreachable rather than ended
            self._ray.kill(member.actor)

    def _start_failed(self, error: Exception) -> None:
        self._start_failures += 1
        self._not_before = time.monotonic() + PAUSE
        if self._start_failures >= MAX_START_FAILURES and not any(member.is_ready for member in self._members):
            raise ClusterError(f"No worker can be started: {_last_line(error)}")

    def _ship(self, member: WorkerHandle, source: Source) -> None:
        for name, offset, data in source.chunks():
            reference = self._ray.put(data)  # into the object store, one chunk at a time
            self._ray.get(member.actor.receive.remote(source, name, offset, reference))

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 0) // self._cpus
        return int(min(room, resources.get("GPU", 0) // self._gpus) if self._gpus else room)

    def _wanted_gpus(self, shape: WorkerShape, device: str) -> float:
        if shape.gpus is not None:
            return shape.gpus
        return 1 if device != "cpu" and self._ray.cluster_resources().get("GPU") else 0


def _difference(node: str, own: dict[str, Any], others: dict[str, Any]) -> str:
    """The sentence for workers that would not give the same frames."""
    names = [name for name in others if own.get(name) != others[name]]
    one, other = (", ".join(f"{name} {facts.get(name)}" for name in names) for facts in (own, others))
    return (
        f"The workers differ: {node} has {one}; others have {other}. Their frames would differ, too: install the same "
        "versions everywhere, use machines with the same processor, or choose --engine, --precision and --device."
    )


def _last_line(error: BaseException) -> str:
    return [line.strip() for line in str(error).splitlines() if line.strip()][-1]
