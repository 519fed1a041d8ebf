"""SVG plots."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from safa.evaluation.page import HEIGHT, WIDTH, line_plot, share_bars


def places(plot: str) -> list[list[tuple[float, float]]]:
    """The points of each line, in the plot's own units."""
    lines = re.findall(r'polyline points="([^"]*)"', plot)
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in line.split())] for line in lines]


def test_points_are_placed_to_scale() -> None:
    plot = line_plot({"a": [(0, 20), (5, 30), (10, 40)], "b": [(0, 25)]}, "frame", "dB")
    (low, middle, high), (other,) = places(plot)
    assert middle == pytest.approx(((low[0] + high[0]) / 2, (low[1] + high[1]) / 2), abs=0.1)
    assert low[0] < high[0]
    assert low[1] > high[1]  # larger values are higher up
    assert other == pytest.approx((low[0], (3 * low[1] + high[1]) / 4), abs=0.1)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for line in places(plot) for x, y in line)


def test_ticks_are_round_and_enclose_the_values() -> None:
    plot = line_plot({"a": [(0, 23.4), (8, 27.1)]}, "frame", "dB")
    assert re.findall(r">([\d.]+)</text>", plot) == ["23", "24", "25", "26", "27", "28", "0", "2", "4", "6", "8"]


def test_given_ticks_are_evenly_spaced() -> None:
    (line,) = places(line_plot({"a": [(2, 0), (4, 0), (16, 1)]}, "factor", "y", x_ticks=[2, 4, 16]))
    assert line[1][0] - line[0][0] == pytest.approx(line[2][0] - line[1][0], abs=0.2)


def test_values_that_are_not_finite_are_left_out() -> None:
    (line,) = places(line_plot({"a": [(0, 1), (1, math.inf), (2, 3)]}, "x", "y"))
    assert len(line) == 2
    assert "Nothing to plot" in line_plot({"a": [(0, math.inf)]}, "x", "y")


def test_one_value_alone_is_inside_the_plot() -> None:
    (((x, y),),) = places(line_plot({"a": [(3, 30)]}, "x", "y"))
    assert 0 < x < WIDTH
    assert 0 < y < HEIGHT


def test_bars_add_up_to_their_width() -> None:
    bars = share_bars({"block <1>": [0.25, 0.75, 0], "none": [1, 0, 0]}, ["1", "1/2", "1/4"], ["red", "green", "blue"])
    svg = ET.fromstring(bars[: bars.index("</svg>") + 6])
    widths = [float(rectangle.attrib["width"]) for rectangle in svg.iter("rect")]
    assert widths[1] == pytest.approx(3 * widths[0], abs=0.2)
    assert sum(widths[:3]) == pytest.approx(sum(widths[3:]), abs=0.2)
    assert "25%" in bars
    assert "75%" in bars
