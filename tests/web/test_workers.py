"""The server's own threads: several jobs at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa.jobs.pipeline import Progress
from safa.jobs.report import Report
from safa.jobs.upscale import upscale
from safa.web.jobs import DONE, ENDED, RUNNING, JobStore, WebJob
from safa.web.worker import Workers
from tests.media import audio_packets, video_frames, write_clip
from tests.web.making import make_job, tiny_weights, workers_of, write_picture

PATIENCE = 120  # seconds; only threads that hang take so long


def test_two_jobs_at_once_give_what_each_gives_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, store = tiny_weights(tmp_path), JobStore(tmp_path / "jobs", keep=3600)
    clips = [write_clip(tmp_path / f"{size[0]}.mp4", frames=12, size=size) for size in ((64, 48), (56, 64))]
    jobs = [make_job(store, clip, smoothness=smoothness) for clip, smoothness in zip(clips, ("4", "2"), strict=True)]
    both = threading.Barrier(2)

    def together(*arguments: Any, **options: Any) -> Report:
        both.wait(PATIENCE)
        return upscale(*arguments, **options)

    monkeypatch.setattr("safa.web.results.upscale", together)
    workers = Workers(store, {"tiny": str(weights)}, count=2, device="cpu")
    workers.start()
    try:
        with store._changed:
            store._changed.wait_for(lambda: all(job.state in ENDED for job in jobs), PATIENCE)
    finally:
        workers.stop()
    assert [(job.state, job.error) for job in jobs] == [(DONE, "")] * 2
    for job, clip in zip(jobs, clips, strict=True):
        alone = tmp_path / f"alone-{clip.stem}.mp4"
        upscale(clip, alone, settings=job.options.upscale_settings(), weights=weights, device="cpu")
        made = store.folder_of(job) / job.result["file"]
        frames = video_frames(alone), video_frames(made)
        assert [time for time, _ in frames[0]] == [time for time, _ in frames[1]]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(*frames, strict=True))
        assert audio_packets(alone) == audio_packets(made)


def attempts_of(job: WebJob, workers: Workers, monkeypatch: pytest.MonkeyPatch, parts: list[str | None]) -> list[int]:
    """The job's attempts after each frame, with which the file of ``parts`` comes to the job's folder."""
    attempts = []

    def make(*arguments: Any) -> dict[str, Any]:
        on_progress = arguments[-1]
        for done, part in enumerate(parts, 1):
            if part is not None:
                path = workers.store.folder_of(job) / part
                path.parent.mkdir(exist_ok=True)
                path.touch()
            on_progress(Progress(done, 9, 1.0, None))
            attempts.append(job.attempts)
        return {"resumed": 1}

    for name in ("make_video", "make_between", "make_trial"):
        monkeypatch.setattr(f"safa.web.worker.{name}", make)
    workers._run(workers.store.claim(0, trials=job.is_trial) or job, {})
    assert job.error == ""
    return attempts


def test_a_video_gets_on_once_a_segment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(tmp_path / "jobs", keep=3600)
    workers = workers_of(store, tiny_weights(tmp_path))
    job = make_job(store, write_clip(tmp_path / "clip.mp4", frames=3))
    work = "result.mp4.safa-work"
    (store.folder_of(job) / work).mkdir()
    for name in ("journal.json", "000000.mkv", "000000.json"):  # of an earlier start
        (store.folder_of(job) / work / name).touch()
    parts = [None, f"{work}/000001.mkv.part", f"{work}/000001.mkv", f"{work}/000001.json", None]
    assert attempts_of(job, workers, monkeypatch, parts) == [1, 1, 1, 0, 0]


def test_pictures_get_on_with_each_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(tmp_path / "jobs", keep=3600)
    workers = workers_of(store, tiny_weights(tmp_path))
    job = make_job(store, write_picture(tmp_path / "a.png", 20), write_picture(tmp_path / "b.png", 90))
    parts: list[str | None] = ["pictures/made-with.txt", "pictures/00.png"]
    assert attempts_of(job, workers, monkeypatch, parts) == [1, 0]


def test_a_trial_never_gets_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(tmp_path / "jobs", keep=3600)
    workers = workers_of(store, tiny_weights(tmp_path))
    made = make_job(store, write_clip(tmp_path / "clip.mp4", frames=3))
    trial = store.try_out(made, made.options)
    assert attempts_of(trial, workers, monkeypatch, ["result.png", "result.mp4"]) == [1, 1]


def test_stopping_the_server_is_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(tmp_path / "jobs", keep=3600)
    workers = workers_of(store, tiny_weights(tmp_path))
    job = make_job(store, write_clip(tmp_path / "clip.mp4", frames=3))
    workers._stop.set()
    assert attempts_of(job, workers, monkeypatch, [None]) == []
    assert (job.state, job.attempts) == (RUNNING, 0)
