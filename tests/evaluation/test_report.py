"""Results as tables and JSON."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from safa.evaluation.report import as_json, markdown, quality_cells, terminal_tables
from safa.evaluation.run import Cost, FrameScore, Results


def results(factor: int = 2, psnr: float = 31.416) -> Results:
    """One frame of one sequence, by one method."""
    score = FrameScore("m", "city", 0, 0, {"psnr_y": psnr, "ssim_y": 0.98765})
    cost = Cost(4_941_442, 82.2e9, (640, 384), seconds=3, frames=2)
    return Results("made up", factor, "public", {"city": 1}, {"m": cost}, [score])


def test_json_holds_the_means_and_every_frame() -> None:
    data = json.loads(json.dumps(as_json(results())))
    (method,) = data["methods"]
    assert method["mean"]["inputs"] == method["sequences"]["city"]["average"] == {"psnr_y": 31.416, "ssim_y": 0.98765}
    assert method["mean"]["centre"] == {"psnr_y": None, "ssim_y": None}
    assert (method["parameters"], method["seconds_per_frame"]) == (4_941_442, 1.5)
    assert data["frames"] == [
        {"method": "m", "sequence": "city", "start": 0, "index": 0, "psnr_y": 31.416, "ssim_y": 0.98765}
    ]


def test_an_infinite_value_leaves_the_json_valid() -> None:
    assert '"psnr_y": null' in json.dumps(as_json(results(psnr=math.inf)), allow_nan=False)


@pytest.mark.parametrize(
    ("factor", "parts"),
    [
        (2, ["inputs", "centre", "average"]),
        (3, ["inputs", "between", "average"]),
        (8, ["inputs", "between", "centre", "average"]),
    ],
)
def test_only_parts_that_differ_are_shown(factor: int, parts: list[str]) -> None:
    assert [row[0] for row in quality_cells(results(factor))[1]] == parts


def test_markdown_and_terminal_show_the_same_cells() -> None:
    output = io.StringIO()
    Console(file=output, width=120).print(terminal_tables(results()))
    for cell in ("31.42", "0.9877", "4.94M", "82.2", "1.500", "public protocol", "640x384"):
        assert cell in output.getvalue()
        assert cell in markdown(results())


def test_published_results_are_shown_apart_with_their_source() -> None:
    named = replace(results(), dataset="vid4")
    assert "not measured here" not in markdown(results())
    (line,) = [line for line in markdown(named).splitlines() if "VideoINR" in line]
    assert line == "| average | VideoINR | 25.61 | 0.7709 | 11.31M | public | Chen et al., VideoINR, CVPR 2022 |"
