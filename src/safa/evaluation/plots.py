"""Small plots as SVG text, for reports that must not need anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000", "#999933")
"""Okabe and Ito's palette, which the colour-blind can tell apart."""
WIDTH, HEIGHT = 640, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 40


def line_plot(series: Mapping[str, Points], x_title: str, y_title: str, x_ticks: Sequence[float] | None = None) -> str:
    """Lines through points, with a legend below.

    Args:
        series: points by the name of their line; points that are not finite are left out.
        x_ticks: where to label the x axis, evenly spaced whatever their values; round numbers by default.
    """
    finite = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)] for name, points in series.items()
    }
    everything = [point for points in finite.values() for point in points]
    if not everything:
        return '<p class="note">Nothing to plot.</p>'
    place_x = _Axis([x for x, _ in everything], LEFT, WIDTH - RIGHT, x_ticks)
    place_y = _Axis([y for _, y in everything], HEIGHT - BOTTOM, TOP)
    parts = [_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_title, "middle")]
    parts.append(_text(14, (TOP + HEIGHT - BOTTOM) / 2, y_title, "middle", turned=True))
    for tick in place_y.ticks:
        y = place_y(tick)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{tick:g}", "end"))
    parts += [_text(place_x(tick), HEIGHT - BOTTOM + 16, f"{tick:g}", "middle") for tick in place_x.ticks]
    for colour, points in zip(_colours(len(finite)), finite.values(), strict=True):
        places = [(place_x(x), place_y(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{colour}"/>' for x, y in places]
    return _svg(parts, HEIGHT) + _legend(list(finite))


def share_bars(rows: Mapping[str, Sequence[float]], names: Sequence[str], colours: Sequence[str]) -> str:
    """A bar for each row, split into shares that add up to 1, with a legend below."""
    step, left, width = 26, 150, WIDTH - 150 - RIGHT
    parts = []
    for index, (label, shares) in enumerate(rows.items()):
        y, x = index * step + 4, float(left)
        parts.append(_text(left - 8, y + 14, label, "end"))
        for share, colour in zip(shares, colours, strict=False):
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{share * width:.1f}" height="20" fill="{colour}"/>')
            if share > 0.08:
                parts.append(_text(x + share * width / 2, y + 14, f"{share:.0%}", "middle", on_colour=True))
            x += share * width
    return _svg(parts, step * len(rows) + 4) + _legend(names, colours)


class _Axis:
    """Maps values to places between two ends of the plot."""

    def __init__(self, values: Sequence[float], begin: float, end: float, ticks: Sequence[float] | None = None) -> None:
        self.begin, self.end = begin, end
        self.even = list(ticks) if ticks is not None else None
        if self.even is not None:
            self.ticks = self.even
            return
        low, high = min(values), max(values)
        step = _round_step((high - low) / 5 or 1)
        self.low, self.high = math.floor(low / step) * step, math.ceil(high / step) * step
        if self.low == self.high:
            self.high += step
        count = round((self.high - self.low) / step)
        self.ticks = [round(self.low + index * step, 10) for index in range(count + 1)]

    def __call__(self, value: float) -> float:
        if self.even is not None:
            share = (self.even.index(value) + 0.5) / len(self.even)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * (self.end - self.begin)


def _round_step(step: float) -> float:
    power: float = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def _text(x: float, y: float, text: str, anchor: str, turned: bool = False, on_colour: bool = False) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    kind = ' class="on-colour"' if on_colour else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}{kind}>{escape(text)}</text>'


def _svg(parts: Sequence[str], height: int) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">{"".join(parts)}</svg>'


def _legend(names: Sequence[str], colours: Sequence[str] | None = None) -> str:
    items = [
        f'<span><i style="background:{colour}"></i>{escape(name)}</span>'
        for name, colour in zip(names, colours or _colours(len(names)), strict=False)
    ]
    return f'<p class="legend">{"".join(items)}</p>'


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]
