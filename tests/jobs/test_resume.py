"""Resumed jobs, and files beside their outputs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.engine import memory
from safa.errors import JournalMismatch, OutputError, SafaError
from safa.jobs.pipeline import Progress
from safa.jobs.upscale import upscale
from safa.options import ReadOptions, UpscaleSettings
from safa.upscaler.memory_budget import FREE_SHARE
from safa.upscaler.tiling import Tiling
from safa.upscaler.upscaler import Upscaler
from safa.video.mux import mux
from safa.video.pictures import save_picture
from safa.video.verify import Verification
from tests.conftest import tiny_network
from tests.media import video_frames, write_clip


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


class Stopped(Exception):
    """A simulated crash."""


def crash_at(frame: int) -> object:
    def tick(progress: Progress) -> None:
        if progress.done == frame:
            raise Stopped

    return tick


@pytest.mark.parametrize("propagation", [0, 1])
def test_a_resumed_job_equals_an_uninterrupted_one(
    tmp_path: Path, propagation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=propagation)
    upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu")
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 4)
    source = write_clip(tmp_path / "in.mp4", frames=8)
    upscale(source, tmp_path / "whole.mp4", upscaler=upscaler)
    for frame in (6, 13):
        with pytest.raises(Stopped):
            upscale(source, tmp_path / "out.mp4", upscaler=upscaler, on_progress=crash_at(frame))  # type: ignore[arg-type]
        assert not (tmp_path / "out.mp4").exists()
    report = upscale(source, tmp_path / "out.mp4", upscaler=upscaler)
    assert report.resumed_frames == 12
    assert report.verification.ok
    whole, resumed = video_frames(tmp_path / "whole.mp4"), video_frames(tmp_path / "out.mp4")
    assert [t for t, _ in whole] == [t for t, _ in resumed]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(whole, resumed, strict=True))


def test_work_of_another_kind_of_processor_is_refused(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stopped_job(tmp_path, upscaler, monkeypatch)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(type(upscaler.engine), "arithmetic", property(lambda engine: "another"))
        with pytest.raises(JournalMismatch, match=r"made with another engine \(.*OpenCV [\d.]+ .*\)"):
            upscale(source, tmp_path / "out.mp4", upscaler=upscaler)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("safa.upscaler.upscaler.cv2.getCPUFeaturesLine", lambda: "SSE SSE2 SSE3 *SSE4.1 *AVX2?")
        with pytest.raises(JournalMismatch, match="made with another engine"):
            upscale(source, tmp_path / "out.mp4", upscaler=upscaler)
    assert upscale(source, tmp_path / "out.mp4", upscaler=upscaler).resumed_frames == 4


def stopped_job(folder: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stop a job to out.mp4 after 5 of 7 frames, with segments of 2, and return its source."""
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    source = write_clip(folder / "in.mp4", frames=4)
    with pytest.raises(Stopped):
        upscale(source, folder / "out.mp4", upscaler=upscaler, on_progress=crash_at(5))  # type: ignore[arg-type]
    return source


def test_kept_work_of_other_settings_is_refused_unless_restarted(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stopped_job(tmp_path, upscaler, monkeypatch)
    with pytest.raises(JournalMismatch, match="--restart"):
        upscale(source, tmp_path / "out.mp4", rate=3, upscaler=upscaler)
    report = upscale(source, tmp_path / "out.mp4", rate=3, upscaler=upscaler, restart=True)
    assert report.frames == 10
    assert report.resumed_frames == 0


@pytest.mark.parametrize("name", ["out.mp4", "out/%d.png"])
def test_a_job_stopped_before_its_check_is_not_finished(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def stop(path: Path, expected: object) -> Verification:
        raise KeyboardInterrupt

    source = write_clip(tmp_path / "in.mp4", frames=2)
    monkeypatch.setattr("safa.jobs.report.verify", stop)
    with pytest.raises(KeyboardInterrupt, match="3 finished frames are kept"):
        upscale(source, tmp_path / name, upscaler=upscaler)
    monkeypatch.undo()
    report = upscale(source, tmp_path / name, upscaler=upscaler)
    assert report.verification.ok
    assert report.resumed_frames == 3


def test_a_job_whose_output_is_among_its_pictures_is_resumed(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(path: Path, expected: object) -> Verification:
        raise KeyboardInterrupt

    for number in range(2):
        save_picture(np.full((8, 8, 3), 60 * number + 40, np.uint8), tmp_path / f"{number}.png")
    settings = UpscaleSettings(reading=ReadOptions(source_fps=Fraction(10)))
    with monkeypatch.context() as patch:
        patch.setattr("safa.jobs.report.verify", stop)
        with pytest.raises(KeyboardInterrupt):
            upscale(tmp_path, tmp_path / "out.mp4", settings=settings, upscaler=upscaler)
    report = upscale(tmp_path, tmp_path / "out.mp4", settings=settings, upscaler=upscaler)
    assert (report.verification.ok, report.resumed_frames) == (True, 3)


def test_a_file_put_beside_kept_work_is_not_replaced(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stopped_job(tmp_path, upscaler, monkeypatch)
    (tmp_path / "out.mp4").write_bytes(b"precious")
    with pytest.raises(SafaError, match="exists already"):
        upscale(source, tmp_path / "out.mp4", upscaler=upscaler)
    assert (tmp_path / "out.mp4").read_bytes() == b"precious"


def test_a_resumed_job_needs_the_same_ceiling(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stopped_job(tmp_path, upscaler, monkeypatch)
    bounded = Upscaler(upscaler.checkpoint, device="cpu", memory=memory.resident() + (1 << 30))
    with pytest.raises(JournalMismatch, match="settings"):
        upscale(source, tmp_path / "out.mp4", upscaler=bounded)


def strip_of_film(folder: Path) -> Path:
    return write_clip(folder / "in.mp4", frames=3, size=(192, 64), sound=False)


def with_free(monkeypatch: pytest.MonkeyPatch, network_bytes: float) -> Upscaler:
    """Return an upscaler made while the network may use this many bytes."""
    monkeypatch.setattr("safa.engine.memory.available", lambda: int(network_bytes / FREE_SHARE))
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


def test_a_resumed_job_keeps_its_tiles_whatever_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    source, settings = strip_of_film(tmp_path), UpscaleSettings(codec="ffv1")
    cost = with_free(monkeypatch, 1 << 30).engine.bytes_per_pixel(2)
    little, plenty = cost * 64 * 144, 1 << 30
    seen: list[Tiling] = []
    options = {"settings": settings, "on_tiles": seen.append}
    for name, first, second in (("tiled", little, plenty), ("whole", plenty, cost * 64 * 192 * 0.8)):
        upscale(source, tmp_path / f"{name}.mkv", upscaler=with_free(monkeypatch, first), **options)  # type: ignore[arg-type]
        output = tmp_path / f"{name}-resumed.mkv"
        with pytest.raises(Stopped):
            upscale(
                source,
                output,
                upscaler=with_free(monkeypatch, first),
                on_progress=crash_at(3),  # type: ignore[arg-type]
                **options,  # type: ignore[arg-type]
            )
        report = upscale(source, output, upscaler=with_free(monkeypatch, second), **options)  # type: ignore[arg-type]
        assert report.resumed_frames == 2
        pictures = [[picture for _, picture in video_frames(path)] for path in (tmp_path / f"{name}.mkv", output)]
        assert all(np.array_equal(a, b) for a, b in zip(*pictures, strict=True))
    assert len(seen) == 3  # all three runs of the job that began in tiles, none of the other
    assert len({tiling.count for tiling in seen}) == 1


def test_kept_work_that_needed_more_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    source, output = strip_of_film(tmp_path), tmp_path / "out.mp4"
    plenty = with_free(monkeypatch, 1 << 30)
    little = with_free(monkeypatch, plenty.engine.bytes_per_pixel(2) * 64 * 112)
    with pytest.raises(Stopped):
        upscale(source, output, upscaler=plenty, on_progress=crash_at(4))  # type: ignore[arg-type]
    with pytest.raises(JournalMismatch, match=r"computed with [\d.]+[MG] for the network, .* or give --restart"):
        upscale(source, output, upscaler=little)
    assert upscale(source, output, upscaler=little, restart=True).verification.ok


def test_smaller_tiles_after_memory_ran_out_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    source, output = strip_of_film(tmp_path), tmp_path / "out.mp4"
    short = with_free(monkeypatch, 1 << 30)
    encode = short.engine.encode_frame

    def limited(frame: np.ndarray) -> object:
        if frame.shape[0] * frame.shape[1] > 64 * 144:
            raise MemoryError
        return encode(frame)

    monkeypatch.setattr(short.engine, "encode_frame", limited)
    with pytest.raises(Stopped):
        upscale(source, output, upscaler=short, on_progress=crash_at(4))  # type: ignore[arg-type]
    seen: list[Tiling] = []
    upscale(source, output, upscaler=with_free(monkeypatch, 1 << 30), on_tiles=seen.append)
    assert [tiling.count > 1 for tiling in seen] == [True]


def put_there(path: Path, frame: int) -> object:
    """Write another file with this name while the job is running."""

    def tick(progress: Progress) -> None:
        if progress.done == frame:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"precious")

    return tick


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out.webp", "out/%d.png"])
def test_a_file_that_appears_during_the_job_is_not_replaced(tmp_path: Path, upscaler: Upscaler, name: str) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=2, sound=False), tmp_path / name
    others = output.parent / "1.png" if "%" in name else output
    with pytest.raises(SafaError, match=r"was put there by something else .* 3 finished frames are kept"):
        upscale(source, output, upscaler=upscaler, on_progress=put_there(others, 2))  # type: ignore[arg-type]
    assert others.read_bytes() == b"precious"
    others.unlink()
    report = upscale(source, output, upscaler=upscaler)
    assert (report.verification.ok, report.resumed_frames) == (True, 3)


def test_overwrite_applies_until_the_end_of_the_job(tmp_path: Path, upscaler: Upscaler) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=2, sound=False), tmp_path / "out.mp4"
    report = upscale(source, output, upscaler=upscaler, overwrite=True, on_progress=put_there(output, 2))  # type: ignore[arg-type]
    assert report.verification.ok
    assert len(video_frames(output)) == 3


def test_segments_are_joined_by_one_process_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upscaler: Upscaler
) -> None:
    source, output = write_clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4"
    refused: list[str] = []

    def joining(*arguments: Any) -> Any:
        monkeypatch.setattr("safa.jobs.report.mux", mux)
        with pytest.raises(OutputError, match="in use") as refusal:
            upscale(source, output, rate=1, upscaler=upscaler)
        refused.append(str(refusal.value))
        return mux(*arguments)

    monkeypatch.setattr("safa.jobs.report.mux", joining)
    assert upscale(source, output, rate=1, upscaler=upscaler).verification.ok
    assert len(refused) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
