"""Batches: which files they take, and which they skip as finished."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.cluster.open_job import ClusterRequest
from safa.cluster.scheduler import Scheduler
from safa.errors import OutputError
from safa.jobs.batch import BatchEvents, Outcome, finished_before, holds_videos, plan_batch, skipped_files, upscale_many
from safa.jobs.report import made_from
from safa.jobs.weights_selection import LoadedNetwork
from safa.options import RunOptions, UpscaleSettings
from safa.upscaler.upscaler import Upscaler
from safa.video.journal import work_folder
from tests.cluster.local import LocalWorkers
from tests.conftest import tiny_network
from tests.media import write_clip
from tests.video.making import make_video

SETTINGS = UpscaleSettings(rate=1)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """A folder with one clip."""
    (tmp_path / "talks").mkdir()
    write_clip(tmp_path / "talks" / "a.mp4", frames=1, sound=False)
    return tmp_path / "talks"


def run(talks: Path, upscaler: Upscaler, settings: UpscaleSettings = SETTINGS, overwrite: bool = False) -> Outcome:
    run = RunOptions(overwrite, is_batch=True)
    (outcome,) = upscale_many(plan_batch([talks], talks.parent / "big"), settings, LoadedNetwork(upscaler), run)
    return outcome


def error_of(outcome: Outcome) -> str:
    return str(outcome.error)


def test_files_finished_by_the_same_request_are_skipped(talks: Path, upscaler: Upscaler) -> None:
    first = run(talks, upscaler)
    assert first.report is not None
    assert not first.failed
    again = run(talks, upscaler)
    assert (again.report, again.error) == (None, None)
    moved = shutil.copytree(talks.parent / "big", talks.parent / "moved")
    jobs = plan_batch([talks], moved)
    assert upscale_many(jobs, SETTINGS, LoadedNetwork(upscaler)) == [Outcome(*jobs[0])]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"rate": 3}, "rate"), ({"crf": 30.0}, "crf"), ({"audio": False, "cuts": False}, "cuts and audio")],
)
def test_results_of_other_settings_are_errors_and_stay(
    talks: Path, upscaler: Upscaler, changes: dict[str, Any], named: str
) -> None:
    run(talks, upscaler)
    output = talks.parent / "big" / "a.mp4"
    before = output.read_bytes()
    outcome = run(talks, upscaler, dataclasses.replace(SETTINGS, **changes))
    assert outcome.failed
    assert f"made with another {named}; choose another folder, or add --overwrite" in error_of(outcome)
    assert output.read_bytes() == before
    assert run(talks, upscaler, dataclasses.replace(SETTINGS, **changes), overwrite=True).report is not None


def test_other_weights_and_another_input_are_named(talks: Path, upscaler: Upscaler) -> None:
    run(talks, upscaler)
    known = upscaler.checkpoint
    others = Upscaler(Checkpoint(known.config, known.tensors, known.name, "1" * 64), device="cpu")
    assert "another weights" in error_of(run(talks, others))
    write_clip(talks / "a.mp4", frames=2, sound=False)
    assert "another input" in error_of(run(talks, upscaler))


def test_an_unknown_file_is_not_a_result(talks: Path, upscaler: Upscaler) -> None:
    run(talks, upscaler)
    output = talks.parent / "big" / "a.mp4"
    output.write_bytes(b"somebody else's")
    assert "unknown what it was made from" in error_of(run(talks, upscaler))
    assert output.read_bytes() == b"somebody else's"


def test_a_job_stopped_before_its_record_is_finished_by_the_next_run(
    talks: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safa.jobs.batch.record_finished", stop)
        with pytest.raises(KeyboardInterrupt):
            run(talks, upscaler)
    output = talks.parent / "big" / "a.mp4"
    assert output.exists()
    assert work_folder(output).exists()
    outcome = run(talks, upscaler)
    assert outcome.report is not None
    assert outcome.report.resumed_frames == 1
    assert made_from(output) is not None


def test_results_of_a_cluster_are_recognised(talks: Path, upscaler: Upscaler) -> None:
    request = ClusterRequest(SETTINGS, upscaler.checkpoint.sha256, RunOptions(is_batch=True))
    jobs = plan_batch([talks], talks.parent / "big")
    (outcome,) = Scheduler(LocalWorkers(upscaler.checkpoint), request, BatchEvents()).run(jobs, {})
    assert not outcome.failed
    assert finished_before(*jobs[0], SETTINGS, upscaler.checkpoint.sha256) == Outcome(*jobs[0])


def test_a_folder_cannot_be_upscaled_into_itself(tmp_path: Path) -> None:
    (tmp_path / "talks").mkdir()
    for name in ("a.mp4", "b.avi"):
        (tmp_path / "talks" / name).touch()
    same = tmp_path / "talks" / ".." / "talks"
    with pytest.raises(OutputError, match="folder of the inputs; choose another"):
        plan_batch([tmp_path / "talks"], same)
    with pytest.raises(OutputError, match=r"a\.mp4 is one of the inputs; choose another"):
        plan_batch([tmp_path / "talks" / "a.mp4", tmp_path / "talks" / "b.avi"], same)


def test_the_codec_chooses_the_container(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.avi", "c.mkv", "d.mov"):
        (tmp_path / name).touch()
    sources = sorted(tmp_path.iterdir())
    for codec, suffixes in ((None, [".mp4", ".mp4", ".mkv", ".mov"]), ("ffv1", 3 * [".mkv"])):
        made = [output.suffix for _, output in plan_batch(sources, tmp_path / "big", codec)]
        assert made[: len(suffixes)] == suffixes
    for folder, given in (
        (Path("-"), sources),
        (Path("x/%06d.png"), sources),
        (tmp_path / "big", [Path("-"), *sources]),
    ):
        with pytest.raises(OutputError, match="one video"):
            plan_batch(given, folder)


def test_results_and_kept_work_are_not_inputs(talks: Path, upscaler: Upscaler) -> None:
    source = talks / "a.mp4"
    for folder in (talks / "big", talks / "big4"):
        upscale_many(plan_batch([talks], folder), SETTINGS, LoadedNetwork(upscaler))
        kept = work_folder(folder / "b.mp4")
        kept.mkdir()
        (kept / "000000.mkv").touch()
    (work_folder(talks / "c.mp4")).mkdir()
    (work_folder(talks / "c.mp4") / "000000.mkv").touch()
    assert plan_batch([talks], talks / "big") == [(source, talks / "big" / "a.mp4")]
    assert plan_batch([talks], talks.parent / "new") == [(source, talks.parent / "new" / "a.mp4")]
    # Those who name the results themselves get them.
    assert [path for path, _ in plan_batch([talks / "big"], talks.parent / "new")] == [talks / "big" / "a.mp4"]


def test_results_beside_their_sources_are_not_inputs(talks: Path, upscaler: Upscaler) -> None:
    for suffix in ("mp4", "mov", "mkv"):
        upscale_many([(talks / "a.mp4", talks / f"larger.{suffix}")], SETTINGS, LoadedNetwork(upscaler), RunOptions())
    assert [path.name for path, _ in plan_batch([talks], talks.parent / "new")] == ["a.mp4"]
    assert skipped_files([talks], talks.parent / "new") == [
        "3 files are skipped (made by safa; name them to upscale them again): larger.mkv, larger.mov, larger.mp4."
    ]
    for name in ("a.mp4", "larger.mov", "larger.mkv"):
        (talks / name).unlink()
    # A folder of nothing else is meant.
    assert [path.name for path, _ in plan_batch([talks], talks.parent / "new")] == ["larger.mp4"]


def test_a_video_beside_pictures_that_are_read_is_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "film.mp4", frames=1, sound=False)
    (tmp_path / "1.png").write_bytes(cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    sentence = "1 file is skipped (its folder is read as pictures): film.mp4."
    assert skipped_files([tmp_path], tmp_path / "out.mkv", pictures=True) == [sentence]


def test_pictures_stay_one_video_when_the_output_lies_among_them(tmp_path: Path) -> None:
    (tmp_path / "1.png").touch()
    output = tmp_path / "out.mp4"
    work_folder(output).mkdir()
    (work_folder(output) / "000000.mkv").touch()
    output.touch()
    assert not holds_videos(tmp_path, output)


def test_videos_are_found_by_their_content(tmp_path):
    film = make_video(tmp_path / "film.mpg", range(4), codec="mpeg2video").read_bytes()
    folder = tmp_path / "camcorder"
    folder.mkdir()
    names = ["A.MOD", "B.DAT", "C.tod", "D.xyz"]
    for name in names:
        (folder / name).write_bytes(film)
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nA.MOD\n#EXT-X-ENDLIST\n")
    (folder / "cover.jpg").write_bytes(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    (folder / "none.bin").touch()
    assert holds_videos(folder, tmp_path / "out")
    assert [source.name for source, _ in plan_batch([folder], tmp_path / "out")] == names
    assert skipped_files([folder], tmp_path / "out") == [
        "1 file is skipped (picture): cover.jpg.",
        "2 files are skipped (no video): list.m3u8, notes.txt.",
        "1 file is skipped (empty): none.bin.",
    ]


def test_nothing_of_a_folder_of_pictures_is_skipped(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    assert not holds_videos(folder, tmp_path / "out")
    assert skipped_files([folder], tmp_path / "out") == []
