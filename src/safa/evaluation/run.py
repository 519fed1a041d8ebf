"""Costs of a method: parameters, operations, time and memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from safa.engine.device import peak_bytes, synchronize
from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.methods import Method, MethodFailed, Usage
from safa.evaluation.perceptual import (
    OF_VIDEOS,
    FrameMetric,
    Gathered,
    Measured,
    VideoMetric,
    make_metrics,
    make_video_metrics,
)
from safa.evaluation.protocols import (
    EvaluationWindow,
    FrameGroup,
    Variant,
    combine,
    part_indices,
    prepare,
    window_starts,
    windows,
)
from safa.metrics import measure


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
    """Licence of the method's code and weights; "" where it is not known."""

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


# Running methods over a data set: every counted frame measured, every method's cost noted.


@dataclass(frozen=True)
class FrameScore:
    """Scores of one method on one frame."""

    method: str
    sequence: str
    start: int
    """First frame of the window in the sequence."""
    index: int
    """Frame in the window: t = index / time factor."""
    values: dict[str, float]
    """By metric: psnr_y and psnr_rgb in dB, ssim_y, ssim_rgb, and the further ones asked for."""


@dataclass
class Results:
    """Everything one evaluation found."""

    dataset: str
    factor: int
    variant: Variant
    windows: dict[str, int]
    """Number of measured windows of each sequence."""
    costs: dict[str, Cost] = field(default_factory=dict)
    """By method, in the order the methods were given."""
    scores: list[FrameScore] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    """Methods that could not be measured, and why in one sentence; they have no scores."""

    def metrics(self) -> list[str]:
        """Names of all metrics measured."""
        return list(dict.fromkeys(name for score in self.scores for name in score.values))

    def mean(self, method: str, metric: str, part: FrameGroup, sequence: str | None = None) -> float | None:
        """A table's cell in the run's variant; None where there is nothing (the centre of an odd time factor)."""
        indices = part_indices(part, self.factor)
        values: dict[str, list[float]] = {}
        for score in self.scores:
            wanted = score.method == method and score.index in indices and sequence in (None, score.sequence)
            if wanted and metric in score.values:
                values.setdefault(score.sequence, []).append(score.values[metric])
        return combine(values, self.variant)

    def forget(self, method: str, why: str) -> None:
        """Leave a method out that failed: means over fewer sequences than the others' would mislead."""
        self.failures[method] = why
        self.costs.pop(method, None)
        self.scores = [score for score in self.scores if score.method != method]


@dataclass(frozen=True)
class EvaluationProgress:
    """Progress of an evaluation."""

    done: int
    """Windows measured so far, by all methods."""
    total: int
    sequence: str


def evaluate(
    methods: Sequence[Method],
    dataset: Dataset,
    variant: Variant = "public",
    windows_per_sequence: int | None = None,
    further: Sequence[str] = (),
    on_progress: Callable[[EvaluationProgress], None] | None = None,
) -> Results:
    """Measure ``methods`` on ``dataset``.

    Args:
        variant: of the protocol, see ``safa.evaluation.protocols``.
        windows_per_sequence: at most this many, evenly spread over the sequence; all by default.
        further: names of metrics beyond PSNR and SSIM, see ``safa.evaluation.perceptual``.
        on_progress: called after every window.

    Raises:
        SafaError: two methods of one name, a metric that is not there, or no sequence is long enough for a window.
    """
    metrics = make_metrics(further)
    video_metrics = make_video_metrics([name for name in further if name in OF_VIDEOS])
    starts = find_windows(methods, dataset, windows_per_sequence)
    total = sum(len(of_sequence) for of_sequence in starts.values())
    name = dataset.name
    if dataset.compression is not None:
        name += f", inputs through {dataset.compression}"
    results = Results(name, dataset.factor, variant, {name: len(some) for name, some in starts.items() if some})
    done = 0
    for sequence in dataset.sequences:
        gathered = Gathered() if video_metrics else None
        with_stream = any(method.stream is not None for method in methods)
        for window in windows(sequence, dataset.factor, starts[sequence.name], dataset.compression, with_stream):
            for method in methods:
                if method.name in results.failures:
                    continue
                try:
                    if method.name not in results.costs:
                        results.costs[method.name] = first_cost(method, window)
                    results.scores += list(
                        _score(method, window, variant, metrics, results.costs[method.name], gathered)
                    )
                except MethodFailed as error:
                    results.forget(method.name, str(error))
            done += 1
            if on_progress is not None:
                on_progress(EvaluationProgress(done, total, sequence.name))
        if gathered is not None:
            for name in results.failures:
                gathered.forget(name)
            _add_video_values([one for one in results.scores if one.sequence == sequence.name], gathered, video_metrics)
    for method in methods:
        if method.usage is not None and method.name in results.costs:
            results.costs[method.name].of_program(method.usage)
    if not results.scores:
        raise SafaError(" ".join(results.failures.values()))
    return results


def _add_video_values(scores: Sequence[FrameScore], gathered: Gathered, metrics: dict[str, VideoMetric]) -> None:
    values = {method: iter(frames) for method, frames in gathered.measure(metrics).items()}
    for score in scores:
        score.values.update(next(values[score.method]))


def find_windows(
    methods: Sequence[Method], dataset: Dataset, windows_per_sequence: int | None = None
) -> dict[str, list[int]]:
    """First frames of the windows of every sequence; raises SafaError where ``evaluate`` could not measure at all."""
    if len({method.name for method in methods}) != len(methods):
        raise SafaError("Two methods have the same name; rename one of them.")
    for method in methods:
        if not method.any_time and dataset.factor != 2:
            raise SafaError(f"{method.name} takes no time: it can be measured at a time factor of 2 only.")
    starts = {
        sequence.name: window_starts(sequence.count(), dataset.factor, windows_per_sequence)
        for sequence in dataset.sequences
    }
    if not any(starts.values()):
        raise SafaError(f"No sequence of {dataset.name} has the {dataset.factor + 1} frames that a window takes.")
    return starts


def _score(
    method: Method,
    window: EvaluationWindow,
    variant: Variant,
    metrics: dict[str, FrameMetric],
    cost: Cost,
    gathered: Gathered | None,
) -> Iterator[FrameScore]:
    for index, result in enumerate(_timed(method, window, cost)):
        image, truth = prepare(result, variant), window.truth(index).to(result.device)
        values = {name: value.item() for name, value in measure(image, truth).items()}
        measured = Measured(method.name, window.sequence, window.start + index, image, truth)
        if gathered is not None:
            gathered.add(measured)
        for name, metric in metrics.items():
            if (value := metric(measured)) is not None:
                values[name] = value
        yield FrameScore(method.name, window.sequence, window.start, index, values)


def _timed(method: Method, window: EvaluationWindow, cost: Cost) -> Iterator[Tensor]:
    """Yield the method's frames of a window; only the time spent inside the method is added to ``cost``."""
    pictures = frames_of(method, window)
    expected = (1, 3, *window.frames[0].shape[:2])
    for _ in window.times:
        begin, processor = time.perf_counter(), time.process_time()
        image = next(pictures)
        synchronize(method.device)
        cost.seconds += time.perf_counter() - begin
        cost.processor_seconds = (cost.processor_seconds or 0) + time.process_time() - processor
        cost.frames += 1
        if image.shape != expected:
            raise SafaError(f"{method.name} gives pictures of shape {tuple(image.shape)} instead of {expected}.")
        yield image


def frames_of(method: Method, window: EvaluationWindow) -> Iterator[Tensor]:
    """Yield the pictures of ``method`` at the window's times, made from all it may see."""
    if method.stream is not None:
        return method.stream(window.stream, window.place, window.times)
    return method.interpolate(*window.inputs(), window.times)


def worst_frames(results: Results, method: str, count: int, metric: str = "psnr_y") -> list[FrameScore]:
    """The frames ``method`` did worst on, the worst first, at most one a window so that they differ."""
    ranked = sorted((score for score in results.scores if score.method == method), key=lambda s: s.values[metric])
    chosen: dict[tuple[str, int], FrameScore] = {}
    for score in ranked:
        chosen.setdefault((score.sequence, score.start), score)
    return [score for score in chosen.values() if np.isfinite(score.values[metric])][:count]
