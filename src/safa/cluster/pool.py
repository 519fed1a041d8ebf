"""Ray: joining or starting a cluster; starting and replacing actors in it, and giving them work."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from safa.checkpoint import Checkpoint
from safa.cluster.plan import SegmentPlan
from safa.cluster.segment_source import SharedSource
from safa.cluster.worker import Failed, InputMissing, Rendered, Worker
from safa.errors import SafaError, to_install
from safa.options import ComputeOptions

# Seconds between two attempts to start workers, and successive attempts that may fail.
PAUSE = 5.0
MAX_START_FAILURES = 3
# Failed copies of a source to a machine after which no further one is tried.
MAX_SHIPMENT_FAILURES = 5


class ClusterError(SafaError):
    """The cluster cannot be reached, or has no room for a worker."""


@contextmanager
def joined(address: str) -> Iterator[tuple[Any, bool]]:
    """Join a Ray cluster for the duration of the context.

    Args:
        address: "auto" for the cluster that this machine belongs to, or else one that is started here; "host:port" or
            "ray://host:port".

    Returns:
        The module ``ray``, and whether machines may still join the cluster, which is not so if it was started here.

    Raises:
        ClusterError: Ray is not installed, or no cluster answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"A cluster needs Ray, which is not installed; install it with: {to_install('cluster')}."
        ) from error
    if ray.is_initialized():  # by the caller
        yield ray, True
        return
    if address != "auto":
        _check_reachable(address)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    can_grow = True
    with _own_handlers():
        try:
            ray.init(address=address, **quiet)
        except ConnectionError as error:
            if address != "auto":
                raise ClusterError(f"{address} is not a Ray cluster, {_token_hint()}: {error}") from error
            ray.init(num_cpus=_usable_cores(), include_dashboard=False, **quiet)
            can_grow = False
        except (ImportError, ValueError, RuntimeError) as error:
            raise ClusterError(f"The Ray cluster {address} cannot be joined: {error}") from error
    # Messages of raylets would appear on standard output, among our JSON lines. Ray has no public option for this.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield ray, can_grow
    finally:
        ray.shutdown()


def _token_hint() -> str:
    """Return what else may be wrong: Ray makes a token when it starts a cluster, and later ones ask for it."""
    return (
        "or it asks for a token: set RAY_AUTH_MODE=token, with the same ~/.ray/auth_token on every machine"
        if "RAY_AUTH_MODE" not in os.environ
        else "or its token differs from the one in ~/.ray/auth_token here"
    )


def _check_reachable(address: str) -> None:
    """Raise ``ClusterError`` if nothing answers; Ray itself would wait for minutes and print messages."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"No Ray cluster answers at {address}; give auto, host:port or ray://host:port, and start one with "
            "'ray start --head'."
        ) from error


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Restore our signal handlers, which treat SIGTERM like Ctrl-C, after Ray has replaced them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class WorkerShape:
    """Number of workers, and resources of each.

    Attributes:
        count: None for as many as the cluster has room for.
        cpus: processors of a worker, and threads of its network.
        gpus: GPUs of a worker; None for 1 if the cluster has any.
    """

    count: int | None = None
    cpus: float = 1
    gpus: float | None = None


@dataclass
class WorkerHandle:
    """An actor, which has at most one piece of work."""

    actor: Any
    node: str = ""
    is_ready: bool = False
    is_busy: bool = True


@dataclass(frozen=True)
class WorkerEvent:
    """The end of a piece of work: its result, or the reason for the loss of its worker."""

    member: WorkerHandle
    work: Any
    result: Rendered | Failed | InputMissing | None
    loss: str = ""


class Pool:
    """The workers of a call: as many as requested, or as the cluster has room for; lost ones are replaced.

    Args:
        ray: the module, connected to a cluster.
        can_grow: machines may join the cluster, so a requested number of workers may have to wait for one.

    Attributes:
        facts: what all workers have in common, once the first has answered.

    Raises:
        ClusterError: the cluster has no room for a worker.
    """

    def __init__(
        self, ray: Any, shape: WorkerShape, checkpoint: Checkpoint, compute: ComputeOptions, can_grow: bool = False
    ) -> None:
        self._ray = ray
        self._count = shape.count
        self._cpus = shape.cpus
        self._gpus = self._gpus_per_worker(shape, compute.device)
        device = "cpu" if compute.device == "auto" and not self._gpus else compute.device
        compute = replace(compute, device=device, threads=max(1, int(shape.cpus)))
        self._arguments = (ray.put(checkpoint), compute)
        self._class = ray.remote(num_cpus=shape.cpus, num_gpus=self._gpus, max_restarts=0)(Worker)
        self._members: list[WorkerHandle] = []
        self._pending: dict[Any, tuple[WorkerHandle, Any]] = {}
        self._shipments: dict[tuple[str, SharedSource], Future[None]] = {}
        self._failed_shipments: Counter[tuple[str, SharedSource]] = Counter()
        self._shipping = ThreadPoolExecutor(4, "shipping")
        self._start_failures = 0
        self._not_before = 0.0
        self.facts: dict[str, Any] | None = None
        if not self.capacity() and (shape.count is None or not can_grow):
            raise ClusterError(f"{self.no_room()}; ask for less with --cpus-per-worker and --gpus-per-worker.")
        self.start_missing()

    def no_room(self) -> str:
        """Return what no machine has, for messages."""
        return f"No machine of the cluster has {self._cpus:g} CPUs and {self._gpus:g} GPUs for a worker"

    def capacity(self) -> int:
        """Return how many workers the machines of the cluster have room for now."""
        return sum(self._room(node["Resources"]) for node in self._ray.nodes() if node["Alive"])

    @property
    def size(self) -> int:
        """Number of workers that exist or are being started."""
        return len(self._members)

    def start_missing(self) -> None:
        """Start workers that are missing, if the last attempt is long enough ago."""
        if time.monotonic() < self._not_before:
            return
        self._not_before = time.monotonic() + PAUSE
        for _ in range(len(self._members), self._count or self.capacity()):
            member = WorkerHandle(self._class.remote(*self._arguments))
            self._members.append(member)
            self._pending[member.actor.facts.remote()] = (member, None)

    def idle(self) -> list[WorkerHandle]:
        """Return the workers that can be given work."""
        return [member for member in self._members if member.is_ready and not member.is_busy]

    def put(self, value: Any) -> Any:
        """Put a value into the object store for all workers; return its reference."""
        return self._ray.put(value)

    def give(self, member: WorkerHandle, work: Any, job: Any, plan: SegmentPlan) -> None:
        """Let a worker render a segment.

        Args:
            work: returned with the event.
            job: reference of the ``JobContext``.
        """
        member.is_busy = True
        self._pending[member.actor.render.remote(job, plan)] = (member, work)

    def ship(self, member: WorkerHandle, source: SharedSource) -> bool:
        """Start to copy the source to the machine of a worker.

        A copy may fail because the worker that received it was lost, so it is tried several times.

        Returns:
            False if it was copied before, or failed too often.
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

    def shipment_error(self, member: WorkerHandle, source: SharedSource) -> str:
        """Return why the source could not be copied to the machine of a worker; "" if it was."""
        shipment = self._shipments.get((member.node, source))
        error = shipment.exception() if shipment is not None and shipment.done() else None
        return "" if error is None else _last_line(error)

    def wait(self, seconds: float) -> list[WorkerEvent]:
        """Return the events since the last call; wait up to ``seconds`` for the first.

        Raises:
            ClusterError: no worker can be started, or workers differ.
        """
        self.start_missing()
        if not self._pending:
            time.sleep(min(seconds, 0.05))
            return []
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=seconds)
        if done:
            done, _ = self._ray.wait(list(self._pending), num_returns=len(self._pending), timeout=0)
        return [event for reference in done if (event := self._event(reference)) is not None]

    def stop(self) -> None:
        """End all workers, and delete the copies of sources."""
        self._shipping.shutdown(wait=False, cancel_futures=True)
        for node, source in self._shipments:
            for member in [member for member in self._members if member.node == node][:1]:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.get(member.actor.forget.remote(source), timeout=5)
        for member in self._members:
            with suppress(Exception):
                self._ray.kill(member.actor)
        self._members, self._pending = [], {}

    def _event(self, reference: Any) -> WorkerEvent | None:
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
        with suppress(Exception):  # it may be unreachable, but still running
            self._ray.kill(member.actor)

    def _start_failed(self, error: Exception) -> None:
        self._start_failures += 1
        self._not_before = time.monotonic() + PAUSE
        if self._start_failures >= MAX_START_FAILURES and not any(member.is_ready for member in self._members):
            raise ClusterError(f"No worker can be started: {_last_line(error)}")

    def _ship(self, member: WorkerHandle, source: SharedSource) -> None:
        for name, offset, data in source.chunks():
            reference = self._ray.put(data)  # into the object store, one chunk at a time
            self._ray.get(member.actor.receive.remote(source, name, offset, reference))

    def _room(self, resources: dict[str, float]) -> int:
        room = resources.get("CPU", 0) // self._cpus
        return int(min(room, resources.get("GPU", 0) // self._gpus) if self._gpus else room)

    def _gpus_per_worker(self, shape: WorkerShape, device: str) -> float:
        if shape.gpus is not None:
            return shape.gpus
        return 1 if device != "cpu" and self._ray.cluster_resources().get("GPU") else 0


def _difference(node: str, own: dict[str, Any], others: dict[str, Any]) -> str:
    """Return the message for workers that would not make the same frames."""
    names = [name for name in others if own.get(name) != others[name]]
    one, other = (", ".join(f"{name} {facts.get(name)}" for name in names) for facts in (own, others))
    return (
        f"The workers differ: {node} has {one}; others have {other}. Their frames would differ: install the same "
        "versions everywhere, use machines with the same processor, or choose --engine, --precision and --device."
    )


def _last_line(error: BaseException) -> str:
    return [line.strip() for line in str(error).splitlines() if line.strip()][-1]
