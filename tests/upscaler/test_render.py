"""Rendering of windows: cuts, repeated frames, and flow estimated ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.upscaler import state_cache
from safa.upscaler.upscaler import Upscaler
from safa.video.info import Frame
from safa.video.schedule import OutputTime, Timeline, plan_windows
from safa.video.windows import Interval, Span, Window
from tests.conftest import tiny_network


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


def pictures_of(
    source: list[Frame], timeline: Timeline, upscaler: Upscaler, **options: Any
) -> list[tuple[np.ndarray, OutputTime]]:
    return list(upscaler.render(plan_windows(source, timeline, span=upscaler.span, **options)))


def frames(pictures: list[np.ndarray]) -> list[Frame]:
    return [Frame(Fraction(k, 10), Fraction(1, 10), picture) for k, picture in enumerate(pictures)]


def scene(seed: int, count: int) -> list[np.ndarray]:
    """Return frames of a pan by a pixel per frame, with a colour for each scene."""
    random = np.random.default_rng(seed)
    wide = random.integers(0, 100, (6, 10, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
    wide[..., seed % 3] += 150
    return [wide[:32, k : k + 48] for k in range(count)]


def test_no_picture_mixes_two_scenes(upscaler: Upscaler) -> None:
    pictures = scene(0, 6) + scene(1, 6)
    timeline = Timeline(rate=4)
    result = pictures_of(frames(pictures), timeline, upscaler)
    across = {moment.t: picture for picture, moment in result if moment.index == 5}
    before, after = (upscaler.between(p, p, [0.0])[0] for p in (pictures[5], pictures[6]))
    assert [np.array_equal(across[Fraction(k, 4)], (before, before, after, after)[k]) for k in range(4)] == [True] * 4


def test_everything_is_interpolated_without_cut_detection(upscaler: Upscaler) -> None:
    pictures = scene(0, 6) + scene(1, 6)
    result = pictures_of(frames(pictures), Timeline(rate=2), upscaler, cuts=False)
    middle = next(picture for picture, moment in result if (moment.index, moment.t) == (5, Fraction(1, 2)))
    assert np.array_equal(middle, upscaler.between(pictures[5], pictures[6], [0.5])[0])


def test_motion_is_spread_over_repeats(upscaler: Upscaler) -> None:
    moving = scene(0, 4)
    on_twos = [picture for picture in moving for _ in range(2)]
    result = pictures_of(frames(on_twos), Timeline(rate=1), upscaler, dedup=True)
    assert [moment.time for _, moment in result] == [Fraction(k, 10) for k in range(8)]
    expected = upscaler.between(moving[0], moving[1], [0.0, 0.5])
    assert all(np.array_equal(picture, want) for (picture, _), want in zip(result, expected, strict=False))


def test_skipped_frames_are_not_computed(upscaler: Upscaler) -> None:
    pictures = scene(0, 5)
    whole = pictures_of(frames(pictures), Timeline(rate=3), upscaler)
    rest = pictures_of(frames(pictures), Timeline(rate=3), upscaler, is_needed=lambda number: number >= 7)
    assert len(rest) == len(whole) - 7
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(rest, whole[7:], strict=True))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_windows_follow_the_numbers_of_the_source(count: int) -> None:
    pictures = scene(0, 7) + scene(1, count)
    windows = list(plan_windows(frames(pictures), Timeline(rate=2), span=Span(3, 1)))
    moments = [moment for window in windows for moment, _ in window.pictures]
    assert [moment.number for moment in moments] == list(range(2 * len(pictures) - 1))
    assert [moment.time for moment in moments] == [Fraction(k, 20) for k in range(2 * len(pictures) - 1)]
    seen = set()
    for window in windows:
        numbers = tuple(frame.number for frame in window.frames)
        for interval in window.intervals:
            first, second = interval.first.number, interval.second.number
            begin = first // 3 * 3
            of_scene = range(7) if first < 7 else range(7, len(pictures))
            assert numbers == tuple(k for k in range(begin - 1, begin + 5) if k in of_scene)
            assert second in numbers
            seen |= {(first, second, t) for _, t in interval.moments}
    # On both sides of the cut a frame by itself, with what its own scene shows.
    assert (6, 6, 0.0) in seen
    assert (7, 7, 0.0) in seen


def test_a_window_of_a_pair_holds_two_frames() -> None:
    windows = list(plan_windows(frames(scene(0, 3) + scene(1, 2)), Timeline(rate=2)))
    numbers = [tuple(frame.number for frame in window.frames) for window in windows for _ in window.pictures]
    assert numbers == [(0, 1), (0, 1), (1, 2), (1, 2), (2,), (3,), (3, 4), (3, 4), (3, 4)]
    assert [place for window in windows for _, (place, _) in window.pictures] == [0] * 9


@pytest.mark.parametrize("propagation", [0, 1])
def test_a_picture_can_be_rendered_alone(propagation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.upscaler.upscaler.WINDOW", Span(3, 1))
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=propagation)
    upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu")
    pictures = scene(0, 5) + scene(1, 4)
    whole = [picture for picture, _ in pictures_of(frames(pictures), Timeline(rate=3), upscaler)]
    alone = [
        Window(window.frames, [Interval(interval.first, interval.second, [moment])])
        for window in plan_windows(frames(pictures), Timeline(rate=3), span=upscaler.span)
        for interval in window.intervals
        for moment in interval.moments
    ]
    assert len(whole) == len(alone) == 25
    for window in reversed(alone):
        ((picture, moment),) = upscaler.render([window])
        assert np.array_equal(picture, whole[moment.number])


def windows_of(upscaler: Upscaler, count: int, at_end: Exception | None = None) -> Iterator[Window[OutputTime]]:
    """Return the windows of a pan; reading raises ``at_end`` after ``count`` frames."""

    def source() -> Iterator[Frame]:
        yield from frames(scene(0, count))
        if at_end is not None:
            raise at_end

    return plan_windows(source(), Timeline(rate=2), cuts=False, span=upscaler.span)


@pytest.mark.parametrize("propagation", [0, 1])
def test_flow_of_the_next_window_is_estimated_ahead(propagation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=propagation)
    upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu")
    upscaler.span = Span(2, 1) if propagation else upscaler.span
    expected = list(upscaler.render(windows_of(upscaler, 8)))
    threads = []
    estimate = state_cache.flow_both_ways

    def noted(*pair: Any) -> Any:
        threads.append(threading.current_thread().name)
        return estimate(*pair)

    monkeypatch.setattr(state_cache, "flow_both_ways", noted)
    made = upscaler.render(windows_of(upscaler, 8), ahead=True)
    pictures = [next(made)]
    assert sum(len(begun) for begun in upscaler._cache._started.values()) == (2 if propagation else 1)
    pictures += made
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(pictures, expected, strict=True))
    # Those of the first window are estimated at once.
    assert [name.startswith("flow") for name in threads] == [True] * (4 if propagation else 6)
    assert not upscaler._cache._started


def test_frames_before_a_read_error_are_made(upscaler: Upscaler) -> None:
    made = []
    with pytest.raises(ValueError, match="damaged"):
        made.extend(upscaler.render(windows_of(upscaler, 4, ValueError("damaged")), ahead=True))
    expected = list(upscaler.render(windows_of(upscaler, 4)))[: len(made)]
    assert [moment.number for _, moment in made] == list(range(6))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(made, expected, strict=True))


def test_unused_flow_is_cancelled(upscaler: Upscaler) -> None:
    made = upscaler.render(windows_of(upscaler, 4), ahead=True)
    next(made)
    made.close()
    assert not upscaler._cache._started


def test_no_flow_is_estimated_ahead_under_a_ceiling(upscaler: Upscaler) -> None:
    frugal = Upscaler(upscaler.checkpoint, device="cpu", memory=2 << 30)
    made = frugal.render(windows_of(frugal, 4), ahead=True)
    next(made)
    assert not frugal._cache._started
    made.close()


def test_failed_flow_is_estimated_again_when_needed(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*pair: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(state_cache, "flow_both_ways", fail)
    made, expected = (list(upscaler.render(windows_of(upscaler, 4), ahead=ahead)) for ahead in (True, False))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(made, expected, strict=True))
