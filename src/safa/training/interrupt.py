"""Ctrl-C, and whatever else a program turns into an exception, ends training between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

# SIGTERM as well: the command line makes of it what Ctrl-C is.
SIGNALS = signal.SIGINT, signal.SIGTERM


class Interrupt:
    """From ``begin`` to ``end`` the first signal is only noted in ``asked``; a second one is handled at once.

    Signals that are ignored, or end the process without Python's doing, are left alone, and so are all outside the
    main thread.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def begin(self) -> None:
        """Take the signals over."""
        if threading.current_thread() is not threading.main_thread():
            return  # they cannot be handled here
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._note)

    def end(self) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def handle(self) -> None:
        """Do what the noted signal would have done: usually, raise ``KeyboardInterrupt``."""
        if self.asked is not None:
            self._before[self.asked](self.asked, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            self._before[number](number, frame)
        self.asked = number


def ignore_in_worker(worker: int) -> None:
    """Let a loader's process go on after Ctrl-C, which reaches it too, and so does SIGTERM where a service manager or a
    batch system stops a run: its death would be an error inside a step. It ends with the process that it works for.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
