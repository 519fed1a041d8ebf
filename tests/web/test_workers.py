"""The server's own threads: several jobs at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from safa.jobs.job import Report
from safa.jobs.pipeline import Progress
from safa.jobs.upscale import upscale
from safa.web.jobs import DONE, ENDED, JobStore, WebJob
from safa.web.worker import Workers
from tests.media import audio_packets, video_frames, write_clip
from tests.web.making import make_job, tiny_weights, workers_of

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


def test_a_job_counts_as_getting_on_once_something_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, attempts = JobStore(tmp_path / "jobs", keep=3600), []
    job = make_job(store, write_clip(tmp_path / "clip.mp4", frames=3))

    def make(job: WebJob, folder: Path, upscaler: Any, on_progress: Callable[[Progress], None]) -> dict[str, Any]:
        for done in (0, 1):
            on_progress(Progress(done, 5, 1.0, None))
            attempts.append(job.attempts)
        return {"resumed": 1}

    monkeypatch.setattr("safa.web.worker.make_video", make)
    workers_of(store, tiny_weights(tmp_path))._run(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.error, attempts) == ("", [1, 0])
