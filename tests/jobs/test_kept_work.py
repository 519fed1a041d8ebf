"""Kept work: work of other jobs is not deleted, and finished work is not repeated."""

from __future__ import annotations

import json
import sys
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safa.checkpoint import Checkpoint
from safa.errors import JournalMismatch, OutputError
from safa.jobs.pipeline import Progress
from safa.jobs.report import is_finished
from safa.jobs.upscale import upscale
from safa.options import UpscaleSettings
from safa.upscaler.memory_budget import Budget
from safa.upscaler.upscaler import Upscaler
from safa.video.files import unfinished, whole_output
from safa.video.journal import JOURNAL, Journal, discard_checked, segment_name, work_folder
from safa.video.verify import Check, Verification
from tests.conftest import tiny_network
from tests.media import write_clip

SETTINGS = UpscaleSettings(rate=1, scale=Fraction(1))
Y4M = b"YUV4MPEG2 W16 H16 F24:1 Ip A1:1 C420jpeg\n" + 3 * (b"FRAME\n" + bytes(384))


@pytest.fixture
def upscaler(monkeypatch: pytest.MonkeyPatch) -> Upscaler:
    """A tiny network, with short segments."""
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


@pytest.fixture
def piped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.y4m").write_bytes(Y4M)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=(tmp_path / "in.y4m").open("rb")))


def stop_at(frames: int) -> Any:
    def stop(progress: Progress) -> None:
        if progress.done == frames:
            raise KeyboardInterrupt

    return stop


def run(source: Path | str, output: Path, upscaler: Upscaler, **options: Any) -> Any:
    return upscale(source, output, settings=SETTINGS, upscaler=upscaler, **options)


@pytest.mark.usefixtures("piped")
def test_a_pipe_does_not_delete_the_work_of_another_job(tmp_path: Path, upscaler: Upscaler) -> None:
    clip, output = write_clip(tmp_path / "in.mp4", frames=8, sound=False), tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        run(clip, output, upscaler, on_progress=stop_at(7))
    kept = {path.name: path.read_bytes() for path in work_folder(output).iterdir()}
    assert segment_name(0) in kept
    with pytest.raises(JournalMismatch, match="work of another job is kept"):
        run("-", output, upscaler)
    assert {path.name: path.read_bytes() for path in work_folder(output).iterdir()} == kept
    assert run("-", output, upscaler, restart=True).frames == 3


@pytest.mark.usefixtures("piped")
def test_nothing_of_a_stopped_pipe_is_kept(tmp_path: Path, upscaler: Upscaler) -> None:
    with pytest.raises(KeyboardInterrupt, match="nothing is kept, as a pipe cannot be read again"):
        run("-", tmp_path / "out.mp4", upscaler, on_progress=stop_at(3))
    assert [path.name for path in tmp_path.iterdir()] == ["in.y4m"]


def test_nothing_is_lost_by_a_crash_while_the_journal_is_removed(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, output = write_clip(tmp_path / "in.mp4", frames=5, sound=False), tmp_path / "out.mp4"

    def crash(journal: Journal) -> None:
        (journal.folder / segment_name(0)).unlink()
        journal.release()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", crash)
        with pytest.raises(KeyboardInterrupt):
            run(clip, output, upscaler)
    made = output.read_bytes()
    assert not is_finished(output)

    def fail(*arguments: object) -> None:
        raise AssertionError("a frame is made again")

    monkeypatch.setattr(Upscaler, "render", fail)
    report = run(clip, output, upscaler)
    assert (report.frames, report.resumed_frames, report.verification.ok) == (5, 5, True)
    assert output.read_bytes() == made
    assert is_finished(output)
    assert not work_folder(output).exists()


def test_kept_work_of_a_checked_output_is_discarded(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, output = write_clip(tmp_path / "in.mp4", frames=3, sound=False), tmp_path / "out.mp4"
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "remove", Journal.release)
        run(clip, output, upscaler)
    assert json.loads((work_folder(output) / JOURNAL).read_text())["checked"]["frames"] == 3
    discard_checked(output)
    assert not work_folder(output).exists()
    assert output.exists()


def test_a_failed_output_replaces_no_other_file(
    tmp_path: Path, upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "film.failed-check.mp4", frames=3, sound=False)
    before, output = source.read_bytes(), tmp_path / "film.mp4"
    wrong = Verification({"frames": Check(3, 2, False)})
    with monkeypatch.context() as patch:
        patch.setattr("safa.jobs.report.verify", lambda path, expected: wrong)
        for _ in range(2):  # the second replaces what the first put aside
            report = run(source, output, upscaler)
            assert report.output == tmp_path / "film.failed-check-2.mp4"
    assert source.read_bytes() == before
    assert not output.exists()
    assert not (tmp_path / "film.failed-check-3.mp4").exists()


def test_foreign_files_in_a_work_folder_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out.mp4.safa-work"
    journal = Journal(folder, {}, 4)
    for name in (".DS_Store", "._a", "notes.txt", "2020.jpg"):
        (folder / name).touch()
    journal.remove()
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "2020.jpg"}
    for name in ("notes.txt", "2020.jpg"):
        with pytest.raises(OutputError, match="which safa did not make"):
            Journal(folder, {}, 4)
        (folder / name).unlink()
    (folder / ".DS_Store").touch()
    Journal(folder, {}, 4).remove()
    assert not folder.exists()


def test_each_segment_is_read_once_for_joining(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "work", {}, 2)
    for number in (1, 0, 2):
        path = journal.segment_path(number)
        path.touch()
        journal.add(path, [2 * number, 2 * number + 1], 0)
    journal.add(journal.segment_path(1), [2, 3], 0)  # again: it counts once
    assert journal.frames == 6
    assert [segment.first for segment in journal.segments] == [0, 2, 4]
    assert journal.segments is journal.segments
    journal.release()
    assert Journal(tmp_path / "work", {}, 2).frames == 6


def test_an_output_that_is_a_link_is_followed(tmp_path: Path, upscaler: Upscaler) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "film.mp4").write_text("old")
    (tmp_path / "out.mp4").symlink_to(tmp_path / "disk" / "film.mp4")
    assert unfinished(tmp_path / "out.mp4").parent == tmp_path / "disk"
    clip = write_clip(tmp_path / "in.mp4", frames=2, sound=False)
    assert run(clip, tmp_path / "out.mp4", upscaler, overwrite=True).verification.ok
    assert (tmp_path / "out.mp4").is_symlink()
    assert (tmp_path / "disk" / "film.mp4").stat().st_size > 100
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["film.mp4"]


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert whole_output(Path("%04d.png")) == tmp_path.resolve()
    assert whole_output(Path("../x/%04d.png")) == Path("../x")


def test_reservations_of_two_threads_both_count() -> None:
    budget = Budget(1 << 32, "cpu")
    first, second = budget.reserve(100), budget.reserve(30)
    first.__enter__()
    thread = threading.Thread(target=second.__enter__)
    thread.start()
    thread.join()
    assert budget._other_bytes(1) == 130
    with budget.reserve(7):  # in the same thread: instead of the first
        assert budget._other_bytes(1) == 37
    first.__exit__(None, None, None)
    assert budget._other_bytes(1) == 30
    second.__exit__(None, None, None)
    assert budget._other_bytes(1) > 130
