"""What can be asked for, and what is refused before any work."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest

from safa.errors import SafaError
from safa.jobs.settings import UpscaleSettings
from safa.web.choices import DEFAULTS, SMOOTHNESS, upscale_settings


def test_a_rate_and_fps_exclude_each_other() -> None:
    with pytest.raises(SafaError, match=r"Both a rate \(8\) and fps \(60\) are given; choose one of them\."):
        UpscaleSettings(rate=8, fps=Fraction(60))
    assert UpscaleSettings() == UpscaleSettings(rate=2)
    at_60 = UpscaleSettings(fps=Fraction(60))
    assert dataclasses.replace(at_60, scale=2).fps == 60
    assert (at_60.timeline().rate, at_60.timeline().fps) == (None, 60)


@pytest.mark.parametrize(
    "given", [{"fps": Fraction(0)}, {"fps": Fraction(-5)}, {"slow": Fraction(0)}, {"rate": 0}, {"rate": 1.5}]
)
def test_impossible_rates_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SafaError, match=r"must be (above 0|a whole number)"):
        UpscaleSettings(**given)


def test_frames_a_second_of_the_result() -> None:
    source = Fraction(24)
    assert UpscaleSettings(rate=3, slow=Fraction(2)).output_rate(source) == 36
    assert UpscaleSettings(fps=Fraction(60), slow=Fraction(2)).output_rate(source) == 60


@pytest.mark.parametrize("smoothness", SMOOTHNESS)
def test_the_page_s_choices_are_possible(smoothness: str) -> None:
    made = upscale_settings({**DEFAULTS, "smoothness": smoothness})
    assert (made.rate is None) == (made.fps is not None) == smoothness.endswith("fps")
