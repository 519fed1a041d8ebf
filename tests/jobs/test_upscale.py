"""Whole jobs on small files."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa.checkpoint import Checkpoint, save_checkpoint
from safa.engine import memory
from safa.errors import SafaError
from safa.jobs.pipeline import Progress
from safa.jobs.upscale import upscale
from safa.options import ReadOptions, UpscaleSettings, WeightsSpec
from safa.upscaler.tiling import Tiling
from safa.upscaler.upscaler import Upscaler
from safa.video.journal import work_folder
from safa.video.pictures import load_picture, save_picture
from safa.video.verify import Check, Verification
from tests.conftest import tiny_network
from tests.media import HEIGHT, WIDTH, audio_packets, video_frames, write_clip, write_video


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_size_count_times_and_sound(tmp_path: Path, upscaler: Upscaler, rate: int) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=4)
    report = upscale(source, tmp_path / "out.mp4", rate=rate, upscaler=upscaler)
    frames = video_frames(tmp_path / "out.mp4")
    assert report.verification.ok
    assert report.frames == len(frames) == 3 * rate + 1
    assert frames[0][1].shape == (4 * HEIGHT, 4 * WIDTH, 3)
    assert [time for time, _ in frames] == [Fraction(k, 10 * rate) for k in range(3 * rate + 1)]
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)
    assert not work_folder(tmp_path / "out.mp4").exists()


def test_variable_frame_rate_keeps_its_times(tmp_path: Path, upscaler: Upscaler) -> None:
    times = [Fraction(t, 1000) for t in (0, 100, 130, 330)]
    upscale(write_clip(tmp_path / "in.mp4", times=times), tmp_path / "out.mp4", rate=2, upscaler=upscaler)
    expected = [0, 50, 100, 115, 130, 230, 330]
    assert [time * 1000 for time, _ in video_frames(tmp_path / "out.mp4")] == expected


def test_any_frame_rate(tmp_path: Path, upscaler: Upscaler) -> None:
    settings = UpscaleSettings(fps=Fraction(24000, 1001))
    upscale(write_clip(tmp_path / "in.mp4", frames=4), tmp_path / "out.mp4", settings=settings, upscaler=upscaler)
    times = [time for time, _ in video_frames(tmp_path / "out.mp4")]
    assert times == [Fraction(1001 * k, 24000) for k in range(len(times))]
    assert len(times) == 10


def test_start_and_end_select_frames(tmp_path: Path, upscaler: Upscaler) -> None:
    settings = UpscaleSettings(rate=1, reading=ReadOptions(start=Fraction(1, 5), end=Fraction(4, 10)))
    source = write_clip(tmp_path / "in.mp4", frames=6)
    assert upscale(source, tmp_path / "out.mp4", settings=settings, upscaler=upscaler).frames == 2


def test_one_frame_gives_one(tmp_path: Path, upscaler: Upscaler) -> None:
    report = upscale(write_clip(tmp_path / "in.mp4", 1, sound=False), tmp_path / "out.mp4", upscaler=upscaler)
    assert report.verification.ok
    assert report.frames == 1


def test_odd_size(tmp_path: Path, upscaler: Upscaler) -> None:
    source = write_clip(tmp_path / "in.mkv", 2, size=(17, 13))
    report = upscale(source, tmp_path / "out.mp4", upscaler=upscaler)
    assert (report.width, report.height) == (68, 52)
    assert report.verification.ok


def test_progress_counts_to_the_end(tmp_path: Path, upscaler: Upscaler) -> None:
    seen: list[Progress] = []
    upscale(write_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", upscaler=upscaler, on_progress=seen.append)
    assert [p.done for p in seen] == list(range(1, 10))
    assert seen[-1].total == 9
    assert seen[-1].seconds_left == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": "best"}, "and so is weights; give those to safa.load"),
        ({"device": "cpu", "memory": 1 << 30}, "and so is device and memory"),
        ({"engine": "torch"}, "and so is engine"),
        ({"settings": UpscaleSettings(weights=WeightsSpec("best"))}, "weights or compute options in the settings"),
    ],
)
def test_no_argument_is_ignored(tmp_path: Path, upscaler: Upscaler, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        upscale(tmp_path / "in.mp4", tmp_path / "out.mp4", upscaler=upscaler, **arguments)


def test_keywords_change_the_settings(tmp_path: Path, upscaler: Upscaler) -> None:
    source, settings = write_clip(tmp_path / "in.mp4", frames=2), UpscaleSettings(fps=Fraction(60), scale=1)
    report = upscale(source, tmp_path / "out.mp4", settings, rate=3, upscaler=upscaler)
    assert (report.frames, report.width) == (4, WIDTH)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rates'"):
        upscale(source, tmp_path / "out.mp4", rates=3, upscaler=upscaler)  # type: ignore[call-arg]


def test_an_existing_output_is_not_replaced_by_default(tmp_path: Path, upscaler: Upscaler) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=2)
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(SafaError, match="--overwrite"):
        upscale(source, tmp_path / "out.mp4", upscaler=upscaler)
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"
    assert upscale(source, tmp_path / "out.mp4", upscaler=upscaler, overwrite=True).verification.ok


def test_damage_in_the_source_is_reported(tmp_path: Path, upscaler: Upscaler) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=8, sound=False)
    data = bytearray(source.read_bytes())
    first, size = data.index(b"mdat") + 4, data.index(b"moov") - data.index(b"mdat") - 8
    data[first + size // 2 : first + size // 2 + 60] = bytes(60)  # behind the headers and the first frames
    source.write_bytes(data)
    assert upscale(source, tmp_path / "out.mp4", rate=1, upscaler=upscaler).problems


def test_a_folder_of_pictures_in_and_out(tmp_path: Path, upscaler: Upscaler) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        picture = np.full((9, 7, 4), 60 * number + 40, np.uint8)
        save_picture(picture, tmp_path / "in" / f"{number:03d}.png")
    settings = UpscaleSettings(rate=2, reading=ReadOptions(source_fps=Fraction(10)))
    report = upscale(tmp_path / "in", tmp_path / "out" / "%04d.png", settings=settings, upscaler=upscaler)
    written = sorted((tmp_path / "out").iterdir())
    assert report.verification.ok
    assert [load_picture(path).shape for path in written] == [(36, 28, 4)] * 5


def test_gif_out(tmp_path: Path, upscaler: Upscaler) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=3)
    report = upscale(source, tmp_path / "out.gif", rate=1, upscaler=upscaler)
    assert report.verification.ok
    assert any("audio" in warning for warning in report.warnings)


def test_y4m_on_standard_output(tmp_path: Path) -> None:
    save_checkpoint(tiny_network(grid="input", blocks=1), tmp_path / "tiny.safetensors")
    source = write_clip(tmp_path / "in.mp4", frames=2)
    command = [sys.executable, "-m", "safa", "upscale", str(source), "-o", "-", "--weights"]
    run = subprocess.run([*command, str(tmp_path / "tiny.safetensors")], capture_output=True, check=True)
    assert run.stdout.startswith(b"YUV4MPEG2 W192 H128 F20:1")
    assert run.stdout.count(b"FRAME\n") == 3
    (tmp_path / "out.y4m").write_bytes(run.stdout)
    assert [picture.shape for _, picture in video_frames(tmp_path / "out.y4m")] == [(128, 192, 3)] * 3


def test_a_result_that_fails_its_check_does_not_take_the_name(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = Verification({"frames": Check(3, 2, False)})
    monkeypatch.setattr("safa.jobs.report.verify", lambda path, expected: failed)
    report = upscale(write_clip(tmp_path / "in.mp4", frames=2), tmp_path / "out.mp4", upscaler=upscaler)
    assert not report.verification.ok
    assert report.output == tmp_path / "out.failed-check.mp4"
    assert not (tmp_path / "out.mp4").exists()


def roomy() -> int:
    """Return a ceiling one gigabyte above the current memory of this process."""
    return memory.resident() + (1 << 30)


def test_a_job_under_a_ceiling_is_done_in_tiles_and_reports_them(tmp_path: Path) -> None:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    source = write_clip(tmp_path / "in.mp4", frames=3, size=(192, 64))
    seen: list[Tiling] = []
    for name in ("whole", "tiled"):
        upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu", memory=roomy())
        if name == "tiled":
            upscaler.budget.shrink(2 * 64 * 144)
        upscale(source, tmp_path / name / "%d.png", upscaler=upscaler, on_tiles=seen.append)
    assert len(seen) == 1
    assert seen[0].count > 1
    for number in range(1, 6):
        whole, tiled = (load_picture(tmp_path / name / f"{number}.png").astype(int) for name in ("whole", "tiled"))
        assert np.abs(whole - tiled).max() <= 1


def test_a_ceiling_that_cannot_be_met_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu", memory=1 << 20)
    with pytest.raises(SafaError, match="memory ceiling of at least"):
        upscale(write_clip(tmp_path / "in.mp4", frames=2), tmp_path / "out.mp4", upscaler=upscaler)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_rates_too_high_for_gif_are_refused_before_work(tmp_path: Path, upscaler: Upscaler) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=4)
    with pytest.raises(SafaError, match=r"at most 100 frames a second.*--fps 50"):
        upscale(source, tmp_path / "out.gif", rate=11, upscaler=upscaler)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_deep_pictures_go_into_a_pipe(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], upscaler: Upscaler
) -> None:
    source = write_video(
        tmp_path / "deep.mkv",
        [np.full((32, 48, 3), 60 * k, np.uint8) for k in range(3)],
        codec="ffv1",
        pixel_format="yuv420p10le",
    )
    upscale(source, Path("-"), rate=1, scale=1, upscaler=upscaler)
    assert b"C420p10" in capfdbinary.readouterr().out.split(b"\n")[0]
