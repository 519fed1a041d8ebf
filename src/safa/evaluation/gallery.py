"""The pictures of a report: before and after, the worst frames, and what the network decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safa.data.scene import Image
from safa.errors import SafaError
from safa.evaluation.baselines import Method
from safa.evaluation.datasets import Dataset
from safa.evaluation.decisions import decide, overview
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import EvaluationWindow, windows
from safa.evaluation.run import FrameScore, Results, worst_frames
from safa.network.safa import Safa


@dataclass(frozen=True)
class Comparison:
    """One frame by two methods and its truth, ``H,W,3`` each."""

    score: FrameScore
    """Of the subject."""
    truth: Image
    subject: Image
    other: Image


def before_after(results: Results, dataset: Dataset, subject: Method, other: Method) -> list[Comparison]:
    """For each measured sequence the frame in the middle of the measured windows, half way between the inputs."""
    index = results.factor // 2
    comparisons = []
    for sequence in results.windows:
        of_sequence = [
            score
            for score in results.scores
            if (score.method, score.sequence, score.index) == (subject.name, sequence, index)
        ]
        comparisons.append(_compare(of_sequence[len(of_sequence) // 2], dataset, subject, other))
    return comparisons


def worst(results: Results, dataset: Dataset, subject: Method, other: Method, count: int = 3) -> list[Comparison]:
    """The frames that ``subject`` did worst on, by PSNR-Y."""
    return [_compare(score, dataset, subject, other) for score in worst_frames(results, subject.name, count)]


def decision_sheets(
    results: Results, dataset: Dataset, network: Safa, times: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)
) -> dict[str, Image]:
    """For each measured sequence what the network decides on its first measured window: see ``decisions.overview``."""
    sheets = {}
    for sequence in results.windows:
        start = next(score.start for score in results.scores if score.sequence == sequence)
        window = find_window(dataset, sequence, start)
        low0, low1 = map(image_of, window.inputs())
        sheets[sequence] = overview(network, decide(network, low0, low1, times))
    return sheets


def find_window(dataset: Dataset, sequence: str, start: int) -> EvaluationWindow:
    """The window of ``sequence`` that begins at ``start``.

    Raises:
        SafaError: there is no such sequence.
    """
    for candidate in dataset.sequences:
        if candidate.name == sequence:
            return next(windows(candidate, dataset.factor, [start], dataset.compression, with_stream=False))
    raise SafaError(f"There is no sequence {sequence} in {dataset.name}.")


def _compare(score: FrameScore, dataset: Dataset, subject: Method, other: Method) -> Comparison:
    window = find_window(dataset, score.sequence, score.start)
    t = window.times[score.index]
    pictures = [image_of(next(iter(method.interpolate(*window.inputs(), [t])))) for method in (subject, other)]
    return Comparison(score, window.frames[score.index], *pictures)
