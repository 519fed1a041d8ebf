"""Numbers as text for people."""

from __future__ import annotations

from fractions import Fraction

import pytest

from safa.formatting import format_bytes, format_clock, format_duration, format_fps, format_quantity


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (350_400, "350 kB"), (1_234_567, "1.2 MB"), (99_600_000, "100 MB")],
)
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text


def test_quantities_have_three_digits() -> None:
    assert format_quantity(8_237_000, "bit/s") == "8.24 Mbit/s"
    assert format_quantity(999_600, "B") == "1000 kB"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (119, "119 s"), (120, "2 min"), (5000, "83 min"), (7300, "2 h"), (500_000, "139 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_clocks_and_rates() -> None:
    assert format_clock(Fraction(62)) == "1:02"
    assert format_clock(Fraction(245_007, 2), 2) == "34:01:43.50"
    assert format_clock(59.999) == "0:59"
    assert format_fps(Fraction(60000, 1001)) == "59.94 fps"
