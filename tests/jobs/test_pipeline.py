"""The pictures that a pipeline writes when an error is raised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from safa.engine.images import Array
from safa.jobs.pipeline import run_pipeline
from safa.upscaler.memory_budget import MemoryPlan

MEMORY = MemoryPlan(reserved=0, economy=0, read_ahead=2, write_behind=3)
PICTURE = np.zeros((2, 2, 3), np.uint8)


def pictures(items: Iterator[int]) -> Iterator[tuple[Array, int]]:
    return ((PICTURE, item) for item in items)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_finished_pictures_are_written_when_a_job_stops(error: type[BaseException]) -> None:
    written: list[int] = []
    ticks: list[None] = []

    def tick() -> None:
        ticks.append(None)
        if len(ticks) == 5:
            raise error

    with pytest.raises(error):
        run_pipeline(iter(range(9)), pictures, lambda _, item: written.append(item), MEMORY, tick)
    assert written == [0, 1, 2, 3, 4]


def test_nothing_is_written_after_a_failed_frame() -> None:
    tried: list[int] = []

    def write(picture: Array, item: int) -> None:
        tried.append(item)
        if item == 3:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        run_pipeline(iter(range(9)), pictures, write, MEMORY)
    assert tried == [0, 1, 2, 3]
