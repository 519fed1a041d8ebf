from fractions import Fraction

import pytest

from safa.errors import SafaError
from safa.video.parse import parse_factor, parse_fps, parse_memory, parse_rate, parse_time


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("60", Fraction(60)),
        ("60000/1001", Fraction(60000, 1001)),
        ("12.5", Fraction(25, 2)),
        ("23.976", Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        ("23.97", Fraction(24000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        ("59.94", Fraction(60000, 1001)),
        ("119.88", Fraction(120000, 1001)),
        ("24.00", Fraction(24)),
        ("14.5", Fraction(29, 2)),
        ("0.5", Fraction(1, 2)),
    ],
)
def test_fps(text, value):
    assert parse_fps(text) == value


@pytest.mark.parametrize("text", ["", "fast", "0", "-5", "1/0", "60/", "1e3", "nan", "1001", "6 0"])
def test_fps_refuses(text):
    with pytest.raises(SafaError, match="frames per second"):
        parse_fps(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("62.5", Fraction(125, 2)),
        ("1:02.5", Fraction(125, 2)),
        ("1:00:00", Fraction(3600)),
        (".5", Fraction(1, 2)),
    ],
)
def test_time(text, value):
    assert parse_time(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1:60", "1:61:00", "1:2:3:4", "later", "1:", ":1"])
def test_time_refuses(text):
    with pytest.raises(SafaError, match="time must look like"):
        parse_time(text)


def test_rate_is_a_whole_number():
    assert parse_rate("8") == 8
    for text in ("0", "1.5", "-2", "two", "65", ""):
        with pytest.raises(SafaError, match="whole number"):
            parse_rate(text)


def test_factor():
    assert parse_factor("5/2") == parse_factor("2.5") == Fraction(5, 2)
    for text in ("0", "x", "1000"):
        with pytest.raises(SafaError, match="slow-motion"):
            parse_factor(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2G", 2**31), ("0.5g", 2**29), ("1 GiB", 2**30), ("800MB", 800 * 2**20), ("5000000", 5 * 10**6)],
)
def test_memory(text, value):
    assert parse_memory(text) == value


@pytest.mark.parametrize("text", ["", "2X", "-1G", "G", "1000", "2G2", "much"])
def test_memory_refuses(text):
    with pytest.raises(SafaError, match="memory must be an amount"):
        parse_memory(text)
