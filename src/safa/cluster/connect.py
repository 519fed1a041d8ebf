"""Joining a Ray cluster, or starting one here, and leaving it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from safa.errors import SafaError, to_install


class ClusterError(SafaError):
    """The cluster cannot be reached, or has no room for a worker."""


@contextmanager
def joined(address: str) -> Iterator[tuple[Any, bool]]:
    """Ray, connected: "auto" joins the cluster this machine is in, or starts one here; else "host:port" or "ray://...".
    And whether machines may join it, which none do if it was started here.

    Raises ``ClusterError`` where Ray is not installed or nothing answers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage statistics are sent
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"A cluster needs Ray, which is not installed; install it with: {to_install('cluster')}."
        ) from error
    if ray.is_initialized():  # the caller's own
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
                raise ClusterError(f"{address} is not a Ray cluster, {_or_wants_a_token()}: {error}") from error
            ray.init(num_cpus=_usable_cores(), include_dashboard=False, **quiet)
            can_grow = False
        except (ImportError, ValueError, RuntimeError) as error:
            raise ClusterError(f"The Ray cluster {address} cannot be joined: {error}") from error
    # What raylets report would land on standard output, among our JSON lines; Ray has no public option for it.
    ray._private.worker._worker_logs_enabled = False
    try:
        yield ray, can_grow
    finally:
        ray.shutdown()


def _or_wants_a_token() -> str:
    """Ray makes a token when it starts a cluster by itself, and from then on asks for it in all that are started."""
    return (
        "or it asks for a token: set RAY_AUTH_MODE=token, with the same ~/.ray/auth_token on every machine"
        if "RAY_AUTH_MODE" not in os.environ
        else "or its token is another one than in ~/.ray/auth_token here"
    )


def _check_reachable(address: str) -> None:
    """Ray itself would wait for minutes and print messages meanwhile."""
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
    """Keep our signal handlers, which treat SIGTERM like Ctrl-C: Ray replaces them by its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
