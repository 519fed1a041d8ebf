"""Reading, making and writing pictures in parallel, a few frames apart."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from safa.engine.images import Array
from safa.upscaler.memory_budget import JobPlan
from safa.video.pipes import end_reading, end_writing

Item = TypeVar("Item")
Shown = TypeVar("Shown")
_END: Any = object()


@dataclass(frozen=True)
class Progress:
    """State of a running job. ``total`` is an estimate from the file's header, None if there is none."""

    done: int
    total: int | None
    frames_per_second: float
    seconds_left: float | None


def run_pipeline(
    items: Iterator[Item],
    pictures: Callable[[Iterator[Item]], Iterator[tuple[Array, Shown]]],
    write: Callable[[Array, Shown], None],
    plan: JobPlan,
    tick: Callable[[], None] | None = None,
) -> None:
    """Fetch ``items``, make ``pictures`` of them and ``write`` those, each in a thread of its own.

    ``pictures`` gives every picture with what ``write`` must know of it; ``tick`` is called for each, ``plan`` says how
    far apart the threads may be. Where anything but ``write`` raises, what is made by then is still written.
    """
    failed = False

    def write_unless_failed(picture: Array, shown: Shown) -> None:
        nonlocal failed
        if failed:  # what follows a frame that is missing must not be taken for it
            return
        try:
            write(picture, shown)
        except BaseException:
            failed = True
            raise

    with ThreadPoolExecutor(1, "reader") as reading, ThreadPoolExecutor(1, "writer") as writing:
        behind: deque[Future[None]] = deque()
        try:
            for picture, shown in pictures(_prefetched(items, reading, plan.read_ahead)):
                behind.append(writing.submit(write_unless_failed, picture, shown))
                if len(behind) > plan.write_behind:
                    behind.popleft().result()
                del picture  # or it would outlive the making of the next
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
    """The same items, fetched by ``executor``'s one thread up to ``ahead`` items early."""
    pending = deque(executor.submit(next, items, _END) for _ in range(ahead))
    while (item := pending.popleft().result()) is not _END:
        pending.append(executor.submit(next, items, _END))
        yield item


class Meter:
    """Counts output frames and reports them to the caller."""

    def __init__(self, total: int | None, resumed: int, on_progress: Callable[[Progress], None] | None) -> None:
        self.total, self.resumed, self.done, self.on_progress = total, resumed, resumed, on_progress
        self.began = time.monotonic()

    def tick(self) -> None:
        self.done += 1
        if self.on_progress is None:
            return
        speed = (self.done - self.resumed) / max(1e-9, time.monotonic() - self.began)
        left = max(0, self.total - self.done) / speed if self.total is not None else None
        self.on_progress(Progress(self.done, self.total, speed, left))
