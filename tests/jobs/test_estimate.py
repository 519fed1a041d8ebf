"""Forecasts and estimates before a job, which change nothing of it."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa.checkpoint import Checkpoint
from safa.errors import SafaError
from safa.jobs import estimate as module
from safa.jobs.estimate import (
    EncodedSample,
    Estimate,
    Forecast,
    UnitCosts,
    encoded_frames,
    estimate_job,
    extrapolate_bytes,
    forecast,
)
from safa.jobs.pipeline import Progress
from safa.jobs.plan import prepare_job
from safa.jobs.upscale import upscale
from safa.options import RunOptions, UpscaleSettings
from safa.upscaler.upscaler import WINDOW, Upscaler
from safa.video import animation
from safa.video.animation import png_encoder
from safa.video.folder_source import open_reader
from safa.video.info import Frame, ReadOptions
from safa.video.schedule import Timeline, plan_windows
from tests.conftest import tiny_network
from tests.media import video_frames, write_clip


def made_upscaler(**layout: object) -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, **layout)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


@pytest.mark.parametrize("propagation", [0, 1])
def test_the_forecast_matches_the_result(tmp_path: Path, propagation: int) -> None:
    upscaler, forecasts = made_upscaler(propagation=propagation), list[Forecast]()
    source, settings = write_clip(tmp_path / "in.mp4", frames=8), UpscaleSettings(scale=2, rate=3)
    upscale(source, tmp_path / "plain.mp4", settings=settings, upscaler=upscaler)
    report = upscale(source, tmp_path / "out.mp4", settings=settings, upscaler=upscaler, on_forecast=forecasts.append)
    (result,) = forecasts
    assert (result.width, result.height, result.frames) == (report.width, report.height, report.frames) == (96, 64, 22)
    assert (result.codec, result.crf, result.weights, result.sound, result.rate) == (
        "h264",
        17,
        "tiny",
        "sound kept",
        30,
    )
    assert result.estimate is not None
    assert result.estimate.seconds > 0
    assert result.estimate.bytes
    plain, out = ([picture for _, picture in video_frames(tmp_path / f"{n}.mp4")] for n in ("plain", "out"))
    assert all(np.array_equal(a, b) for a, b in zip(plain, out, strict=True))
    again = forecast(source, tmp_path / "new.mp4", settings, upscaler)
    assert again.to_dict() | {"seconds": 0, "output": ""} == result.to_dict() | {"seconds": 0, "output": ""}
    assert not (tmp_path / "new.mp4").exists()
    json.dumps(result.to_dict())


def test_kept_work_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    source, output, upscaler = write_clip(tmp_path / "in.mp4", frames=4), tmp_path / "out.mp4", made_upscaler()
    assert forecast(source, output, UpscaleSettings(), upscaler).kept == 0
    with pytest.raises(KeyboardInterrupt):
        upscale(source, output, upscaler=upscaler, on_progress=stop)
    result = forecast(source, output, UpscaleSettings(), upscaler)
    assert result.kept == 4
    assert f"7 frames, {result.kept} of them already made" in result.lines()[0]
    assert result.to_dict()["kept"] == result.kept
    assert forecast(source, output, UpscaleSettings(), upscaler, RunOptions(restart=True)).kept == 0


def test_kept_frames_need_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_measure_network", lambda *_: ([], UnitCosts(0.0, 100.0, 100.0)))
    monkeypatch.setattr(module, "encode_sample", lambda *_: EncodedSample(10.0, 1000.0, []))
    upscaler, source = made_upscaler(), write_clip(tmp_path / "in.mp4", frames=8)
    with open_reader(source, ReadOptions()) as reader:
        job = prepare_job(reader, source, tmp_path / "out.mp4", UpscaleSettings())
    whole, rest = (estimate_job(job, upscaler, 32, 48, kept) for kept in (0, 10))
    assert whole is not None
    assert rest is not None
    assert whole.seconds - rest.seconds == pytest.approx(10 * 110, abs=10)  # reading is measured each time


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("propagation", [0, 1])
def test_forecast_of_very_short_videos(tmp_path: Path, propagation: int, frames: int) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=frames, sound=False)
    result = forecast(source, tmp_path / "out.gif", UpscaleSettings(), made_upscaler(propagation=propagation))
    assert (result.frames, result.sound, result.codec) == (2 * frames - 1, "no sound in the source", "gif")
    assert result.estimate is not None
    assert result.estimate.bytes is None


def test_no_estimate_for_pipes_and_tiles(tmp_path: Path) -> None:
    upscaler = made_upscaler()
    source = write_clip(tmp_path / "in.mp4", frames=2, size=(192, 64))
    assert forecast(source, Path("-"), UpscaleSettings(), upscaler).estimate is None
    upscaler.budget.shrink(2 * 64 * 144)
    result = forecast(source, tmp_path / "out.mp4", UpscaleSettings(), upscaler)
    assert result.estimate is None
    assert "cannot be estimated" in result.lines()[2]


def test_impossible_jobs_have_no_forecast(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=2)
    other = write_clip(tmp_path / "there.mp4", frames=1)
    with pytest.raises(SafaError, match="exists already"):
        forecast(source, other, UpscaleSettings(), made_upscaler())
    with pytest.raises(SafaError, match="more than 4 times"):
        forecast(source, tmp_path / "out.mp4", UpscaleSettings(size="4k"), made_upscaler())


def test_a_forecast_is_three_lines_of_text() -> None:
    result = Forecast(
        *(Path("a/in.mp4"), Path("b/out.mp4"), 640, 360, Fraction(25), 1280, 720, Fraction(60000, 1001), 1500),
        *("h264", 17, "fast", "native", "sound kept", ("one.", "two."), Estimate(5000, 123_400_000)),
    )
    assert result.lines() == [
        "in.mp4: 640x360 at 25 fps becomes 1280x720 at 59.94 fps, 1500 frames",
        "h264 (crf 17), weights fast, sound kept; changed or left out: see the 2 warnings",
        "takes about 83 min on this machine (native engine); "
        "the video will be roughly 123 MB if the rest is like its first frames",
    ]


@given(frames=st.integers(2, 80))
def test_frames_of_windows_are_counted(frames: int) -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    source = (Frame(Fraction(k, 10), Fraction(1, 10), black) for k in range(frames))
    windows = list(plan_windows(source, Timeline(rate=2), cuts=False, span=WINDOW))
    numbers = {tuple(frame.number for frame in window.frames) for window in windows}
    assert encoded_frames(frames, WINDOW) == sum(map(len, numbers))


@given(
    frame=st.integers(0, 9),
    at=st.integers(0, 9),
    between=st.integers(0, 9),
    rate=st.integers(1, 8),
    made=st.integers(4, 9),
)
def test_the_cost_of_a_window_is_separated_from_its_pictures(
    frame: int, at: int, between: int, rate: int, made: int
) -> None:
    """The first picture includes the work for the whole window."""
    times = [number % rate / rate for number in range(made)]
    spent = [22.0 * frame + at, *(at if t == 0 else between for t in times[1:])]
    found = UnitCosts.of(spent, times, 22)
    if rate == 1 or made <= rate:  # of one kind there is the first alone, or none
        assert found.at == found.between == (at if rate == 1 else between)
    else:
        assert (found.frame, found.at, found.between) == pytest.approx((frame, at, between))
    assert found.frame == pytest.approx(max(0, 22 * frame + at - found.at) / 22)


def test_enough_pictures_are_made_for_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time limit is reached at the first picture."""
    monkeypatch.setattr("safa.jobs.estimate.TIME_LIMIT", 0.0)
    source = write_clip(tmp_path / "in.mp4", frames=6)
    result = forecast(source, tmp_path / "out.mp4", UpscaleSettings(), made_upscaler(propagation=1))
    assert result.estimate is not None
    assert result.estimate.bytes


@pytest.mark.parametrize(("name", "made"), [("out.mkv", False), ("out/%d.png", True)])
def test_the_conversion_to_pictures_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, made: bool
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(animation, "png_encoder", lambda frame: seen.append(frame) or png_encoder(frame))
    source = write_clip(tmp_path / "in.mp4", frames=6)
    assert forecast(source, tmp_path / name, UpscaleSettings(), made_upscaler()).estimate is not None
    assert bool(seen) == made


def test_a_keyframe_for_each_segment() -> None:
    assert extrapolate_bytes([900, 10, 20, 30], 97, 96) == 2 * 900 + 95 * 20
    assert extrapolate_bytes([900, 10, 20], 97, 96) is None
