"""Joining the finished segments of a stopped job, which can then continue."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.errors import JournalMismatch, SafaError
from safa.jobs.pipeline import Progress
from safa.jobs.report import join_so_far
from safa.jobs.upscale import upscale
from safa.options import UpscaleSettings
from safa.upscaler.upscaler import Upscaler
from safa.video.journal import work_folder
from tests.conftest import tiny_network
from tests.media import audio_packets, video_frames, write_clip

SEGMENT = 4


@pytest.fixture
def upscaler(monkeypatch: pytest.MonkeyPatch) -> Upscaler:
    """A tiny network, with short segments."""
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", SEGMENT)
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


def stop_after(source: Path, output: Path, settings: UpscaleSettings, upscaler: Upscaler, frames: int) -> str:
    """Interrupt a job after this many frames and return its message."""

    def stop(progress: Progress) -> None:
        if progress.done == frames:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stopped:
        upscale(source, output, settings=settings, upscaler=upscaler, on_progress=stop)
    return str(stopped.value)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize("rate", [1, 2])
def test_the_beginning_has_its_frames_and_sound_and_the_job_continues(
    tmp_path: Path, upscaler: Upscaler, suffix: str, rate: int
) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=24), tmp_path / f"out{suffix}"
    sound = suffix != ".webm"  # which takes no AAC
    settings = UpscaleSettings(rate=rate, preset="veryfast", codec="vp9" if suffix == ".webm" else "h264")
    upscale(source, tmp_path / f"whole{suffix}", settings=settings, upscaler=upscaler)
    message = stop_after(source, output, settings, upscaler, 14)
    assert "--finish" in message
    journal = json.loads((work_folder(output) / "journal.json").read_text())
    report = join_so_far(source, output, settings, upscaler)
    assert report.verification.ok, report.verification.failures()
    assert report.output == tmp_path / f"out.so-far{suffix}"
    whole, part = video_frames(tmp_path / f"whole{suffix}"), video_frames(report.output)
    assert len(part) == report.frames >= 2 * SEGMENT
    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(whole, part, strict=False))
    end = part[-1][0] + Fraction(1, 10 * rate)
    if sound:
        packets = audio_packets(report.output)
        assert packets == [packet for packet in audio_packets(tmp_path / f"whole{suffix}") if packet[0] < end]
    with av.open(str(report.output)) as container:
        # Packets of sound are 128 ms long, and Matroska counts one for what the encoder adds.
        assert float(end) - 0.01 <= container.duration / av.time_base <= float(end) + 0.26
    after = json.loads((work_folder(output) / "journal.json").read_text())
    assert list(after.pop("outputs")) == ["so far"]
    assert after == {name: value for name, value in journal.items() if name != "outputs"}
    assert not output.exists()
    part_file = tmp_path / f"out.so-far{suffix}"
    assert join_so_far(source, output, settings, upscaler).output == part_file  # its own is replaced
    part_file.write_text("mine")
    with pytest.raises(SafaError, match="move it away"):
        join_so_far(source, output, settings, upscaler)
    assert part_file.read_text() == "mine"
    done = upscale(source, output, settings=settings, upscaler=upscaler)
    assert done.resumed_frames >= report.frames
    assert done.verification.ok
    after = video_frames(output)
    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(whole, after, strict=True))


def test_slow_motion_with_stretched_sound(tmp_path: Path, upscaler: Upscaler) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=24), tmp_path / "out.mp4"
    settings = UpscaleSettings(slow=Fraction(2))
    stop_after(source, output, settings, upscaler, 14)
    report = join_so_far(source, output, settings, upscaler)
    assert report.verification.ok, report.verification.failures()
    assert len(audio_packets(report.output)) > 2


@pytest.mark.parametrize("name", ["out.gif", "out/%d.png"])
def test_the_beginning_of_pictures_can_be_joined(tmp_path: Path, upscaler: Upscaler, name: str) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=12), tmp_path / name
    stop_after(source, output, UpscaleSettings(), upscaler, 14)
    report = join_so_far(source, output, UpscaleSettings(), upscaler)
    assert report.verification.ok, report.verification.failures()
    if name.endswith("png"):
        assert report.output == tmp_path / "out.so-far" / "%d.png"
        with pytest.raises(SafaError, match="move it away"):
            join_so_far(source, output, UpscaleSettings(), upscaler)
    assert upscale(source, output, upscaler=upscaler).verification.ok


def test_a_missing_segment_ends_the_beginning(tmp_path: Path, upscaler: Upscaler) -> None:
    """On a cluster later segments may be finished before earlier ones."""
    source, output = write_clip(tmp_path / "in.mp4", frames=12), tmp_path / "out.mp4"
    stop_after(source, output, UpscaleSettings(), upscaler, 18)
    (work_folder(output) / "000001.json").unlink()
    report = join_so_far(source, output, UpscaleSettings(), upscaler)
    assert (report.frames, report.verification.ok) == (SEGMENT, True)
    (work_folder(output) / "000000.json").unlink()
    with pytest.raises(SafaError, match="nothing can be joined yet"):
        join_so_far(source, output, UpscaleSettings(), upscaler)
    assert upscale(source, output, upscaler=upscaler).verification.ok


def test_impossible_joins_are_refused(tmp_path: Path, upscaler: Upscaler) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=12), tmp_path / "out.mp4"
    with pytest.raises(SafaError, match="no unfinished work"):
        join_so_far(source, output, UpscaleSettings(), upscaler)
    assert not work_folder(output).exists()
    stop_after(source, output, UpscaleSettings(), upscaler, 14)
    with pytest.raises(JournalMismatch, match="another rate"):
        join_so_far(source, output, UpscaleSettings(rate=3), upscaler)
    assert json.loads((work_folder(output) / "journal.json").read_text())["end"] is None
    assert not (tmp_path / "out.so-far.mp4").exists()
