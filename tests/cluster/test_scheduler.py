"""The scheduler without Ray: equal frames in any order and after any number of retries."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from safa.checkpoint import Checkpoint
from safa.cluster.open_job import LOSSES, TRIES, ClusterRequest
from safa.cluster.plan import SegmentPlan
from safa.cluster.pool import WorkerHandle
from safa.cluster.scheduler import Scheduler
from safa.cluster.segment_source import SharedSource, copies_folder
from safa.cluster.worker import Failed, JobContext
from safa.errors import SafaError
from safa.jobs.batch import BatchEvents
from safa.jobs.pipeline import Progress
from safa.jobs.report import Report
from safa.jobs.upscale import upscale
from safa.options import ReadOptions, RunOptions, UpscaleSettings
from safa.upscaler.upscaler import Upscaler, span_of
from safa.video.files import appearance
from safa.video.journal import work_folder
from safa.video.pictures import save_picture
from tests.cluster.local import LocalWorkers, Script
from tests.conftest import tiny_network
from tests.media import write_clip, write_video
from tests.video.making import frame_hashes, make_interlaced, make_video, picture

SEGMENT = 8


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A source of 23 output frames, three segments."""
    return make_video(tmp_path / "clip.mp4", range(12), options={"g": "5"})


@pytest.fixture
def whole(tmp_path: Path, checkpoint: Checkpoint, clip: Path) -> Path:
    """The result of one machine without interruption."""
    alone(clip, tmp_path / "whole.mkv", checkpoint)
    return tmp_path / "whole.mkv"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=1)
    return Checkpoint.of(network, "tiny")


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", SEGMENT)


def on_cluster(
    source: Path,
    output: Path,
    checkpoint: Checkpoint,
    settings: UpscaleSettings | None = None,
    script: Script | None = None,
    events: BatchEvents | None = None,
    workers: LocalWorkers | None = None,
) -> Report:
    workers = workers or LocalWorkers(checkpoint, script)
    request = ClusterRequest(settings or UpscaleSettings(), checkpoint.sha256, span=span_of(checkpoint.network.config))
    (outcome,) = Scheduler(workers, request, events or BatchEvents()).run([(source, output)], {output: 20})
    assert outcome.report is not None
    return outcome.report


def alone(source: Path, output: Path, checkpoint: Checkpoint, settings: UpscaleSettings | None = None) -> Report:
    return upscale(source, output, settings=settings, upscaler=Upscaler(checkpoint, "cpu"))


def two_scenes(path: Path) -> Path:
    """Write a video with a cut in the middle of a segment."""
    frames = [picture(number) for number in range(7)] + [255 - picture(3)[::-1, :, ::-1]] * 6
    return write_video(path, frames, time_base=Fraction(1, 24), options={"crf": "5"})


def uneven(path: Path) -> Path:
    times = [Fraction(t, 1000) for t in (0, 100, 130, 330, 350, 420, 500, 730, 800, 810)]
    return write_clip(path, times=times)


def open_groups(path: Path) -> Path:
    return make_video(path, range(24), options={"x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"})


def short_groups(path: Path) -> Path:
    return make_video(path, range(24), options={"g": "5", "bf": "2"})


def pictures(path: Path) -> Path:
    folder = path.with_suffix("")
    folder.mkdir()
    for number in range(9):
        save_picture(picture(number), folder / f"{number:03d}.png")
    return folder


SOURCES = {
    "variable rate": (uneven, "in.mp4", UpscaleSettings(rate=3)),
    "any rate": (short_groups, "in.mp4", UpscaleSettings(fps=Fraction(24000, 1001), dedup=True)),
    "a part of it": (
        short_groups,
        "in.mp4",
        UpscaleSettings(reading=ReadOptions(start=Fraction(1, 5), end=Fraction(4, 5))),
    ),
    "a cut": (two_scenes, "in.mkv", UpscaleSettings(rate=3)),
    "open groups": (open_groups, "in.mkv", UpscaleSettings(codec="ffv1")),
    "interlaced": (make_interlaced, "in.mpg", UpscaleSettings()),
    "pictures": (pictures, "in.png", UpscaleSettings(reading=ReadOptions(source_fps=Fraction(10)))),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_frames_and_times_equal_those_of_one_machine(tmp_path: Path, checkpoint: Checkpoint, kind: str) -> None:
    make, name, settings = SOURCES[kind]
    source = make(tmp_path / name)
    workers = LocalWorkers(checkpoint, last_first=True)
    report = on_cluster(source, tmp_path / "parts.mkv", checkpoint, settings, workers=workers)
    whole = alone(source, tmp_path / "whole.mkv", checkpoint, settings)
    assert report.verification.ok
    assert len(workers.rendered) == -(-report.frames // SEGMENT) > 1
    assert report.frames == whole.frames
    assert report.problems == whole.problems == []
    assert frame_hashes(tmp_path / "parts.mkv") == frame_hashes(tmp_path / "whole.mkv")


def test_one_machine_resumes_a_job_of_a_cluster(
    tmp_path: Path, checkpoint: Checkpoint, clip: Path, whole: Path
) -> None:
    def stop(plan: SegmentPlan, tries: int) -> None:
        if plan.number == 0:
            raise KeyboardInterrupt

    workers = LocalWorkers(checkpoint, stop, last_first=True)
    with pytest.raises(KeyboardInterrupt, match="15 finished frames are kept") as stopped:
        on_cluster(clip, tmp_path / "out.mkv", checkpoint, workers=workers)
    assert "--finish" not in str(stopped.value)  # which needs the beginning
    assert workers.rendered == [2, 1]  # there is a hole before them
    report = alone(clip, tmp_path / "out.mkv", checkpoint)
    assert report.resumed_frames == 15
    assert frame_hashes(tmp_path / "out.mkv") == frame_hashes(whole)


@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_names_the_option_that_joins_kept_segments(
    tmp_path: Path, checkpoint: Checkpoint, clip: Path, count: int
) -> None:
    def stop(plan: SegmentPlan, tries: int) -> None:
        if len(workers.rendered) == count:
            raise KeyboardInterrupt

    workers = LocalWorkers(checkpoint, stop, count=1)
    jobs = [(clip, tmp_path / f"{number}.mkv") for number in range(count)]
    request = ClusterRequest(UpscaleSettings(), checkpoint.sha256, span=span_of(checkpoint.network.config))
    with pytest.raises(KeyboardInterrupt, match="and --finish instead of --cluster joins"):
        Scheduler(workers, request, BatchEvents()).run(jobs, {})


def test_a_cluster_resumes_a_job_of_one_machine(
    tmp_path: Path, checkpoint: Checkpoint, clip: Path, whole: Path
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == SEGMENT + 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale(clip, tmp_path / "out.mkv", upscaler=Upscaler(checkpoint, "cpu"), on_progress=stop)
    workers = LocalWorkers(checkpoint)
    report = on_cluster(clip, tmp_path / "out.mkv", checkpoint, workers=workers)
    assert workers.rendered == [1, 2]
    assert report.resumed_frames == SEGMENT
    assert frame_hashes(tmp_path / "out.mkv") == frame_hashes(whole)


def test_failures_and_losses_are_tried_again_with_a_warning(
    tmp_path: Path, checkpoint: Checkpoint, clip: Path, whole: Path
) -> None:
    def script(plan: SegmentPlan, tries: int) -> Failed | str | None:
        if plan.number == 1:
            return "the actor died" if tries == 0 else Failed(1, "out of memory") if tries < TRIES else None
        return None

    warnings: list[str] = []
    report = on_cluster(
        clip, tmp_path / "out.mkv", checkpoint, script=script, events=BatchEvents(on_warning=warnings.append)
    )
    assert report.retries == len(warnings) == TRIES
    assert "its worker on here was lost (the actor died)" in warnings[0]
    assert "segment 1 (frames 8 to 15, 0:00 to 0:00) is tried again: out of memory" in warnings[1]
    assert frame_hashes(tmp_path / "out.mkv") == frame_hashes(whole)


@pytest.mark.parametrize(("fate", "tries"), [(Failed(1, "no."), TRIES), ("it died", LOSSES)], ids=["fails", "kills"])
def test_a_segment_that_always_fails_is_named_and_the_rest_is_kept(
    tmp_path: Path, checkpoint: Checkpoint, clip: Path, fate: Failed | str, tries: int
) -> None:
    workers = LocalWorkers(checkpoint, lambda plan, _: fate if plan.number == 1 else None, count=3)
    message = rf"segment 1 \(frames 8 to 15.* failed {tries} times: .*; 15 finished frames are kept"
    with pytest.raises(SafaError, match=message):
        on_cluster(clip, tmp_path / "out.mkv", checkpoint, workers=workers)
    assert sorted(workers.rendered) == [0, 2]
    assert not (tmp_path / "out.mkv").exists()
    assert work_folder(tmp_path / "out.mkv").exists()


def test_bytes_are_sent_without_a_shared_disk(
    tmp_path: Path, checkpoint: Checkpoint, clip: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    workers = LocalWorkers(checkpoint)
    monkeypatch.setattr(workers, "give", partial(far_away, workers.give))
    report = on_cluster(clip, tmp_path / "out.mkv", checkpoint, workers=workers)
    (source,) = workers.shipped
    assert source.copy.read_bytes() == clip.read_bytes()
    assert report.retries == 0
    assert frame_hashes(tmp_path / "out.mkv") == frame_hashes(whole)
    source.forget()
    assert not source.copy.parent.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="each user has a temporary folder of their own")
@pytest.mark.parametrize("kind", ["writable", "a link"])
def test_copies_are_not_written_to_a_folder_of_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    source = SharedSource(Path("/nowhere/film.mp4"), appearance(film))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    if kind == "a link":
        copies_folder().symlink_to(theirs)
    else:
        copies_folder().mkdir()
        copies_folder().chmod(0o777)
    source.copy.parent.mkdir()
    source.copy.write_bytes(b"film")  # looks like it, and can be changed at any time
    assert source.here() is None
    source.forget()
    assert source.copy.exists()
    with pytest.raises(SafaError, match="belongs to another user"):
        source.receive("", 0, b"evil")
    assert source.copy.read_bytes() == b"film"


def far_away(give: Callable[..., None], member: WorkerHandle, work: Any, film: JobContext, plan: SegmentPlan) -> None:
    """Give work with paths that do not exist on the worker."""
    nowhere = Path("/nowhere")
    source = replace(film.source, path=nowhere / film.source.path.name)
    give(member, work, replace(film, source=source, folder=nowhere), plan)


def test_errors_of_a_batch_belong_to_their_files(tmp_path: Path, checkpoint: Checkpoint, clip: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(clip.read_bytes()[:900])
    jobs = [(source, tmp_path / "deep" / f"{source.stem}.mkv") for source in (bad, clip)]
    request = ClusterRequest(UpscaleSettings(), checkpoint.sha256, RunOptions(is_batch=True))
    outcomes = Scheduler(LocalWorkers(checkpoint), request, BatchEvents()).run(jobs, {})
    assert [outcome.failed for outcome in outcomes] == [True, False]
    assert "bad.mp4 is cut off" in str(outcomes[0].error)
    assert outcomes[1].report is not None
    assert outcomes[1].report.verification.ok
