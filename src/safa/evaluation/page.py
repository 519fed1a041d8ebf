"""Small plots as SVG text, for reports that must not need anything else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from safa.data.scene import Image
from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.inspect import FactorCost, ScaleCounts, decide, overview
from safa.evaluation.methods import Method
from safa.evaluation.pictures import SCALE_COLOURS, data_uri, error_picture, image_of, scale_name, wheel_picture
from safa.evaluation.protocols import EvaluationWindow, windows
from safa.evaluation.report import Cells, format_value, is_numeric, tables
from safa.evaluation.run import FrameScore, Results, worst_frames
from safa.network.safa import Safa

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
    """Return a bar for each row, split into shares that add up to 1, with a legend below."""
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


# The pictures of a report: before and after, the worst frames, and what the network decided.


@dataclass(frozen=True)
class Comparison:
    """One frame by two methods and its truth, ``H,W,3`` each."""

    score: FrameScore
    """Score of the subject."""
    truth: Image
    subject: Image
    other: Image


def before_after(results: Results, dataset: Dataset, subject: Method, other: Method) -> list[Comparison]:
    """Return the frame in the middle of each sequence's measured windows, half way between the inputs."""
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
    """Return the frames with the lowest PSNR-Y of ``subject``."""
    return [_compare(score, dataset, subject, other) for score in worst_frames(results, subject.name, count)]


def decision_sheets(
    results: Results, dataset: Dataset, network: Safa, times: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)
) -> dict[str, Image]:
    """Draw for each measured sequence the network's decisions on its first measured window: see
    ``decisions.overview``.
    """
    sheets = {}
    for sequence in results.windows:
        start = next(score.start for score in results.scores if score.sequence == sequence)
        window = find_window(dataset, sequence, start)
        low0, low1 = map(image_of, window.inputs())
        sheets[sequence] = overview(network, decide(network, low0, low1, times))
    return sheets


def find_window(dataset: Dataset, sequence: str, start: int) -> EvaluationWindow:
    """Return the window of ``sequence`` that begins at ``start``.

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


# One HTML file that holds a whole evaluation: tables, plots and pictures, without anything to load from elsewhere.

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1200px; margin: 2em auto; padding: 0 1em; }
h2 { border-bottom: 1px solid #ccc; margin-top: 2em; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .25em .8em; border-bottom: 1px solid #ddd; text-align: left; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1em 0; }
figure img { max-width: 100%; }
figcaption, .note { color: #555; }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: 8px; }
.slider { position: relative; max-width: 100%; --cut: 50%; }
.slider img { position: absolute; inset: 0; width: 100%; height: 100%; max-width: none; }
.slider .top { clip-path: inset(0 calc(100% - var(--cut)) 0 0); }
.slider::after { content: ""; position: absolute; top: 0; bottom: 0; left: var(--cut); border-left: 2px solid #fff;
  pointer-events: none; mix-blend-mode: difference; }
.slider input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
svg { max-width: 100%; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: #333; }
svg .grid { stroke: #e4e4e4; }
svg .on-colour { paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.legend span { margin-right: 1.2em; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
"""

SLIDE = "this.parentNode.style.setProperty('--cut', this.value + '%')"
"""Script of a slider; the style sheet shows the picture on top up to the cut."""


def html_report(
    results: Sequence[Results],
    dataset: Dataset,
    subject: Method,
    other: Method,
    network: Safa | None = None,
    scale_counts: Sequence[ScaleCounts] = (),
    costs: Sequence[FactorCost] = (),
) -> str:
    """Return the report as the text of an HTML file.

    Args:
        results: one or more evaluations of the same methods, one for each time factor; the first is shown in full.
        dataset: what the first of ``results`` was measured on; its frames are read again for the pictures.
        subject: the method that the report is about.
        other: the method that its pictures are compared with.
        network: shows flow, masks and scales, if ``subject`` is a network.
        scale_counts: from ``analysis.scales_by_height``.
        costs: from ``analysis.cost_by_factor``, of ``subject``.
    """
    first = results[0]
    sections = [_section(title, _table(cells)) for title, cells in tables(first)]
    if first.failures:
        sentences = (f"<p>{escape(sentence)}</p>\n" for sentence in first.failures.values())
        sections.append(_section("Not measured", *sentences))
    sections.append(_section("PSNR-Y of every frame", *(_frame_plot(first, name) for name in first.windows)))
    if len(results) > 1:
        sections.append(_section("Time factors", _factor_plot(results), _factor_table(results)))
    if costs:
        sections.append(_section(f"Cost of {subject.name} against time factor", _cost_table(costs), _cost_plot(costs)))
    pairs = before_after(first, dataset, subject, other)
    sections.append(
        _section(f"{other.name} (left) and {subject.name} (right)", *(_slider(pair, subject, other) for pair in pairs))
    )
    lowest = worst(first, dataset, subject, other)
    sections.append(_section(f"Worst frames of {subject.name}", *(_worst_row(pair, subject) for pair in lowest)))
    if network is not None:
        sheets = decision_sheets(first, dataset, network)
        legend = _figure(wheel_picture(), "Flow: the colour at a place is the motion from the middle to it.")
        figures = [_figure(sheet, name) for name, sheet in sheets.items()]
        sections.append(_section("Flow, mask and scales over time", legend, *figures))
    if scale_counts:
        sections.append(_section("Scales chosen by the selector, by height of the output", _scale_bars(scale_counts)))
    return _page(f"{subject.name} on {first.dataset}", sections)


def _page(title: str, sections: Sequence[str]) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>\n{''.join(sections)}</body></html>\n"
    )


def _section(title: str, *content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{''.join(content)}</section>\n"


def _table(cells: Cells) -> str:
    header, rows = cells
    kinds = [' class="number"' if is_numeric(cells, column) else "" for column in range(len(header))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, header, strict=True))
    body = [
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in rows
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>\n"


def _frame_plot(results: Results, sequence: str) -> str:
    series = {
        method: [
            (score.start + score.index, score.values["psnr_y"])
            for score in results.scores
            if (score.method, score.sequence) == (method, sequence)
        ]
        for method in results.costs
    }
    return f"<h3>{escape(sequence)}</h3>{line_plot(series, 'frame', 'PSNR-Y in dB')}\n"


def _factor_plot(results: Sequence[Results]) -> str:
    series = {
        method: [(one.factor, value) for one in results if (value := one.mean(method, "psnr_y", "between")) is not None]
        for method in results[0].costs
    }
    factors = [one.factor for one in results]
    return line_plot(series, "time factor", "PSNR-Y of interpolated frames in dB", factors)


def _factor_table(results: Sequence[Results]) -> str:
    rows = [
        [method, *(format_value(one.mean(method, "psnr_y", "between"), "psnr_y") for one in results)]
        for method in results[0].costs
    ]
    return _table((["method", *(f"x{one.factor}" for one in results)], rows))


def _cost_table(costs: Sequence[FactorCost]) -> str:
    rows = [
        [
            f"x{cost.factor}",
            f"{cost.operations / 1e9:.1f}",
            f"{cost.operations / cost.factor / 1e9:.1f}",
            f"{cost.seconds:.2f}",
            f"{cost.seconds / cost.factor:.3f}",
        ]
        for cost in costs
    ]
    return _table((["time factor", "GFLOP", "GFLOP per frame", "seconds", "seconds per frame"], rows))


def _cost_plot(costs: Sequence[FactorCost]) -> str:
    per_frame = costs[0].operations / costs[0].factor
    series = {
        "measured": [(cost.factor, cost.operations / 1e9) for cost in costs],
        "in proportion to the frames": [(cost.factor, per_frame * cost.factor / 1e9) for cost in costs],
    }
    return line_plot(series, "time factor", "GFLOP of a pair", [cost.factor for cost in costs])


def _slider(pair: Comparison, subject: Method, other: Method) -> str:
    height, width = pair.subject.shape[:2]
    value = format_value(pair.score.values["psnr_y"], "psnr_y")
    caption = f"{pair.score.sequence}, frame {pair.score.start + pair.score.index}: {subject.name} {value} dB"
    return (
        f'<figure><div class="slider" style="width:{width}px;aspect-ratio:{width}/{height}">'
        f'<img src="{data_uri(pair.subject, lossless=False)}" alt="{escape(subject.name)}">'
        f'<img class="top" src="{data_uri(pair.other, lossless=False)}" alt="{escape(other.name)}">'
        f'<input type="range" min="0" max="100" value="50" oninput="{SLIDE}" aria-label="cut"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _worst_row(pair: Comparison, subject: Method) -> str:
    title = (
        f"{pair.score.sequence}, frame {pair.score.start + pair.score.index}: "
        f"{format_value(pair.score.values['psnr_y'], 'psnr_y')} dB"
    )
    figures = [
        _figure(pair.truth, "truth", lossless=False),
        _figure(pair.subject, subject.name, lossless=False),
        _figure(error_picture(pair.subject, pair.truth), "error, four times as strong", lossless=False),
    ]
    return f'<h3>{escape(title)}</h3><div class="row">{"".join(figures)}</div>\n'


def _figure(picture: Image, caption: str, lossless: bool = True) -> str:
    return (
        f'<figure><img src="{data_uri(picture, lossless)}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>\n"
    )


def _scale_bars(counts: Sequence[ScaleCounts]) -> str:
    names = [scale_name(scale) for scale in counts[0].scales]
    colours = [f"rgb{colour}" for colour in SCALE_COLOURS]
    parts = []
    for one in counts:
        if not one.clips:
            parts.append(f'<h3>{one.height} lines</h3><p class="note">No clip is large enough.</p>')
            continue
        rows = {"all blocks": one.shares()}
        rows |= {f"block {block + 1}": one.shares(block) for block in range(len(one.counts))}
        parts.append(f"<h3>{one.height} lines, {len(one.clips)} clips</h3>{share_bars(rows, names, colours)}")
    return "\n".join(parts)
