"""Jobs on disk and the worker that does them, without a browser."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from safa.errors import SafaError
from safa.jobs import pipeline
from safa.jobs import upscale as convert
from safa.video.write.journal import work_folder
from safa.web import job_markup
from safa.web.choices import DEFAULTS, DETAIL, checked, made_size, named_weights, output_frames
from safa.web.job_record import CANCELLED, DONE, DRAFT, FAILED, QUEUED, RUNNING
from safa.web.job_store import DRAFT_AGE, JobStore
from safa.web.material import describe_upload
from safa.web.worker import Speeds, Workers
from tests.media import HEIGHT, WIDTH, video_frames, write_clip
from tests.web.making import LIMITS, ME, OTHER, make_job, tiny_weights, workers_of


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=8)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs", keep=3600)


class StopAfter:
    """An event that is set from its ``calls``-th look on."""

    def __init__(self, calls: int) -> None:
        self.looks = itertools.count(1)
        self.calls = calls

    def is_set(self) -> bool:
        return next(self.looks) >= self.calls


def test_a_job_is_given_to_its_owner_only(store: JobStore, clip: Path) -> None:
    job = make_job(store, clip)
    assert store.get(ME, job.id) is job
    assert store.get(OTHER, job.id) is None
    assert store.get("", job.id) is None
    assert store.of(OTHER) == []
    assert not any(store.get(ME, forged) for forged in (f"../{job.id}", job.id + "/", None, 5, "0" * 32))


def test_a_trial_does_not_wait_for_jobs_and_leaves_the_upload(
    store: JobStore, clip: Path, weights: Path, tmp_path: Path
) -> None:
    waiting = make_job(store, clip)
    draft = store.draft(ME)
    shutil.copy(clip, store.input_of(draft, 1))
    kind, facts = describe_upload([(store.input_of(draft, 1), clip.name)], LIMITS)
    store.change(draft, kind=kind, facts=facts, names=[clip.name])
    trial = store.try_out(draft, {**DEFAULTS, "weights": "tiny"})
    assert (draft.state, store.ahead(trial), store.ahead(waiting)) == (DRAFT, [], [])
    assert store.claim(0) is waiting
    assert store.claim(0) is None
    assert store.claim(0, trials=True) is trial
    workers = Workers(store, {"tiny": str(weights), "again": str(weights)}, device="cpu")
    workers._do(trial, {})
    assert (trial.state, trial.error) == (DONE, "")
    assert [name for name, _ in trial.result["told"]] == ["tiny", "again"]
    place = store.place(trial)
    assert len(video_frames(place / trial.result["file"])) == 15
    assert (place / "result.png").exists()
    assert Image.open(place / "after.webp").width <= 640
    assert store.input_of(draft, 1).exists()
    shown = job_markup.stage(trial) + job_markup.job_list([trial], {}, trial.id, 60)
    assert "whole file: about" in shown
    assert f"jobs/{trial.id}/sheet" in shown
    store.remove(trial)
    assert store.input_of(draft, 1).exists()


@pytest.mark.parametrize("kind", ["gif", "mov", "webm", "small"])
def test_a_trial_of_every_kind_of_file(store: JobStore, clip: Path, weights: Path, kind: str) -> None:
    trial = store.try_out(make_job(store, clip), {**DEFAULTS, "weights": "tiny", "format": kind, "speed": "2"})
    workers_of(store, weights)._do(store.claim(0, trials=True) or trial, {})
    assert (trial.state, trial.error) == (DONE, "")


def test_a_trial_that_fails_or_is_stopped_says_so(store: JobStore, clip: Path, weights: Path) -> None:
    trial = store.try_out(make_job(store, clip), {**DEFAULTS, "weights": "tiny"})
    store.input_of(trial, 1).unlink()
    store.input_of(trial, 1).write_bytes(b"no film")
    workers_of(store, weights)._do(store.claim(0, trials=True) or trial, {})
    assert (trial.state, "Clip.mp4 is not a video" in trial.error) == (FAILED, True)
    store.again(trial)
    store.claim(0, trials=True)
    store.cancel(trial)
    shutil.copy(clip, store.input_of(trial, 1))
    workers_of(store, weights)._do(trial, {})
    assert trial.state == CANCELLED


def test_jobs_outlive_the_server_and_a_running_one_is_queued_again(store: JobStore, clip: Path) -> None:
    first, second = make_job(store, clip), make_job(store, clip, smoothness="4")
    assert store.claim(0) is first
    assert first.state == RUNNING
    store.release()
    again = JobStore(store.folder, keep=3600)
    assert [job.state for job in again.of(ME)] == [QUEUED, QUEUED]
    assert again.get(ME, second.id).to_dict() == second.to_dict()  # type: ignore[union-attr]
    assert [again.claim(0).id for _ in range(2)] == [second.id, first.id]  # type: ignore[union-attr]


def test_a_job_that_takes_the_server_down_is_given_up(store: JobStore, clip: Path) -> None:
    make_job(store, clip)
    for state in (QUEUED, QUEUED, FAILED):
        store.claim(0)
        store.release()
        store = JobStore(store.folder, keep=3600)
        assert [job.state for job in store.of(ME)] == [state]


def test_a_job_with_which_the_server_ended_comes_after_others(store: JobStore, clip: Path) -> None:
    jobs = [make_job(store, clip) for _ in range(3)]
    for number, job in enumerate(jobs):
        store.change(job, created=float(number))
    assert store.claim(0) is jobs[0]
    store.release()
    store = JobStore(store.folder, keep=3600)
    bad, second, third = (store.get(ME, job.id) for job in jobs)
    assert bad is not None
    assert sorted(store.ahead(bad), key=lambda job: job.created) == [second, third]
    assert [store.claim(0) for _ in range(3)] == [second, third, bad]
    store.change(bad, state=FAILED)
    store.again(bad)
    assert bad.attempts == 0


def test_one_server_uses_a_folder(store: JobStore) -> None:
    with pytest.raises(SafaError, match="Another server uses"):
        JobStore(store.folder, keep=1)


def test_what_is_old_is_deleted_and_what_is_not_done_is_kept(store: JobStore, clip: Path) -> None:
    now = time.time()
    old, fresh, waiting = make_job(store, clip), make_job(store, clip), make_job(store, clip)
    store.change(old, state=DONE, ended=now - 3700)
    store.change(fresh, state=DONE, ended=now - 3500)
    store.change(waiting, created=now - 10**6)
    forgotten, slow = store.draft(ME), store.draft(ME)
    for draft in (forgotten, slow):
        store.change(draft, created=now - DRAFT_AGE - 1)
    slow.is_arriving = True
    store.sweep()
    assert {path.name for path in store.folder.iterdir()} == {fresh.id, waiting.id, slow.id}
    assert {job.id for job in store.of(ME)} == {fresh.id, waiting.id}


def test_a_damaged_record_costs_its_job_only(store: JobStore, clip: Path) -> None:
    broken, good = make_job(store, clip), make_job(store, clip)
    (store.place(broken) / "job.json").write_text("{")
    store.release()
    assert [job.id for job in JobStore(store.folder, keep=1).of(ME)] == [good.id]


def test_a_browser_cannot_fill_the_queue(store: JobStore, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.web.job_store.MOST_WAITING", 2)
    make_job(store, clip), make_job(store, clip)
    make_job(store, clip, owner=OTHER)
    with pytest.raises(SafaError, match="waiting already"):
        make_job(store, clip)
    waiting = store.of(ME)[0]
    store.cancel(waiting)
    make_job(store, clip)
    with pytest.raises(SafaError, match="waiting already"):
        store.again(waiting)
    assert waiting.state == CANCELLED


@pytest.mark.parametrize(
    ("facts", "size"),
    [
        ({"width": 640, "height": 360}, (2560, 1440)),
        ({"width": 1080, "height": 1920, "rotation": 90, "aspect": "1"}, (2160, 3840)),
        ({"width": 1440, "height": 1080, "rotation": 0, "aspect": "4/3"}, (2880, 2160)),
        ({"width": 1080, "height": 1440, "rotation": -90, "aspect": "4/3"}, (2160, 2880)),
    ],
)
def test_the_page_says_the_size_that_is_made(facts: dict[str, object], size: tuple[int, int]) -> None:
    assert made_size("video", facts, DEFAULTS) == size
    assert made_size("pictures", facts, DEFAULTS) == (4 * int(str(facts["width"])), 4 * int(str(facts["height"])))


def test_a_video_becomes_larger_and_smoother(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip, smoothness="2", speed="2", quality="smaller")
    assert output_frames(job.kind, job.facts, job.settings) == 15
    workers_of(store, weights)._do(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")
    frames = video_frames(store.place(job) / job.result["file"])
    assert len(frames) == job.result["frames"] == 15
    assert frames[0][1].shape == (4 * HEIGHT, 4 * WIDTH, 3)
    assert float(frames[-1][0]) == pytest.approx(1.4)
    stills = [np.asarray(Image.open(store.place(job) / f"{name}.webp")) for name in ("before", "after")]
    assert [still.shape for still in stills] == [(4 * HEIGHT, 4 * WIDTH, 3)] * 2


@pytest.mark.parametrize("suffix", ["small", "webm", "mov", "gif"])
def test_every_format_on_offer_can_be_made(store: JobStore, weights: Path, tmp_path: Path, suffix: str) -> None:
    job = make_job(store, write_clip(tmp_path / "in.mp4", 2, size=(64, 64)), format=suffix, quality="smaller")
    workers_of(store, weights)._do(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")
    assert len(video_frames(store.place(job) / job.result["file"])) == 3


def test_a_stopped_job_goes_on_and_equals_an_uninterrupted_one(
    store: JobStore, clip: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convert, "SEGMENT_FRAMES", 4)
    job, whole = make_job(store, clip), make_job(store, clip)
    workers = workers_of(store, weights)
    workers._stop = StopAfter(11)  # type: ignore[assignment]
    workers._do(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == RUNNING
    store.release()
    store = JobStore(store.folder, keep=3600)
    workers, seen = workers_of(store, weights), []
    job = store.claim(0)  # type: ignore[assignment]
    tell = pipeline.Meter.tick
    monkeypatch.setattr(pipeline.Meter, "tick", lambda meter: (seen.append(meter.resumed), tell(meter)))
    workers._do(job, {})
    assert (job.state, seen[0]) == (DONE, 8)
    other = store.claim(0)
    workers._do(other, {})  # type: ignore[arg-type]
    assert other is not None
    assert other.id == whole.id
    frames = [video_frames(store.place(one) / "result.mp4") for one in (job, other)]
    assert [time for time, _ in frames[0]] == [time for time, _ in frames[1]]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(*frames, strict=True))


def test_a_cancelled_job_stops_at_the_next_frame_and_can_go_on(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    workers = workers_of(store, weights)
    store.cancel(job)
    assert job.state == CANCELLED
    store.again(job)
    claimed = store.claim(0)
    store.cancel(job)
    workers._do(claimed, {})  # type: ignore[arg-type]
    assert job.state == CANCELLED
    assert not (store.place(job) / "result.mp4").exists()
    store.again(job)
    workers._do(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == DONE


def test_a_result_that_was_finished_when_the_server_died_is_taken(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    workers = workers_of(store, weights)
    workers._do(store.claim(0), {})  # type: ignore[arg-type]
    result = store.place(job) / "result.mp4"
    written = result.stat().st_mtime_ns
    store.change(job, state=QUEUED)
    workers._do(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, result.stat().st_mtime_ns) == (DONE, written)


def test_other_weights_start_an_interrupted_job_afresh(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    work = work_folder(store.place(job) / "result.mp4")
    work.mkdir()
    (work / "journal.json").write_text(json.dumps({"version": 1, "fingerprint": {"weights": "others"}, "end": None}))
    workers_of(store, weights)._do(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")


def test_a_failure_is_told_without_our_paths(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    (store.place(job) / "input").write_bytes(clip.read_bytes()[:700])
    workers_of(store, weights)._do(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == FAILED
    assert "lip.mp4" in job.error
    assert str(store.folder) not in job.error


def test_a_full_disk_stops_no_worker(
    store: JobStore, clip: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    job = make_job(store, clip)
    monkeypatch.setattr("safa.web.job_store.write_json", full)
    monkeypatch.setattr("safa.web.worker.write_json", full)
    monkeypatch.setattr("safa.web.worker.upscale", full)
    workers_of(store, weights)._do(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == FAILED


def test_how_sharp_it_looks_is_left_to_the_footage_unless_chosen() -> None:
    found = {detail: named_weights("auto", {**DEFAULTS, "detail": detail})[1] for detail in DETAIL}
    assert found == {"auto": None, "0": 0.0, "0.5": 0.5, "1": 1.0}
    assert named_weights("auto", DEFAULTS) == ("auto", None)
    assert named_weights("mine.safetensors", {**DEFAULTS, "detail": "1"}) == ("mine.safetensors", None)


def test_a_choice_that_is_not_on_offer_is_refused() -> None:
    offered = {"tiny": "tiny.safetensors"}
    assert checked({**DEFAULTS, "weights": "tiny"}, offered)["weights"] == "tiny"
    for name, value in (("weights", "/etc/passwd"), ("format", "../x"), ("smoothness", "3"), ("speed", None)):
        with pytest.raises(SafaError, match="is not a choice of"):
            checked({**DEFAULTS, "weights": "tiny", name: value}, offered)


def test_speeds_are_remembered(tmp_path: Path) -> None:
    Speeds(tmp_path / "speed.json").note("tiny", 10, 5)
    assert Speeds(tmp_path / "speed.json").seconds("tiny", 3) == pytest.approx(6)
    assert Speeds(tmp_path / "speed.json").seconds("other", 3) is None
