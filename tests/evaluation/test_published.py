"""The data file of published results."""

from __future__ import annotations

import tomllib
from typing import get_args

import pytest

from safa.evaluation.datasets import LAYOUTS
from safa.evaluation.protocols import FILE, PARTS, Variant, published_rows


def test_every_entry_can_be_shown_somewhere() -> None:
    results = [result for method in tomllib.loads(FILE.read_text())["method"] for result in method["result"]]
    shown = sum(len(published_rows(name, published)) for name, (_, published) in LAYOUTS.items())
    assert shown == sum(len(result["parts"]) for result in results)
    assert all(result["variant"] in get_args(Variant) and set(result["parts"]) <= set(PARTS) for result in results)


def test_rows_are_of_the_data_set_and_factor_asked_for() -> None:
    rows = published_rows("gopro", 8)
    assert [(row.method, row.part) for row in rows[:2]] == [("VideoINR", "centre"), ("MoTIF", "centre")]
    assert (rows[0].psnr_y, rows[0].ssim_y) == pytest.approx((30.26, 0.8792))
    assert next(row for row in rows if row.method == "V3").ssim_y is None
    assert published_rows("gopro", 4) == published_rows("my clip", 8) == []
