"""One HTML file that holds a whole evaluation: tables, plots and pictures, without anything to load from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from safa.data.scene import Image
from safa.evaluation.analysis import FactorCost, ScaleCounts
from safa.evaluation.baselines import Method
from safa.evaluation.datasets import Dataset
from safa.evaluation.gallery import Comparison, before_after, decision_sheets, worst
from safa.evaluation.pictures import SCALE_COLOURS, data_uri, error_picture, scale_name, wheel_picture
from safa.evaluation.plots import line_plot, share_bars
from safa.evaluation.report import Cells, format_value, is_numeric, tables
from safa.evaluation.run import Results
from safa.network.safa import Safa

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
"""What moving a slider does; the style sheet shows the picture on top up to the cut."""


def html_report(
    results: Sequence[Results],
    dataset: Dataset,
    subject: Method,
    other: Method,
    network: Safa | None = None,
    scale_counts: Sequence[ScaleCounts] = (),
    costs: Sequence[FactorCost] = (),
) -> str:
    """The report as the text of an HTML file.

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
