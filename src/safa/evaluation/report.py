"""Results as tables for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from safa.engine.memory import MIB
from safa.evaluation.protocols import PARTS, FrameGroup, published_rows
from safa.evaluation.run import Results

Cells = tuple[list[str], list[list[str]]]
"""The header of a table and its rows."""

# Of metrics in a table; others go by their own names.
TITLES = {
    "psnr_y": "PSNR-Y",
    "ssim_y": "SSIM-Y",
    "psnr_rgb": "PSNR-RGB",
    "ssim_rgb": "SSIM-RGB",
    "tof": "tOF",
    "detail": "detail",
    "false_detail": "false detail %",
    "stlpips": "ST-LPIPS",
    "vmaf": "VMAF",
    "jod": "JOD",
    "lpips": "LPIPS",
    "dists": "DISTS",
}
DECIMALS = {"psnr_y": 2, "psnr_rgb": 2, "tof": 3, "detail": 2, "false_detail": 2, "stlpips": 3, "vmaf": 1, "jod": 2}
"""Decimals of a metric in a table; 4 for all others."""


def terminal_tables(results: Results) -> Group:
    """Return all tables, to be printed by rich."""
    failures = (Text(sentence) for sentence in results.failures.values())
    return Group(*(_terminal_table(cells, title) for title, cells in tables(results)), *failures)


def markdown(results: Results) -> str:
    """Return all tables as Markdown."""
    parts = [f"### {title}\n\n{_markdown_table(cells)}" for title, cells in tables(results)]
    return "\n\n".join([*parts, *results.failures.values()]) + "\n"


def tables(results: Results) -> list[tuple[str, Cells]]:
    """Title and cells of: quality, quality by sequence, costs, and what others have published if there is any."""
    found = [
        (heading(results), quality_cells(results)),
        ("PSNR-Y in dB by sequence, all counted frames", sequence_cells(results)),
        ("Cost", cost_cells(results)),
    ]
    published = published_cells(results)
    return [*found, ("Published by others, not measured here", published)] if published[1] else found


def as_json(results: Results) -> dict[str, Any]:
    """Plain values: the means, the costs and every frame's scores; an infinite PSNR is null."""
    return {
        "dataset": results.dataset,
        "time_factor": results.factor,
        "variant": results.variant,
        "windows": results.windows,
        "methods": [
            {
                "name": name,
                "parameters": cost.parameters,
                "operations_per_frame": cost.operations,
                "operations_size": list(cost.operations_size),
                "seconds_per_frame": cost.seconds_per_frame,
                "processor_seconds_per_frame": cost.processor_seconds_per_frame,
                "peak_bytes": cost.peak_bytes,
                "licence": cost.licence,
                "mean": _means(results, name, None),
                "sequences": {sequence: _means(results, name, sequence) for sequence in results.windows},
            }
            for name, cost in results.costs.items()
        ],
        "failures": results.failures,
        "frames": [
            {
                "method": score.method,
                "sequence": score.sequence,
                "start": score.start,
                "index": score.index,
                **{metric: _finite(value) for metric, value in score.values.items()},
            }
            for score in results.scores
        ],
    }


def heading(results: Results) -> str:
    """Return what was measured, in one line."""
    count = sum(results.windows.values())
    return (
        f"{results.dataset}: space x4, time x{results.factor}, {count} windows of {len(results.windows)} sequences, "
        f"{results.variant} protocol"
    )


def shown_parts(results: Results) -> list[FrameGroup]:
    """The parts that tell something new: at a time factor of 2 the only frame between is the centre."""
    hidden: set[FrameGroup] = {"between"} if results.factor == 2 else {"centre"} if results.factor % 2 else set()
    return [part for part in PARTS if part not in hidden]


def quality_cells(results: Results) -> Cells:
    """Return one row for each part and method, with one column for each metric."""
    metrics = results.metrics()
    rows = [
        [part, name, *(format_value(results.mean(name, metric, part), metric) for metric in metrics)]
        for part in shown_parts(results)
        for name in results.costs
    ]
    return ["frames", "method", *(TITLES.get(metric, metric) for metric in metrics)], rows


def sequence_cells(results: Results, metric: str = "psnr_y", part: FrameGroup = "average") -> Cells:
    """Return one row for each method, with one column for each sequence."""
    rows = [
        [name, *(format_value(results.mean(name, metric, part, sequence), metric) for sequence in results.windows)]
        for name in results.costs
    ]
    return ["method", *results.windows], rows


def cost_cells(results: Results) -> Cells:
    """Parameters, operations, time, memory and licence of each method."""
    width, height = next(iter(results.costs.values())).operations_size
    rows = []
    for name, cost in results.costs.items():
        parameters = "?" if cost.parameters is None else f"{cost.parameters / 1e6:.2f}M" if cost.parameters else "-"
        operations = "?" if cost.operations is None else f"{cost.operations / 1e9:.1f}" if cost.operations else "-"
        peak = "?" if cost.peak_bytes is None else f"{cost.peak_bytes / MIB:.0f}"
        taken = cost.seconds_per_frame, cost.processor_seconds_per_frame
        times = ("?" if seconds is None else f"{seconds:.3f}" for seconds in taken)
        rows.append([name, parameters, operations, *times, peak, cost.licence or "-"])
    size = f"{width}x{height}"
    header = ["method", "parameters", f"GFLOP per {size} frame", "seconds per frame", "CPU seconds per frame"]
    return [*header, f"peak MiB, {size}", "licence"], rows


def published_cells(results: Results) -> Cells:
    """Return figures that others report for this data set and time factor, with protocol variant and source."""
    rows = [
        [
            row.part,
            row.method,
            format_value(row.psnr_y, "psnr_y"),
            format_value(row.ssim_y, "ssim_y"),
            f"{row.parameters / 1e6:.2f}M",
            row.variant,
            f"{row.source}; {row.remark}" if row.remark else row.source,
        ]
        for row in published_rows(results.dataset, results.factor)
    ]
    return ["frames", "method", TITLES["psnr_y"], TITLES["ssim_y"], "parameters", "variant", "source"], rows


def format_value(value: float | None, metric: str) -> str:
    """Return the text of a table's cell."""
    return "-" if value is None else f"{value:.{DECIMALS.get(metric, 4)}f}"


def is_numeric(cells: Cells, column: int) -> bool:
    """Return whether a column is to be aligned at the right."""
    return all(row[column][:1] in "-0123456789?" for row in cells[1])


def _means(results: Results, method: str, sequence: str | None) -> dict[str, dict[str, float | None]]:
    return {
        part: {metric: _finite(results.mean(method, metric, part, sequence)) for metric in results.metrics()}
        for part in PARTS
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _terminal_table(cells: Cells, title: str) -> Table:
    header, rows = cells
    table = Table(title=title)
    for index, name in enumerate(header):
        table.add_column(name, justify="right" if is_numeric(cells, index) else "left")
    for row, following in pairwise([*rows, rows[-1]]):
        table.add_row(*row, end_section=header[0] == "frames" and row[0] != following[0])
    return table


def _markdown_table(cells: Cells) -> str:
    header, rows = cells
    rule = ["---:" if is_numeric(cells, index) else "---" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))
