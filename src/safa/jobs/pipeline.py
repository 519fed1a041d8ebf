"""Reading, rendering and writing in parallel threads, a few frames apart, with progress."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from safa.engine.images import Array
from safa.upscaler.memory_budget import MemoryPlan
from safa.video.pipes import end_reading, end_writing

Item = TypeVar("Item")
Moment = TypeVar("Moment")
_END: Any = object()


@dataclass(frozen=True)
class Progress:
    """State of a running job.

    Attributes:
        done: output frames that are made.
        total: output frames in all, as estimated from the source's header; None if it does not say.
        frames_per_second: mean speed of this run.
        seconds_left: None if ``total`` is unknown.
    """

    done: int
    total: int | None
    frames_per_second: float
    seconds_left: float | None

    @classmethod
    def measure(cls, done: int, total: int | None, resumed: int, began: float) -> Progress:
        """Return the state of a run that began at ``began`` (``time.monotonic``) with ``resumed`` frames."""
        speed = (done - resumed) / max(1e-9, time.monotonic() - began)
        left = max(0, total - done) / speed if total is not None and speed else None
        return cls(done, total, speed, left)


def run_pipeline(
    items: Iterator[Item],
    render: Callable[[Iterator[Item]], Iterator[tuple[Array, Moment]]],
    write: Callable[[Array, Moment], None],
    memory: MemoryPlan,
    tick: Callable[[], None] | None = None,
) -> None:
    """Read, render and write, each in a thread of its own.

    If anything but ``write`` raises, the pictures made so far are still written.

    Args:
        items: what is read; fetched in a thread.
        render: makes pictures from the items, each with its time.
        write: called in a thread with every picture and its time.
        memory: length of the queues.
        tick: called after every picture.
    """
    failed = False

    def write_unless_failed(picture: Array, moment: Moment) -> None:
        nonlocal failed
        if failed:  # a later frame must not take the place of the missing one
            return
        try:
            write(picture, moment)
        except BaseException:
            failed = True
            raise

    with ThreadPoolExecutor(1, "reader") as reading, ThreadPoolExecutor(1, "writer") as writing:
        behind: deque[Future[None]] = deque()
        try:
            for picture, moment in render(_prefetched(items, reading, memory.read_ahead)):
                behind.append(writing.submit(write_unless_failed, picture, moment))
                if len(behind) > memory.write_behind:
                    behind.popleft().result()
                del picture  # free it before the next one is made
                if tick is not None:
                    tick()
            for waiting in behind:
                waiting.result()
        except BaseException as error:
            reading.shutdown(wait=False, cancel_futures=True)
            end_reading()
            if isinstance(error, KeyboardInterrupt):
                end_writing()
            raise


def _prefetched(items: Iterator[Item], executor: ThreadPoolExecutor, ahead: int) -> Iterator[Item]:
    """Yield the items, fetched by the executor's only thread up to ``ahead`` items early."""
    pending = deque(executor.submit(next, items, _END) for _ in range(ahead))
    while (item := pending.popleft().result()) is not _END:
        pending.append(executor.submit(next, items, _END))
        yield item


class Meter:
    """Counts output frames and reports the progress.

    Args:
        total: expected output frames, None if unknown.
        resumed: output frames from an earlier run.
        on_progress: called after every frame.
    """

    def __init__(self, total: int | None, resumed: int, on_progress: Callable[[Progress], None] | None) -> None:
        self.total, self.resumed, self.done, self.on_progress = total, resumed, resumed, on_progress
        self.began = time.monotonic()

    def tick(self) -> None:
        """Count one frame."""
        self.done += 1
        if self.on_progress is not None:
            self.on_progress(Progress.measure(self.done, self.total, self.resumed, self.began))
