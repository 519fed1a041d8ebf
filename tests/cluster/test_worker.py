"""One segment on a worker: its source frames, and sources that decode differently."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import Future
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.cluster.plan import NeededFrame, PicturePlan, Planner, SegmentPlan
from safa.cluster.pool import MAX_SHIPMENT_FAILURES, Pool, WorkerHandle
from safa.cluster.segment_source import Reading, SharedSource
from safa.cluster.worker import PROBE, Failed, InputMissing, JobContext, Rendered, Worker, save_segment
from safa.jobs.plan import prepare_job
from safa.options import ComputeOptions, UpscaleSettings
from safa.video.files import appearance
from safa.video.folder_source import open_reader
from tests.conftest import tiny_network
from tests.video.making import make_video


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(Checkpoint.of(tiny_network(grid="input", blocks=1), "tiny"), ComputeOptions("cpu", threads=1))


@pytest.fixture
def planned(tmp_path: Path) -> tuple[JobContext, SegmentPlan]:
    """The second of three segments of a clip with four keyframes."""
    source, settings = make_video(tmp_path / "clip.mp4", range(12), options={"g": "3"}), UpscaleSettings()
    with open_reader(source) as reader:
        job = prepare_job(reader, source, tmp_path / "out.mp4", settings)
        plans = Planner(settings, job.spec.time_base, 8).plans(reader.frames(), reader.origin, lambda frame: True)
        plan = list(plans)[1]
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / PROBE).write_text("token")
    reading = Reading(settings.reading, Fraction(0), False)
    size, folder = (reader.info.height, reader.info.width), tmp_path / "work"
    return JobContext(
        SharedSource(source, appearance(source)), reading, size, job.spec, job.memory, folder, "token"
    ), plan


def render(worker: Worker, film: JobContext, plan: SegmentPlan) -> tuple[bytes, str]:
    result = worker.render(film, plan)
    assert isinstance(result, Rendered)
    return save_segment(film.folder, result).read_bytes(), result.problem


def test_a_plan_names_frames_times_and_where_to_decode_from(planned: tuple[JobContext, SegmentPlan]) -> None:
    _, plan = planned
    assert (plan.number, plan.first_frame) == (1, 8)
    assert (plan.pictures[0], plan.pictures[-1]) == (PicturePlan(4, 5, 0.0, (4, 5)), PicturePlan(7, 8, 0.5, (7, 8)))
    assert [needed.number for needed in plan.needed] == [4, 5, 6, 7, 8]
    assert plan.seek == plan.needed[0].time - Fraction(3, 24)


def test_a_segment_returned_as_bytes_equals_one_written_in_place(
    worker: Worker, planned: tuple[JobContext, SegmentPlan]
) -> None:
    film, plan = planned
    written, _ = render(worker, film, plan)
    result = worker.render(replace(film, token="another"), plan)
    assert isinstance(result, Rendered)
    assert result.data == written
    assert sorted(path.name for path in film.folder.iterdir()) == ["000001.mkv", PROBE]


def test_everything_is_decoded_if_seeking_gives_other_frames(
    worker: Worker, planned: tuple[JobContext, SegmentPlan]
) -> None:
    film, plan = planned
    expected = render(worker, film, plan)
    late = replace(plan, seek=plan.needed[1].time)
    assert render(worker, film, late) == expected


def test_a_source_that_decodes_differently_is_reported(worker: Worker, planned: tuple[JobContext, SegmentPlan]) -> None:
    film, plan = planned
    expected, _ = render(worker, film, plan)
    doubtful = replace(plan, needed=(NeededFrame(4, plan.needed[0].time, 1), *plan.needed[1:]))
    data, problem = render(worker, film, doubtful)
    assert data == expected
    assert "segment 1 (frames 8 to 15, 0:00 to 0:00) was decoded differently" in problem
    assert "source frame 4 at 0.167 s looks different" in problem


def test_errors_of_a_worker_are_results(worker: Worker, planned: tuple[JobContext, SegmentPlan]) -> None:
    film, plan = planned
    missing = replace(film, source=SharedSource(film.source.path, "another look"))
    assert isinstance(worker.render(missing, plan), InputMissing)
    result = worker.render(replace(film, spec=replace(film.spec, width=47)), plan)
    assert isinstance(result, Failed)
    assert "encoder" in result.reason
    assert not list(film.folder.glob("*.mkv*"))


def test_a_folder_is_copied_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "node"))
    monkeypatch.setattr("safa.cluster.segment_source.CHUNK", 7)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, size in (("a.png", 20), ("b.png", 0)):
        (folder / name).write_bytes(np.arange(size, dtype=np.uint8).tobytes())
    source = SharedSource(folder, appearance(folder))
    for part in source.chunks():
        source.receive(*part)
    (folder / "a.png").unlink()
    assert source.here() == source.copy
    assert (source.copy / "a.png").read_bytes() == bytes(range(20))


def test_a_copy_that_failed_is_sent_again(tmp_path: Path) -> None:
    pool: Any = object.__new__(Pool)
    pool._shipments, pool._failed_shipments = {}, Counter()
    pool._shipping = SimpleNamespace(submit=lambda work, *arguments: outcome())
    source, member, sent = SharedSource(tmp_path / "film", "look"), WorkerHandle(None, "node"), []

    def outcome() -> Future[None]:
        future: Future[None] = Future()
        sent.append(future)
        if len(sent) < 3:
            future.set_exception(OSError("the worker\nwas lost"))
        else:
            future.set_result(None)
        return future

    assert [pool.ship(member, source) for _ in range(4)] == [True, True, True, False]
    assert pool.shipment_error(member, source) == ""
    pool._shipments[("node", source)] = sent[0]
    pool._failed_shipments["node", source] = MAX_SHIPMENT_FAILURES
    assert not pool.ship(member, source)
    assert pool.shipment_error(member, source) == "was lost"


def test_unused_copies_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    film = tmp_path / "film.bin"
    film.write_bytes(b"pictures")
    source = SharedSource(tmp_path / "elsewhere" / "film.bin", appearance(film))
    source.receive("", 0, b"pictures")
    for name in ("old", "new"):
        (source.copy.parent.parent / name).mkdir()
    for path in (source.copy.parent, source.copy.parent.parent / "old"):
        os.utime(path, (0, 0))
    assert source.here() == source.copy  # so it is in use
    SharedSource(Path("other"), "other").receive("", 0, b"x")
    assert {path.name for path in source.copy.parent.parent.iterdir()} == {source.appearance[:32], "new", "other"}
