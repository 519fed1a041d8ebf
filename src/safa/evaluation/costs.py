"""Costs of a method: parameters, operations, time and memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from safa.engine.peak_memory import peak_bytes
from safa.evaluation.baselines import Method, Usage
from safa.evaluation.protocols import EvaluationWindow


@dataclass
class Cost:
    """Costs of one method."""

    parameters: int | None
    operations: float | None
    """Floating-point operations per frame (convolutions and matrix products, 2 a multiply-add), all counted times
    together; None where they cannot be counted."""
    operations_size: tuple[int, int]
    """Width and height of the frames that ``operations`` is for."""
    seconds: float = 0.0
    """Wall time of computing all frames."""
    frames: int = 0
    processor_seconds: float | None = 0.0
    """Time that all threads together spent on it; None where that is not known."""
    peak_bytes: int | None = None
    """Memory needed beyond what was in use before, at ``operations_size``; of another program all it held. None where
    it is not known."""
    licence: str = ""
    """Of the method's code and weights; "" where it is not known."""

    @property
    def seconds_per_frame(self) -> float:
        """Mean wall time of a frame over all windows."""
        return self.seconds / max(self.frames, 1)

    @property
    def processor_seconds_per_frame(self) -> float | None:
        """Mean processor time of a frame over all windows."""
        return None if self.processor_seconds is None else self.processor_seconds / max(self.frames, 1)

    def of_program(self, usage: Usage) -> None:
        """Take over what another program has taken, for all the frames that it made."""
        self.seconds, self.frames, self.peak_bytes = usage.seconds, usage.frames, usage.peak_bytes
        self.processor_seconds = usage.processor_seconds


def count_operations(method: Method, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> int:
    """Floating-point operations of all ``times`` of one pair: convolutions and matrix products, 2 a multiply-add."""
    return int(_operations(method, method.interpolate(frame0, frame1, times)))


def _operations(method: Method, pictures: Iterable[Tensor]) -> float:
    """Count the operations of ``method`` while it makes ``pictures``."""
    before = method.operations_elsewhere()
    with FlopCounterMode(display=False) as counter:
        deque(pictures, maxlen=0)
    return float(counter.get_total_flops() + method.operations_elsewhere() - before)


def first_cost(method: Method, window: EvaluationWindow) -> Cost:
    """The cost of a method that is about to be measured, with what is found out in one go beforehand.

    A method given the stream is counted over all pairs that share its first window, as it computes that once. It is
    counted on copies and mirrored frames, so that nothing it keeps of them makes the first measured window cheaper.
    """
    height, width = window.frames[0].shape[:2]
    cost = Cost(method.parameters, None, (width, height), licence=method.licence)
    if method.usage is not None:
        return cost
    counted: list[float] = []

    def count() -> None:
        if method.stream is None:
            first, last = window.inputs()
            if len(window.stream) > 2:  # first the pair before, so that what neighbours share is there as usual
                second = max(1, window.place)
                before, first, last = (frame.flip(-1) for frame in window.stream[second - 1 : second + 2])
                deque(method.interpolate(before, first, window.times), maxlen=0)
            else:
                first, last = first.flip(-1), last.flip(-1)
            counted.append(count_operations(method, first, last, window.times))
            return
        places = range(min(method.pairs, len(window.stream) - 1))
        inputs = window.stream[:]
        pictures = (method.stream(inputs, place, window.times) for place in places)
        counted.append(_operations(method, chain.from_iterable(pictures)) / len(places))

    cost.peak_bytes = peak_bytes(count, method.device)
    cost.operations = counted[0] / len(window.times)
    return cost
