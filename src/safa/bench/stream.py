"""Time of a stream relative to separate calls for each pair."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safa.bench.networks import network_called
from safa.upscaler.upscaler import Upscaler


@dataclass
class StreamBench:
    """Seconds for a whole clip, each round."""

    weights: str
    engine: str
    width: int
    height: int
    """Of the low-resolution input."""
    frames: int
    """Of the input."""
    rate: int
    stream: list[float] = field(default_factory=list)
    pairs: list[float] = field(default_factory=list)
    """One ``Upscaler.between`` for each pair, with both its ends."""

    @property
    def share(self) -> float:
        """The stream's time over the pairs' time, by medians."""
        return statistics.median(self.stream) / statistics.median(self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "share": self.share}

    def sentence(self) -> str:
        """For people."""
        stream, pairs = statistics.median(self.stream), statistics.median(self.pairs)
        return (
            f"{self.weights}, {self.engine}, {self.frames} frames of {self.width}x{self.height} at rate {self.rate}: "
            f"stream {stream:.2f} s, pair by pair {pairs:.2f} s, share {self.share:.2f}"
        )


def run_stream_bench(
    weights: str,
    size: tuple[int, int],
    *,
    frames: int = 30,
    rate: int = 2,
    engine: str = "auto",
    rounds: int = 3,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> StreamBench:
    """Measure ``Upscaler.stream`` against ``Upscaler.between`` for every pair, in turns.

    Args:
        weights: shipped ones, a file, or "paper".
        size: (width, height) of the input.
        frames: of the input, at least 2.
        on_progress: called with measurements done and all of them.
    """
    called, _, precision = engine.partition(":")
    upscaler = Upscaler(network_called(weights), device, precision or "auto", called)
    clip = _moving_noise(frames, *size)
    times = [step / rate for step in range(rate + 1)]

    def stream() -> None:
        for _ in upscaler.stream(clip, rate):
            pass

    def pairs() -> None:
        for first, second in pairwise(clip):
            upscaler.between(first, second, times)

    upscaler.between(clip[0], clip[1], times)  # buffers, caches and lazy initialisation
    result = StreamBench(weights, upscaler.engine.name, *size, frames, rate)
    for done in range(2 * rounds):
        call, seconds = ((stream, result.stream), (pairs, result.pairs))[done % 2]
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        if on_progress is not None:
            on_progress(done + 1, 2 * rounds)
    return result


def _moving_noise(frames: int, width: int, height: int) -> list[NDArray[np.uint8]]:
    """``height,width,3`` each: coarse noise that moves two pixels to the left from frame to frame."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, ((height + 7) // 8, (width + 2 * frames + 7) // 8, 3), dtype=np.uint8)
    wide = coarse.repeat(8, axis=0).repeat(8, axis=1)
    return [np.ascontiguousarray(wide[:height, 2 * k : 2 * k + width]) for k in range(frames)]
