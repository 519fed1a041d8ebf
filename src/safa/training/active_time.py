"""Time that a run has spent training, without the time in which it was paused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Seconds between two looks at the clock, and the longest time between them in which nothing paused the process.
TICK, LONGEST = 1.0, 10.0


class ActiveTime:
    """Seconds from ``begin`` on, without those in which the process was stopped (SIGSTOP) or the computer slept.

    A thread looks at the clock every second; where it has not for long, it was not allowed to.

    Args:
        now: the clock, in seconds; None for the system's.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or time.monotonic
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._total, self._last = 0.0, self._now()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Count from now on."""
        self._last = self._now()
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def seconds(self) -> float:
        """Until now."""
        with self._lock:
            now = self._now()
            passed, self._last = now - self._last, now
            self._total += passed if passed <= LONGEST else TICK
            return self._total

    def _run(self) -> None:
        while not self._ended.wait(TICK):
            self.seconds()
