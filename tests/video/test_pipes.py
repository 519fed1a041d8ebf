"""Pipes whose other end stalls, and ends of pipes that are closed."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from safa.errors import MediaError, OutputError
from safa.jobs.pipeline import run_pipeline
from safa.upscaler.memory_budget import MemoryPlan
from safa.video import pipes
from safa.video.containers import open_container

pytestmark = pytest.mark.skipif(os.name != "posix", reason="waits for pipes cannot be cut short there")

HEADER = b"YUV4MPEG2 W8 H8 F24:1 Ip A1:1 C420jpeg\n"
FRAME = b"FRAME\n" + bytes(96)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The writing end of a pipe that is standard input."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb"):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        yield writing


@contextmanager
def piped_output(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The reading end of a pipe that is standard output; no fixture, as pytest sets its own again after those."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", SimpleNamespace(buffer=stream, flush=lambda: None))
        yield reading


def interrupted(*streams: object) -> None:
    """Stands for ``select`` while a signal comes: its handler raises."""
    raise KeyboardInterrupt


def test_an_interrupt_while_the_header_is_read_is_raised(stdin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipes, "select", SimpleNamespace(select=interrupted))
    with pytest.raises(KeyboardInterrupt):
        open_container(Path("-"))


def test_a_reader_that_waits_for_a_stalled_pipe_is_ended(stdin: int) -> None:
    os.write(stdin, HEADER + FRAME)
    source = pipes.standard_input()
    assert source.read(1 << 16) == HEADER + FRAME
    found: list[bytes] = []
    waiting = threading.Thread(target=lambda: found.append(source.read(10)))
    waiting.start()
    pipes.end_reading()
    waiting.join(60)
    assert found == [b""]
    assert pipes.standard_input().read is not None  # the next job may read again


def test_a_writer_that_waits_for_a_stalled_pipe_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[BaseException] = []

    def write(target: Any) -> None:
        try:
            target.write(bytes(1 << 20))  # more than a pipe holds
        except InterruptedError as error:
            raised.append(error)

    with piped_output(monkeypatch):
        waiting = threading.Thread(target=write, args=(pipes.standard_output(),))
        waiting.start()
        pipes.end_writing()
        waiting.join(60)
    assert len(raised) == 1


def test_what_is_written_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).bytes(300_000)
    received = bytearray()

    def receive(number: int) -> None:
        while len(received) < len(data):
            received.extend(os.read(number, 1 << 16))

    with piped_output(monkeypatch) as reading:
        reader = threading.Thread(target=receive, args=(reading,), daemon=True)
        reader.start()
        pipes.standard_output().write(data)
        reader.join(60)
    assert bytes(received) == data


def test_a_failure_does_not_wait_for_a_stalled_source(stdin: int) -> None:
    """The reading thread is in the middle of a wait when writing fails."""
    source = pipes.standard_input()
    os.write(stdin, b"a")

    def items() -> Iterator[bytes]:
        while data := source.read(1):
            yield data

    def pictures(early: Iterator[bytes]) -> Iterator[tuple[np.ndarray, int]]:
        next(early)
        raise OutputError("no space left")
        yield

    with pytest.raises(OutputError, match="no space"):
        run_pipeline(items(), pictures, lambda picture, shown: None, MemoryPlan(0, 0, 3, 4))


def test_frames_of_a_pipe_are_read(stdin: int) -> None:
    os.write(stdin, HEADER + 3 * FRAME)
    with av.open(Ending(pipes.standard_input()), "r", format="yuv4mpegpipe") as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert times == [Fraction(k, 24) for k in range(3)]


class Ending:
    """A source that has ended once nothing more is there at the moment."""

    def __init__(self, source: pipes.PipeInput) -> None:
        self._source, self._rest = source, len(HEADER) + 3 * len(FRAME)

    def read(self, size: int) -> bytes:
        if not self._rest:
            return b""
        data = self._source.read(size)
        self._rest -= len(data)
        return data


def test_closed_streams_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(MediaError, match="standard input is closed"):
        open_container(Path("-"))
    with pytest.raises(OutputError, match="standard output is closed"):
        pipes.standard_output()


def test_a_stalled_stream_is_told_from_one_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with piped_output(monkeypatch):
        assert not pipes.is_stalled(sys.stdout.buffer)
        number = sys.stdout.buffer.fileno()
        os.set_blocking(number, False)
        with suppress(BlockingIOError):  # the pipe is full
            while True:
                os.write(number, bytes(4096))
        assert pipes.is_stalled(sys.stdout.buffer)
    assert not pipes.is_stalled(None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_waits(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    from safa import cli

    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(sys, "argv", ["safa"])

    def run(**options: object) -> int:
        signal.raise_signal(number)
        return 0

    monkeypatch.setattr(cli, "app", run)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 130
        assert pipes._reading_ended.is_set()
        assert pipes._writing_ended.is_set()
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
