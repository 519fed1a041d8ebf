"""Time that counts as training."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa.training.trainer import LONGEST, TICK, ActiveTime


# Eighths, so that the differences of sums of them are exact.
@given(st.lists(st.integers(0, 8000).map(lambda eighths: eighths / 8), max_size=20))
def test_a_pause_counts_as_one_look_at_the_clock(steps: list[float]) -> None:
    times = iter(itertools.accumulate([0.0, *steps]))
    active = ActiveTime(lambda: next(times))
    for _ in steps:
        active.seconds()
    counted = active._total
    assert counted == pytest.approx(sum(step if step <= LONGEST else TICK for step in steps), abs=1e-6)


def test_it_looks_by_itself_until_it_is_ended() -> None:
    looked = threading.Event()
    calls = itertools.count()

    def clock() -> float:
        if threading.current_thread() is not threading.main_thread():
            looked.set()
        return float(next(calls))

    active = ActiveTime(clock)
    active.begin()
    assert looked.wait(60)
    active.end()
    assert not active._thread.is_alive()
    assert active.seconds() >= 2
