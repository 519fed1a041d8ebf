from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa.video.schedule import OutputTime, Timeline, output_time_base

TIME_BASES = st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1001, 30000), Fraction(1, 24)])
FPS = st.sampled_from([Fraction(60), Fraction(60000, 1001), Fraction(24000, 1001), Fraction(5, 2), Fraction(144)])
SLOW = st.sampled_from([Fraction(1), Fraction(2), Fraction(5, 3), Fraction(1, 2)])


@st.composite
def sources(draw: st.DrawFn) -> tuple[list[Fraction], Fraction]:
    """Increasing frame times (first one anywhere) and the last frame's duration, on some time base."""
    tick = draw(TIME_BASES)
    steps = draw(st.lists(st.integers(1, 60), max_size=8))
    times = [draw(st.integers(-50, 10_000))]
    for step in steps:
        times.append(times[-1] + step)
    return [time * tick for time in times], draw(st.integers(1, 60)) * tick


def run(timeline: Timeline, times: list[Fraction], duration: Fraction) -> list[OutputTime]:
    moments = []
    for time in times:
        moments += timeline.push(time)
    return moments + timeline.finish(duration)


def check_common(moments: list[OutputTime], times: list[Fraction], duration: Fraction, slow: Fraction, end: Fraction):
    shown = [moment.time for moment in moments]
    assert all(a < b for a, b in pairwise(shown))
    assert shown[0] == times[0] * slow
    assert end == (times[-1] + duration) * slow
    assert shown[-1] < end  # so the durations are positive and sum to the source's
    for moment in moments:
        assert 0 <= moment.t < 1
        left = times[moment.index] * slow
        if moment.index + 1 < len(times):
            right = times[moment.index + 1] * slow
            assert moment.time == left + moment.t * (right - left)
        else:
            assert moment.t == 0
            assert moment.time >= left


@given(sources(), st.integers(1, 8), SLOW)
def test_rate_spreads_every_interval_evenly(source, rate, slow):
    times, duration = source
    timeline = Timeline(rate=rate, slow=slow)
    moments = run(timeline, times, duration)
    check_common(moments, times, duration, slow, timeline.end)
    assert len(moments) == (len(times) - 1) * rate + 1
    assert moments[-1] == OutputTime(len(moments) - 1, len(times) - 1, Fraction(0), times[-1] * slow)
    assert [m.index for m in moments if m.t == 0] == list(range(len(times)))


@given(sources(), FPS, SLOW)
def test_fps_lies_on_the_grid_and_on_source_frames_where_they_coincide(source, fps, slow):
    times, duration = source
    timeline = Timeline(fps=fps, slow=slow)
    moments = run(timeline, times, duration)
    check_common(moments, times, duration, slow, timeline.end)
    start = times[0] * slow
    assert [m.time for m in moments] == [start + k / fps for k in range(len(moments))]
    on_source = {m.time for m in moments if m.t == 0 and m.time <= times[-1] * slow}
    assert on_source == {time * slow for time in times} & {m.time for m in moments}
    last = timeline.end - moments[-1].time
    assert last < Fraction(3, 2) / fps or moments[-1].time <= times[-1] * slow


@given(sources(), st.integers(1, 8), SLOW)
def test_output_time_base_holds_every_rate_moment_exactly(source, rate, slow):
    times, duration = source
    tick = output_time_base(Fraction(1, 90000 * 1001), rate, slow=slow)  # holds every time base drawn above
    assert tick.numerator == 1
    if tick != Fraction(1, 10**6):
        assert all((m.time / tick).denominator == 1 for m in run(Timeline(rate=rate, slow=slow), times, duration))


@given(FPS, TIME_BASES, SLOW, st.integers(0, 1000))
def test_output_time_base_holds_every_grid_moment_exactly(fps, tick, slow, start):
    base = output_time_base(tick, fps=fps, slow=slow)
    assert all(((start * tick * slow + k / fps) / base).denominator == 1 for k in range(5))


def test_time_base_stays_coarse_enough_for_encoders():
    assert output_time_base(Fraction(1, 10**9), rate=7) == Fraction(1, 10**6)
    assert output_time_base(Fraction(1, 90000), rate=2) == Fraction(1, 180000)


def test_last_frame_is_held_on_the_fps_grid():
    timeline = Timeline(fps=Fraction(10))
    moments = run(timeline, [Fraction(0), Fraction(1, 10)], Fraction(34, 100))
    assert [(m.index, m.t) for m in moments] == [(0, 0), (1, 0), (1, 0), (1, 0)]
    assert timeline.end - moments[-1].time == Fraction(14, 100)  # the rest is no frame of its own


def test_fps_below_the_source_rate_synthesises_between_frames():
    moments = run(Timeline(fps=Fraction(2)), [Fraction(k, 3) for k in range(4)], Fraction(1, 3))
    assert [(m.index, m.t, m.time) for m in moments] == [
        (0, 0, 0),
        (1, Fraction(1, 2), Fraction(1, 2)),
        (3, 0, 1),
    ]


def test_duplicates_spread_motion_over_the_true_interval():
    timeline = Timeline(rate=2)
    moments = timeline.push(Fraction(0))
    moments += timeline.push(Fraction(1), duplicate=True)
    moments += timeline.push(Fraction(2))
    moments += timeline.push(Fraction(3), duplicate=True)
    moments += timeline.finish(Fraction(1))
    assert [(m.index, float(m.t), float(m.time)) for m in moments] == [
        (0, 0.0, 0.0),
        (0, 0.25, 0.5),
        (0, 0.5, 1.0),
        (0, 0.75, 1.5),
        (1, 0.0, 2.0),
        (1, 0.0, 2.5),
        (1, 0.0, 3.0),
    ]
    assert timeline.end == 4


def test_first_frame_cannot_be_a_duplicate():
    timeline = Timeline(rate=1)
    timeline.push(Fraction(0), duplicate=True)
    assert [m.index for m in timeline.push(Fraction(1))] == [0]


def test_no_frames_no_moments():
    timeline = Timeline(rate=2)
    assert timeline.finish(Fraction(1)) == []
    assert timeline.end is None


def test_times_must_increase():
    timeline = Timeline(rate=2)
    timeline.push(Fraction(1))
    with pytest.raises(ValueError, match="increase"):
        timeline.push(Fraction(1))


@pytest.mark.parametrize("plan", [{}, {"rate": 2, "fps": Fraction(60)}, {"rate": 0}, {"fps": Fraction(0)}])
def test_exactly_one_sensible_plan(plan):
    with pytest.raises(ValueError, match="rate"):
        Timeline(**plan)
