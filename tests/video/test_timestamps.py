from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from safa.video.timestamps import LOOKAHEAD, plausible_times, repair_times

STEP = Fraction(1, 10)


def repaired(times: list[int | None], problems: list[str] | None = None, tick: Fraction = STEP / 16) -> list[Fraction]:
    items = [(None if time is None else Fraction(time), STEP, number) for number, time in enumerate(times)]
    out = list(repair_times(items, tick, [] if problems is None else problems))
    assert [number for _, number in out] == list(range(len(times)))  # none dropped, none moved
    return [time for time, _ in out]


@given(st.lists(st.one_of(st.none(), st.integers(-5, 60)), max_size=60))
def test_always_strictly_increasing(times):
    out = repaired(times)
    assert all(a < b for a, b in pairwise(out))


@given(st.lists(st.one_of(st.none(), st.integers(-5, 60)), max_size=60))
def test_times_are_whole_ticks(times):
    out = repaired(times, tick=Fraction(1))
    assert all(a < b for a, b in pairwise(out))
    assert all(time.denominator == 1 for time in out)


@given(st.sets(st.integers(-100, 100)))
def test_good_times_are_left_alone(times):
    problems: list[str] = []
    assert repaired(sorted(times), problems) == sorted(times)
    assert problems == []


def test_bad_ones_go_between_their_neighbours():
    problems: list[str] = []
    assert repaired([0, 1, None, 1, 4], problems) == [0, 1, 2, 3, 4]
    assert "2 frames" in problems[0]


def test_missing_at_the_ends_follow_the_nominal_rate():
    assert repaired([None, None, 1, None]) == [1 - 2 * STEP, 1 - STEP, 1, 1 + STEP]


def test_without_any_timestamp_the_nominal_rate_is_used():
    count = 3 * LOOKAHEAD + 1
    assert repaired([None] * count) == [STEP * number for number in range(count)]


def believed(times: list[int | None], latest: int | None) -> list[int | None]:
    items = [(None if time is None else Fraction(time), STEP, None) for time in times]
    limit = None if latest is None else Fraction(latest)
    return [time for time, _, _ in plausible_times(items, limit)]


def test_a_time_is_distrusted_only_if_its_neighbours_disagree():
    assert believed([0, 1, 2, 3, 4], latest=1) == [0, 1, 2, 3, 4]
    assert believed([0, 1, 999, 2, 3], latest=10) == [0, 1, None, 2, 3]
    assert believed([0, 1, 2, 999], latest=10) == [0, 1, 2, None]
    assert believed([0, 1, 100, 101, 102], latest=10) == [0, 1, 100, 101, 102]  # a pause
    assert believed([0, 4, 8, 12, 16], latest=10) == [0, 4, 8, 12, 16]
    assert believed([0, 1, 999, None, 3], latest=10) == [0, 1, None, None, 3]
    assert believed([0, 1, 999, 2], latest=None) == [0, 1, 999, 2]
