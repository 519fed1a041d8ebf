"""What can be asked for, and what is refused before any work."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest

from safa.errors import SafaError
from safa.jobs.settings import UpscaleSettings
from safa.video.write.codecs import USUAL_PRESET, check_quality
from safa.web.options import SMOOTHNESS, Options


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
    made = Options("fast", smoothness=smoothness).upscale_settings()
    assert (made.rate is None) == (made.fps is not None) == smoothness.endswith("fps")


def test_numbers_of_any_kind_mean_the_same() -> None:
    settings = UpscaleSettings(fps=29.97, slow=1.5, start=0.2, end="3/2")  # type: ignore[arg-type]
    assert settings == UpscaleSettings(
        fps=Fraction(2997, 100), slow=Fraction(3, 2), start=Fraction(1, 5), end=Fraction(3, 2)
    )
    assert UpscaleSettings(fps=20).fps == Fraction(20)  # type: ignore[arg-type]
    for name in ("fps", "slow", "source_fps"):
        for value in (0, -1, "x", float("nan")):
            with pytest.raises(SafaError, match=name):
                UpscaleSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "crf", "message"),
    [
        ("h264", -1, "from 0"),
        ("h264", 100, "to 51"),
        ("vp9", 64, "to 63"),
        ("prores", 3, "leave out"),
        ("rgb", 3, "leave"),
    ],
)
def test_a_quality_that_a_codec_does_not_know_is_refused(name: str, crf: float, message: str) -> None:
    check_quality(name, None, USUAL_PRESET)
    with pytest.raises(SafaError, match=message):
        check_quality(name, crf, USUAL_PRESET)


@pytest.mark.parametrize(
    ("name", "preset", "message"),
    [("h264", "swift", "no preset 'swift'"), ("prores", "slow", "prores has no presets"), ("rgb", "fast", "this out")],
)
def test_a_preset_that_a_codec_does_not_know_is_refused(name: str, preset: str, message: str) -> None:
    check_quality("h265", None, "slow")
    with pytest.raises(SafaError, match=message):
        check_quality(name, None, preset)
