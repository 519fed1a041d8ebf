"""A whole evaluation with methods whose results can be worked out by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.methods import BASELINES, Method, along_stream
from safa.evaluation.protocols import windows
from safa.evaluation.run import EvaluationProgress, count_operations, evaluate, worst_frames
from safa.video.windows import Span
from tests.evaluation.footage import Held, moving


def flat(levels: Sequence[float], name: str = "x") -> Held:
    """A sequence of grey frames."""
    return Held(name, [np.full((32, 32, 3), round(level * 255), np.uint8) for level in levels])


def constant(level: float) -> Method:
    """A method that gives the same grey at all times."""

    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        for _ in times:
            yield torch.full((1, 3, 4 * frame0.shape[-2], 4 * frame0.shape[-1]), level)

    return Method(f"constant {level}", interpolate)


def test_parts_and_means_of_a_known_error() -> None:
    # Off by 0.2, 0.4 and 0.6 of the range at t = 0, 1/3 and 2/3; the last frame belongs to the next window.
    dataset = Dataset("made up", (flat([0.2, 0.4, 0.6, 1]),), factor=3)
    results = evaluate([constant(0)], dataset)

    def mean(part: str) -> float | None:
        return results.mean("constant 0", "psnr_rgb", part)  # type: ignore[arg-type]

    errors = [-20 * torch.log10(torch.tensor(level)).item() for level in (0.2, 0.4, 0.6)]
    assert mean("inputs") == pytest.approx(errors[0])
    assert mean("between") == pytest.approx((errors[1] + errors[2]) / 2)
    assert mean("average") == pytest.approx(sum(errors) / 3)
    assert mean("centre") is None


def test_the_variants_weigh_sequences_differently() -> None:
    # One window that is off by 0.1 (20 dB), three that are off by 0.01 (40 dB).
    dataset = Dataset("made up", (flat([0.6] * 3, "short"), flat([0.51] * 7, "long")), factor=2)
    method = constant(0.5)
    public, zooming = (evaluate([method], dataset, variant) for variant in ("public", "zooming"))  # type: ignore[arg-type]
    assert public.windows == {"short": 1, "long": 3}
    assert public.mean(method.name, "psnr_rgb", "average") == pytest.approx((20 + 3 * 40) / 4, abs=0.2)
    # 8 bits have no 0.5: the rounded picture is 128/255, the frames are 153/255 and 130/255.
    expected = [-20 * torch.log10(torch.tensor(levels / 255)).item() for levels in (25, 2)]
    assert zooming.mean(method.name, "psnr_rgb", "average") == pytest.approx(sum(expected) / 2, abs=1e-3)
    assert zooming.mean(method.name, "psnr_rgb", "average", "long") == pytest.approx(expected[1], abs=1e-3)


def test_progress_counts_the_windows_that_are_left_after_the_limit() -> None:
    dataset = Dataset("made up", (flat([0.5] * 9, "a"), flat([0.5] * 5, "b"), flat([0.5], "too short")), factor=2)
    seen: list[EvaluationProgress] = []
    results = evaluate([constant(0.4)], dataset, windows_per_sequence=2, on_progress=seen.append)
    assert seen == [
        EvaluationProgress(1, 4, "a"),
        EvaluationProgress(2, 4, "a"),
        EvaluationProgress(3, 4, "b"),
        EvaluationProgress(4, 4, "b"),
    ]
    assert results.windows == {"a": 2, "b": 2}


def test_operations_are_two_a_multiply_add() -> None:
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1, bias=False)

    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        for _ in times:
            yield convolution(frame0)

    frame = torch.rand(1, 3, 6, 8)
    assert count_operations(Method("x", interpolate), frame, frame, [0, 0.5]) == 2 * (2 * 5 * 3 * 9 * 6 * 8)


def test_operations_of_a_frame_are_a_share_of_the_pair() -> None:
    convolution = torch.nn.Conv2d(3, 48, 1, bias=False)

    @torch.no_grad()
    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        for _ in times:
            yield torch.nn.functional.pixel_shuffle(convolution(frame0), 4)

    results = evaluate([Method("x", interpolate)], Dataset("made up", (Held("x", moving(5)),), factor=4))
    assert results.costs["x"].operations == 2 * 3 * 48 * 12 * 16


@pytest.mark.parametrize("limit", [None, 1])
def test_what_neighbouring_pairs_share_is_counted_once_wherever_one_begins(limit: int | None) -> None:
    convolution, known = torch.nn.Conv2d(3, 48, 1, bias=False), {}

    @torch.no_grad()
    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        for frame in (frame0, frame1):
            key = float(frame.sum())
            if key not in known:
                known[key] = torch.nn.functional.pixel_shuffle(convolution(frame), 4)
        for _ in times:
            yield known[float(frame0.sum())]

    def along(frames: Sequence[Tensor], place: int, times: Sequence[float]) -> Iterator[Tensor]:
        return constant(0).interpolate(frames[place], frames[place + 1], times)

    dataset = Dataset("made up", (Held("x", moving(9)),), factor=2)
    methods = [Method("x", interpolate), dataclasses.replace(constant(0), name="stream", stream=along)]
    results = evaluate(methods, dataset, windows_per_sequence=limit)
    # One new frame a pair, two pictures of it.
    assert results.costs["x"].operations == 2 * 3 * 48 * 12 * 16 / 2


def test_what_was_counted_beforehand_is_computed_again_when_it_is_timed() -> None:
    joined: list[int] = []

    def join(frames: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        joined.append(len(frames))
        return frames

    def pictures(window: Sequence[np.ndarray], asks: Sequence[tuple[int, float]]) -> Iterator[np.ndarray]:
        for place, _ in asks:
            yield window[place].repeat(4, axis=0).repeat(4, axis=1)

    seen: list[Tensor] = []

    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        if not any(torch.equal(frame0, one) for one in seen):
            seen.append(frame0)
            calls.append(len(seen))
        yield from constant(0).interpolate(frame0, frame1, times)

    calls: list[int] = []
    along = dataclasses.replace(constant(0), name="stream", stream=along_stream(Span(16, 3), join, pictures))
    pairs = Method("pairs", interpolate)
    evaluate([along, pairs], Dataset("made up", (Held("x", moving(5)),), factor=2))
    assert joined == [3, 3]
    # Two pairs beforehand and two when they are timed.
    assert calls == [1, 2, 3, 4]


def test_inputs_are_held_as_8_bits() -> None:
    (window,) = windows(Held("x", moving(3)), 2, [0])
    assert [picture.dtype for picture in window.stream.pictures] == [np.uint8] * 2
    assert all(torch.equal(a, b) for a, b in zip(window.stream, window.inputs(), strict=True))


def test_costs_are_noted_for_every_method() -> None:
    results = evaluate(BASELINES, Dataset("made up", (Held("x", moving(5)),), factor=2))
    assert list(results.costs) == [method.name for method in BASELINES]
    for cost in results.costs.values():
        assert (cost.frames, cost.operations_size, cost.operations) == (4, (64, 48), 0)
        assert cost.seconds_per_frame > 0


def test_worst_frames_come_from_different_windows() -> None:
    results = evaluate([constant(0)], Dataset("made up", (flat([0.1, 0.9, 0.8, 0.7, 0.2]),), factor=2))
    assert [(score.start, score.index) for score in worst_frames(results, "constant 0", 5)] == [(0, 1), (2, 0)]


def test_pictures_of_the_wrong_size_are_an_error() -> None:
    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        yield frame0

    with pytest.raises(SafaError, match="small gives pictures of shape"):
        evaluate([Method("small", interpolate)], Dataset("made up", (flat([0.5] * 3),), factor=2))


def test_two_methods_of_one_name_are_refused() -> None:
    with pytest.raises(SafaError, match="same name"):
        evaluate([constant(0), constant(0)], Dataset("made up", (flat([0.5] * 3),), factor=2))


def test_a_data_set_without_a_whole_window_is_refused() -> None:
    with pytest.raises(SafaError, match="No sequence of made up has the 9 frames"):
        evaluate([constant(0)], Dataset("made up", (flat([0.5] * 8),), factor=8))
