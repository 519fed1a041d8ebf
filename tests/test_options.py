"""Settings and their rules, and how options are read from text."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest

from safa.errors import SafaError
from safa.options import (
    ComputeOptions,
    ReadOptions,
    UpscaleSettings,
    WeightsSpec,
    parse_factor,
    parse_fps,
    parse_memory,
    parse_rate,
    parse_time,
)
from safa.video.codecs import USUAL_PRESET, check_quality
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


def test_frame_rate_of_the_result() -> None:
    source = Fraction(24)
    assert UpscaleSettings(rate=3, slow=Fraction(2)).output_rate(source) == 36
    assert UpscaleSettings(fps=Fraction(60), slow=Fraction(2)).output_rate(source) == 60


@pytest.mark.parametrize("smoothness", SMOOTHNESS)
def test_the_choices_of_the_web_page_are_possible(smoothness: str) -> None:
    made = Options("fast", smoothness=smoothness).upscale_settings()
    assert (made.rate is None) == (made.fps is not None) == smoothness.endswith("fps")


def test_numbers_are_accepted_in_any_form() -> None:
    settings = UpscaleSettings(fps=29.97, slow=1.5, reading=ReadOptions(start=0.2, end="3/2"))  # type: ignore[arg-type]
    assert settings == UpscaleSettings(
        fps=Fraction(2997, 100), slow=Fraction(3, 2), reading=ReadOptions(start=Fraction(1, 5), end=Fraction(3, 2))
    )
    assert UpscaleSettings(fps=20).fps == Fraction(20)  # type: ignore[arg-type]
    for name in ("fps", "slow", "source_fps"):
        for value in (0, -1, "x", float("nan")):
            with pytest.raises(SafaError, match=name):
                UpscaleSettings().changed(**{name: value})


def test_changes_replace_what_they_exclude_and_reach_nested_options() -> None:
    settings = UpscaleSettings(fps=Fraction(60), size="4k")
    changed = settings.changed(rate=3, scale=2, start=1, weights="best", device="cpu", memory=1 << 30)
    assert (changed.rate, changed.fps, changed.scale, changed.size) == (3, None, 2, None)
    assert changed.reading == ReadOptions(start=Fraction(1))
    assert changed.weights == WeightsSpec("best")
    assert changed.compute == ComputeOptions("cpu", memory=1 << 30)
    assert settings.changed() == settings
    assert settings.changed(detail=0.5).weights == WeightsSpec("auto", 0.5)
    with pytest.raises(SafaError, match="cannot be given more detail"):
        settings.changed(weights="best", detail=0.5)


@pytest.mark.parametrize(
    ("settings", "frames", "duration", "expected"),
    [
        (UpscaleSettings(rate=3), 8, Fraction(1), 22),
        (UpscaleSettings(rate=3), None, Fraction(1), None),
        (UpscaleSettings(fps=Fraction(60), slow=Fraction(2)), 8, Fraction(1), 120),
        (UpscaleSettings(fps=Fraction(60)), 8, None, None),
    ],
)
def test_output_frames_follow_from_rate_or_duration(
    settings: UpscaleSettings, frames: int | None, duration: Fraction | None, expected: int | None
) -> None:
    assert settings.output_frames(frames, duration) == expected


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
def test_fps(text: str, value: Fraction) -> None:
    assert parse_fps(text) == value


@pytest.mark.parametrize("text", ["", "fast", "0", "-5", "1/0", "60/", "1e3", "nan", "1001", "6 0"])
def test_fps_refuses(text: str) -> None:
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
def test_time(text: str, value: Fraction) -> None:
    assert parse_time(text) == value


@pytest.mark.parametrize("text", ["", "-1", "1:60", "1:61:00", "1:2:3:4", "later", "1:", ":1"])
def test_time_refuses(text: str) -> None:
    with pytest.raises(SafaError, match="time must look like"):
        parse_time(text)


def test_rate_is_a_whole_number() -> None:
    assert parse_rate("8") == 8
    for text in ("0", "1.5", "-2", "two", "65", ""):
        with pytest.raises(SafaError, match="whole number"):
            parse_rate(text)


def test_factor() -> None:
    assert parse_factor("5/2") == parse_factor("2.5") == Fraction(5, 2)
    for text in ("0", "x", "1000"):
        with pytest.raises(SafaError, match="slow-motion"):
            parse_factor(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2G", 2**31), ("0.5g", 2**29), ("1 GiB", 2**30), ("800MB", 800 * 2**20), ("5000000", 5 * 10**6)],
)
def test_memory(text: str, value: Fraction) -> None:
    assert parse_memory(text) == value


@pytest.mark.parametrize("text", ["", "2X", "-1G", "G", "1000", "2G2", "much"])
def test_memory_refuses(text: str) -> None:
    with pytest.raises(SafaError, match="memory must be an amount"):
        parse_memory(text)
