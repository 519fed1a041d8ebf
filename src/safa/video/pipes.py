"""Standard input and output as pipes whose other end may stall: waiting for it can be ended at any time.

A thread that waits in a system call cannot be stopped from outside, and FFmpeg passes over what is raised where it asks
for data. So a wait is many short ones here, and what interrupts it is kept and raised once FFmpeg has returned.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
from typing import Any, BinaryIO

from safa.errors import MediaError, OutputError

WAIT = 0.1
"""Seconds after which a wait looks whether it is to end."""

ATOMIC = 4096
"""Bytes that a pipe takes at once where it is ready for writing (POSIX's PIPE_BUF on Linux; 512 at least)."""

_reading_ended, _writing_ended = threading.Event(), threading.Event()
_interrupts: list[BaseException] = []


def end_reading() -> None:
    """Let what waits for standard input go on: the input ends there."""
    _reading_ended.set()


def end_writing() -> None:
    """Let what waits for standard output go on: writing fails."""
    _writing_ended.set()


def raise_interrupt() -> None:
    """Raise what interrupted reading in this thread, if anything did."""
    if _interrupts:
        raise _interrupts.pop()


def standard_input() -> Any:
    """Standard input as PyAV takes it. Raises MediaError where it is closed."""
    if sys.stdin is None:
        raise MediaError("standard input is closed; pipe YUV4MPEG2 into it from a program that writes .y4m.")
    number = _pipe_number(sys.stdin.buffer)
    _reading_ended.clear()
    return sys.stdin.buffer if number is None else PipeInput(number)


def standard_output() -> BinaryIO | PipeOutput:
    """Standard output for bytes. Raises OutputError where it is closed."""
    if sys.stdout is None:
        raise OutputError("standard output is closed; pipe it into a program that reads YUV4MPEG2.")
    number = _pipe_number(sys.stdout.buffer)
    if number is None:
        return sys.stdout.buffer
    sys.stdout.flush()
    _writing_ended.clear()
    return PipeOutput(number)


class PipeInput:
    """Reads from a pipe; after `end_reading` it ends."""

    def __init__(self, number: int) -> None:
        """`number` is the file descriptor's."""
        self._number = number

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, as soon as there are any; none at the end."""
        try:
            while not _reading_ended.is_set():
                if select.select([self._number], [], [], WAIT)[0]:
                    return os.read(self._number, size)
        except BaseException as error:  # FFmpeg would print and forget it
            _interrupts.append(error)
            _reading_ended.set()
        return b""


class PipeOutput:
    """Writes to a pipe; after `end_writing` it raises InterruptedError instead of waiting."""

    def __init__(self, number: int) -> None:
        """`number` is the file descriptor's."""
        self._number = number

    def write(self, data: bytes) -> None:
        """Write all of `data`. Raises BrokenPipeError where the reading program has closed the pipe."""
        rest = memoryview(data)
        while rest:
            if _writing_ended.is_set():
                raise InterruptedError
            if select.select([], [self._number], [], WAIT)[1]:
                rest = rest[os.write(self._number, rest[:ATOMIC]) :]

    def flush(self) -> None:
        """Nothing is held back."""


def is_stalled(stream: Any) -> bool:
    """Return whether writing to a stream, such as sys.stdout, would wait for another program now."""
    number = _pipe_number(stream)
    return number is not None and not select.select([], [number], [], 0)[1]


def _pipe_number(stream: Any) -> int | None:
    """The descriptor of a pipe or socket; None for files and terminals, and where waits cannot be cut short."""
    try:
        number = int(stream.fileno())
        mode = os.fstat(number).st_mode
    except (OSError, ValueError, AttributeError):  # a stream of Python's own, or none
        return None
    return number if os.name == "posix" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) else None
