"""Ctrl-C during training: it ends the run between two steps, never inside one."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupt:
    """From ``begin`` to ``end`` Ctrl-C only sets ``asked``; a second one raises ``KeyboardInterrupt`` at once.

    Outside the main thread, and where the program handles or ignores Ctrl-C itself, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._began = False

    def begin(self) -> None:
        """Take Ctrl-C over."""
        in_main = threading.current_thread() is threading.main_thread()  # signals can be handled nowhere else
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._ask)
            self._began = True

    def end(self) -> None:
        """Give it back."""
        if self._began:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._began = False

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def ignore_in_worker(worker: int) -> None:
    """Let a loader's process go on after Ctrl-C, which reaches it too: its death would be an error inside a step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
