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
from safa.video.journal import work_folder
from safa.web.jobs import CANCELLED, DONE, DRAFT, DRAFT_AGE, FAILED, QUEUED, RUNNING, JobStore
from safa.web.options import DETAIL, Options, ResultPlan
from safa.web.views import Views
from safa.web.worker import Speeds, Workers
from tests.media import HEIGHT, WIDTH, video_frames, write_clip
from tests.web.making import ME, OTHER, make_draft, make_job, tiny_weights, workers_of


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
    assert not any(store.get(ME, forged) for forged in (f"../{job.id}", job.id + "/", "", "0" * 32))


def test_a_trial_does_not_wait_for_jobs_and_leaves_the_upload(
    store: JobStore, clip: Path, weights: Path, tmp_path: Path
) -> None:
    waiting = make_job(store, clip)
    draft = make_draft(store, clip)
    trial = store.try_out(draft, Options("tiny"))
    assert (draft.state, store.ahead(trial), store.ahead(waiting)) == (DRAFT, [], [])
    assert store.claim(0) is waiting
    assert store.claim(0) is None
    assert store.claim(0, trials=True) is trial
    workers = Workers(store, {"tiny": str(weights), "again": str(weights)}, device="cpu")
    workers._run(trial, {})
    assert (trial.state, trial.error) == (DONE, "")
    assert [name for name, _ in trial.result["networks"]] == ["tiny", "again"]
    folder = store.folder_of(trial)
    assert len(video_frames(folder / trial.result["file"])) == 15
    assert (folder / "result.png").exists()
    assert Image.open(folder / "after.webp").width <= 640
    assert store.input_of(draft, 1).exists()
    view = Views(store, workers).job(trial)
    assert all("whole file: about" in estimate for _, estimate in view["result"]["networks"])
    assert sorted(view["files"]) == ["after", "result", "sheet", "source"]
    store.remove(trial)
    assert store.input_of(draft, 1).exists()


@pytest.mark.parametrize("kind", ["gif", "mov", "webm", "small"])
def test_a_trial_of_every_kind_of_file(store: JobStore, clip: Path, weights: Path, kind: str) -> None:
    trial = store.try_out(make_job(store, clip), Options("tiny", format=kind, speed="2"))
    workers_of(store, weights)._run(store.claim(0, trials=True) or trial, {})
    assert (trial.state, trial.error) == (DONE, "")


def test_a_trial_that_fails_or_is_stopped_says_so(store: JobStore, clip: Path, weights: Path) -> None:
    trial = store.try_out(make_job(store, clip), Options("tiny"))
    store.input_of(trial, 1).unlink()
    store.input_of(trial, 1).write_bytes(b"no film")
    workers_of(store, weights)._run(store.claim(0, trials=True) or trial, {})
    assert (trial.state, "Clip.mp4 is not a video" in trial.error) == (FAILED, True)
    store.resume(trial)
    store.claim(0, trials=True)
    store.cancel(trial)
    shutil.copy(clip, store.input_of(trial, 1))
    workers_of(store, weights)._run(trial, {})
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
    store.resume(bad)
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
    forgotten, slow = store.draft(ME, ["a"]), store.draft(ME, ["b"])
    for draft in (forgotten, slow):
        store.change(draft, created=now - DRAFT_AGE - 1)
    slow.is_arriving = True
    store.sweep()
    assert {path.name for path in store.folder.iterdir()} == {fresh.id, waiting.id, slow.id}
    assert {job.id for job in store.of(ME)} == {fresh.id, waiting.id}


def test_a_damaged_record_costs_its_job_only(store: JobStore, clip: Path) -> None:
    broken, good = make_job(store, clip), make_job(store, clip)
    (store.folder_of(broken) / "job.json").write_text("{")
    store.release()
    assert [job.id for job in JobStore(store.folder, keep=1).of(ME)] == [good.id]


def test_a_browser_cannot_fill_the_queue(store: JobStore, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.web.jobs.MOST_WAITING", 2)
    make_job(store, clip), make_job(store, clip)
    make_job(store, clip, owner=OTHER)
    with pytest.raises(SafaError, match="waiting already"):
        make_job(store, clip)
    waiting = store.of(ME)[0]
    store.cancel(waiting)
    make_job(store, clip)
    with pytest.raises(SafaError, match="waiting already"):
        store.resume(waiting)
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
    assert ResultPlan("video", facts, Options("tiny")).size == size
    assert ResultPlan("pictures", facts, Options("tiny")).size == (
        4 * int(str(facts["width"])),
        4 * int(str(facts["height"])),
    )


def test_a_video_becomes_larger_and_smoother(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip, smoothness="2", speed="2", quality="smaller")
    assert job.plan.frames == 15
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")
    frames = video_frames(store.folder_of(job) / job.result["file"])
    assert len(frames) == job.result["frames"] == 15
    assert frames[0][1].shape == (4 * HEIGHT, 4 * WIDTH, 3)
    assert float(frames[-1][0]) == pytest.approx(1.4)
    stills = [np.asarray(Image.open(store.folder_of(job) / f"{name}.webp")) for name in ("before", "after")]
    assert [still.shape for still in stills] == [(4 * HEIGHT, 4 * WIDTH, 3)] * 2


@pytest.mark.parametrize("suffix", ["small", "webm", "mov", "gif"])
def test_every_format_on_offer_can_be_made(store: JobStore, weights: Path, tmp_path: Path, suffix: str) -> None:
    job = make_job(store, write_clip(tmp_path / "in.mp4", 2, size=(64, 64)), format=suffix, quality="smaller")
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")
    assert len(video_frames(store.folder_of(job) / job.result["file"])) == 3


def test_a_stopped_job_goes_on_and_equals_an_uninterrupted_one(
    store: JobStore, clip: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 4)
    job, whole = make_job(store, clip), make_job(store, clip)
    workers = workers_of(store, weights)
    workers._stop = StopAfter(11)  # type: ignore[assignment]
    workers._run(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == RUNNING
    store.release()
    store = JobStore(store.folder, keep=3600)
    workers, seen = workers_of(store, weights), []
    job = store.claim(0)  # type: ignore[assignment]
    tell = pipeline.Meter.tick
    monkeypatch.setattr(pipeline.Meter, "tick", lambda meter: (seen.append(meter.resumed), tell(meter)))
    workers._run(job, {})
    assert (job.state, seen[0]) == (DONE, 8)
    other = store.claim(0)
    workers._run(other, {})  # type: ignore[arg-type]
    assert other is not None
    assert other.id == whole.id
    frames = [video_frames(store.folder_of(one) / "result.mp4") for one in (job, other)]
    assert [time for time, _ in frames[0]] == [time for time, _ in frames[1]]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(*frames, strict=True))


def test_a_cancelled_job_stops_at_the_next_frame_and_can_go_on(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    workers = workers_of(store, weights)
    store.cancel(job)
    assert job.state == CANCELLED
    store.resume(job)
    claimed = store.claim(0)
    store.cancel(job)
    workers._run(claimed, {})  # type: ignore[arg-type]
    assert job.state == CANCELLED
    assert not (store.folder_of(job) / "result.mp4").exists()
    store.resume(job)
    workers._run(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == DONE


def test_a_result_that_was_finished_when_the_server_died_is_taken(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    workers = workers_of(store, weights)
    workers._run(store.claim(0), {})  # type: ignore[arg-type]
    result = store.folder_of(job) / "result.mp4"
    written = result.stat().st_mtime_ns
    store.change(job, state=QUEUED)
    workers._run(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, result.stat().st_mtime_ns) == (DONE, written)


def test_other_weights_start_an_interrupted_job_afresh(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    work = work_folder(store.folder_of(job) / "result.mp4")
    work.mkdir()
    (work / "journal.json").write_text(json.dumps({"version": 1, "fingerprint": {"weights": "others"}, "end": None}))
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert (job.state, job.error) == (DONE, "")


def test_a_failure_is_told_without_our_paths(store: JobStore, clip: Path, weights: Path) -> None:
    job = make_job(store, clip)
    (store.folder_of(job) / "input").write_bytes(clip.read_bytes()[:700])
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == FAILED
    assert "lip.mp4" in job.error
    assert str(store.folder) not in job.error


def test_a_full_disk_stops_no_worker(
    store: JobStore, clip: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    job = make_job(store, clip)
    monkeypatch.setattr("safa.web.jobs.write_json", full)
    monkeypatch.setattr("safa.web.worker.write_json", full)
    monkeypatch.setattr("safa.web.results.upscale", full)
    workers_of(store, weights)._run(store.claim(0), {})  # type: ignore[arg-type]
    assert job.state == FAILED


def test_how_sharp_it_looks_is_left_to_the_footage_unless_chosen() -> None:
    details = {detail: Options("auto", detail=detail).weights_and_detail("auto")[1] for detail in DETAIL}
    assert details == {"auto": None, "0": 0.0, "0.5": 0.5, "1": 1.0}
    assert Options("auto").weights_and_detail("auto") == ("auto", None)
    assert Options("mine", detail="1").weights_and_detail("mine.safetensors") == ("mine.safetensors", None)


def test_options_that_are_not_offered_are_refused() -> None:
    offered = {"tiny": "tiny.safetensors"}
    assert Options.parse({}, offered) == Options("tiny")
    assert Options.parse({"sound": False, "speed": "2"}, offered) == Options("tiny", sound=False, speed="2")
    for name, value in (
        *(("weights", "/etc/passwd"), ("format", "../x"), ("smoothness", "3"), ("smoothness", 2), ("speed", None)),
        ("count", ["7"]),
    ):
        with pytest.raises(SafaError, match="is not a choice of"):
            Options.parse({name: value}, offered)
    with pytest.raises(SafaError, match="sound must be true or false, not 'no'"):
        Options.parse({"sound": "no"}, offered)
    with pytest.raises(SafaError, match="'owner' is not an option"):
        Options.parse({"owner": "me"}, offered)


def test_uploads_that_never_arrived_are_gone_after_a_restart(store: JobStore, clip: Path) -> None:
    partial, whole = store.draft(ME, ["a.mp4"]), make_draft(store, clip)
    (store.folder_of(partial) / "input.part").write_bytes(b"x")
    store.release()
    again = JobStore(store.folder, keep=3600)
    assert [job.id for job in again.drafts_of(ME)] == [whole.id]
    assert not store.folder_of(partial).exists()


def test_a_draft_waits_for_all_queued_jobs(store: JobStore, clip: Path) -> None:
    draft = make_draft(store, clip)
    later = make_job(store, clip, owner=OTHER)
    assert store.ahead(draft) == [later]


def test_speeds_are_remembered(tmp_path: Path) -> None:
    Speeds(tmp_path / "speed.json").record("tiny", 10, 5)
    assert Speeds(tmp_path / "speed.json").seconds("tiny", 3) == pytest.approx(6)
    assert Speeds(tmp_path / "speed.json").seconds("other", 3) is None
