"""Speed of each engine on this machine: interleaved rounds, medians, and ratios to PyTorch.

Timings on shared machines are noisy, so every round measures every case once, and cases are compared by the medians
of the same rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np

from safa.bench.networks import ENGINES, Work, engine_called, network_called, stream_work
from safa.checkpoint import Checkpoint
from safa.engine import Engine, pick_engine
from safa.engine.device import CPU, pick_device, processor_threads, synchronize
from safa.engine.peak_memory import peak_bytes


@dataclass
class Case:
    """One engine on one network at one size; times in seconds for a pair with all its output frames."""

    weights: str
    engine: str
    width: int
    height: int
    """Of the low-resolution input."""
    scale: str
    """Forced scale, or "selected"."""
    frames: int
    """Output frames made of the pair."""
    operations: int | None
    """Floating-point operations of the pair, 2 per multiply-add, as PyTorch's layers count them; None without it."""
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    """Peak bytes beyond what was in use before; None where the system does not tell."""

    @property
    def median(self) -> float:
        """Seconds for the pair."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Bench:
    """All cases and the machine's ceiling."""

    cases: list[Case]
    peak: float
    """Operations per second of a 2048 x 2048 float32 matrix product on this device."""
    threads: int
    device: str

    def ratio(self, case: Case) -> float | None:
        """Speed relative to PyTorch; None if PyTorch was not measured."""
        for other in self.cases:
            same = (other.weights, other.width, other.height, other.scale, other.frames)
            here = (case.weights, case.width, case.height, case.scale, case.frames)
            if other.engine in ("torch", "torch:float32") and same == here:
                return other.median / case.median
        return None

    def rows(self) -> list[list[str]]:
        """A table, the heading first."""
        heading = ["weights", "input", "scale", "frames", "engine", "s/frame", "x torch", "GFLOP/s", "% of peak", "MiB"]
        rows = [heading]
        for case in self.cases:
            ratio = self.ratio(case)
            speed = None if case.operations is None else case.operations / case.median
            rows.append(
                [
                    case.weights,
                    f"{case.width}x{case.height}",
                    case.scale,
                    str(case.frames),
                    case.engine,
                    f"{case.median / case.frames:.4f}",
                    "-" if ratio is None else f"{ratio:.2f}",
                    "-" if speed is None else f"{speed / 1e9:.0f}",
                    "-" if speed is None else f"{100 * speed / self.peak:.0f}",
                    "-" if case.memory is None else f"{case.memory / 2**20:.0f}",
                ]
            )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "peak_operations_per_second": self.peak,
            "threads": self.threads,
            "device": self.device,
            "cases": [{**asdict(case), "median": case.median, "ratio": self.ratio(case)} for case in self.cases],
        }


def run_bench(
    weights: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    frames: Sequence[int],
    *,
    engines: Sequence[str] = ENGINES,
    scales: Sequence[int | None] = (None,),
    rounds: int = 5,
    device: str = "cpu",
    on_progress: Callable[[int, int], None] | None = None,
) -> Bench:
    """Measure every combination.

    Args:
        weights: names or files; "paper" is the paper's network with random weights.
        sizes: (width, height) of the input, multiples of the network's ``multiple``.
        frames: numbers of output frames per pair.
        scales: indices of forced scales; None for the selector's choice.
        rounds: how often each case is measured.
        on_progress: called with measurements done and all of them.

    Raises:
        SafaError: unknown weights, or an engine or device that is not available here.
    """
    place = pick_device(device)
    cases: list[tuple[Case, Engine, Work, Callable[[], None]]] = []
    for name in weights:
        checkpoint = network_called(name)
        for engine_name in engines:
            engine = engine_called(engine_name, checkpoint, place)
            for size in sizes:
                for count in frames:
                    work = stream_work(engine, size, count)
                    for scale in scales:
                        label = "selected" if scale is None else f"{checkpoint.config.scales[scale]:g}"
                        operations = _operations(checkpoint, place, size, count, scale)
                        case = Case(name, engine_name, *size, label, count, operations)
                        cases.append((case, engine, work, partial(work.run, scale)))
    for case, engine, _, run in cases:  # this also fills buffers and caches
        run()
        engine.release()  # what is kept only grows: a smaller case would seem to need nothing
        case.memory = peak_bytes(run, place)
    done = 0
    for _ in range(rounds):
        for case, _, work, run in cases:
            began = time.perf_counter()
            run()
            synchronize(place)
            case.seconds.append((time.perf_counter() - began) / work.pairs)
            done += 1
            if on_progress is not None:
                on_progress(done, rounds * len(cases))
    return Bench([case for case, *_ in cases], _peak(place), processor_threads(), place)


def _operations(
    checkpoint: Checkpoint, device: str, size: tuple[int, int], count: int, scale: int | None
) -> int | None:
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ModuleNotFoundError:
        return None
    work = stream_work(pick_engine("torch", checkpoint, device), size, count)
    with FlopCounterMode(display=False) as counter:
        work.run(scale)
    return int(counter.get_total_flops()) // work.pairs


def _peak(device: str) -> float:
    multiply: Callable[[], object]
    if device == CPU:
        array = np.random.default_rng(0).random((2048, 2048), np.float32)
        multiply = partial(np.matmul, array, array)
    else:
        import torch

        matrix = torch.rand(2048, 2048, device=device)
        multiply = partial(torch.mm, matrix, matrix)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        multiply()
        synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2 * 2048**3 / best
