import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from safa.errors import JournalMismatch, OutputError
from safa.files import publish
from safa.video.colour import Colour
from safa.video.encoder import OutputSpec, check_output
from safa.video.journal import Journal, is_published, work_folder
from safa.video.mux import mux
from safa.video.schedule import OutputTime
from safa.video.segments import SegmentWriter
from tests.video.making import convert, frame_hashes, make_video, write_frames

# Windows has no SIGKILL; there SIGTERM ends a process just as suddenly.
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@pytest.mark.parametrize("stop_after", [3, 8, 13])
def test_resumed_run_equals_an_uninterrupted_one(tmp_path, clip, stop_after):
    convert(clip, tmp_path / "whole.mp4")
    output = tmp_path / "resumed.mp4"
    assert write_frames(clip, output, stop_after=stop_after) is None
    journal, spec, plan, kept = write_frames(clip, output)
    assert kept == stop_after // 8 * 8  # no more than one segment is done twice
    mux(journal, spec, plan)
    assert frame_hashes(output) == frame_hashes(tmp_path / "whole.mp4")


def test_killed_process_leaves_only_whole_segments(tmp_path, clip):
    """A real kill -9 in mid-segment, no clean-up of any kind."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from tests.video.making import write_frames\n"
        "from safa.video.segments import SegmentWriter\n"
        "write = SegmentWriter.write\n"
        "def write_19(self, image, moment):\n"
        "    write(self, image, moment)\n"
        f"    if moment.index * 2 + moment.t * 2 == 18: os.kill(os.getpid(), {int(KILL)})\n"
        "SegmentWriter.write = write_19\n"
        "write_frames(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    output = tmp_path / "killed.mp4"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", script, clip, output], env=os.environ | {"PYTHONPATH": path}, check=False
    )
    assert run.returncode == (-KILL if os.name == "posix" else int(KILL))
    journal, spec, plan, kept = write_frames(clip, output)
    assert kept == 16
    mux(journal, spec, plan)
    convert(clip, tmp_path / "whole.mp4")
    assert frame_hashes(output) == frame_hashes(tmp_path / "whole.mp4")


@pytest.mark.parametrize("damage", ["truncate", "delete", "no record", "torn record"])
def test_damaged_segments_are_made_again(tmp_path, clip, damage):
    output = tmp_path / "out.mp4"
    journal, *_ = write_frames(clip, output)
    hurt = journal.segments[1].path
    if damage == "truncate":
        hurt.write_bytes(hurt.read_bytes()[:-10])
    elif damage == "delete":
        hurt.unlink()
    elif damage == "no record":
        hurt.with_suffix(".json").unlink()
    else:
        hurt.with_suffix(".json").write_text('{"times": [1,')
    journal, _, _, kept = write_frames(clip, output)
    assert kept == 15  # the segments on both sides stay
    assert journal.frames == 23


@pytest.mark.parametrize("change", [{"fingerprint": {"input": "b"}}, {"crf": 30}])
def test_other_work_is_not_continued(tmp_path, clip, change):
    output = tmp_path / "out.mp4"
    write_frames(clip, output, stop_after=10)
    with pytest.raises(JournalMismatch, match=r"another (input|settings).*--restart"):
        write_frames(clip, output, **change)
    *_, kept = write_frames(clip, output, restart=True, **change)
    assert kept == 0


def test_damaged_journal_says_what_to_do(tmp_path, clip):
    output = tmp_path / "out.mp4"
    write_frames(clip, output, stop_after=10)
    (work_folder(output) / "journal.json").write_text("{")
    with pytest.raises(JournalMismatch, match="--restart"):
        write_frames(clip, output)


def test_foreign_files_are_not_deleted(tmp_path, clip):
    output = tmp_path / "out.mp4"
    work_folder(output).mkdir()
    (work_folder(output) / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        write_frames(clip, output)
    assert (work_folder(output) / "thesis.txt").exists()


def test_a_segment_that_is_too_short_for_its_place_is_made_again(tmp_path, clip):
    output = tmp_path / "out.mp4"
    journal, *_ = write_frames(clip, output)
    short = journal.segments[2]
    journal.release()
    for suffix in (".mkv", ".json"):
        (journal.folder / "000001").with_suffix(suffix).write_bytes(short.path.with_suffix(suffix).read_bytes())
    journal, _, _, kept = write_frames(clip, output)
    assert kept == 8 + 7
    assert journal.frames == 23


def test_an_output_tells_whether_this_job_put_it_there(tmp_path, clip):
    output = tmp_path / "out.mp4"
    journal, spec, plan, _ = write_frames(clip, output)
    assert not is_published(output)
    mux(journal, spec, plan)
    assert is_published(output)
    output.write_bytes(b"somebody else's")
    assert not is_published(output)


def test_the_journal_outlives_the_segments(tmp_path, clip, monkeypatch):
    output = tmp_path / "out.mp4"
    journal, spec, plan, _ = write_frames(clip, output)
    mux(journal, spec, plan)
    removed, unlink = [], Path.unlink

    def note(path, missing_ok=False):
        if path.name == "journal.json":
            assert is_published(output)
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    journal.remove()
    assert removed[-1] == "journal.json"
    assert not journal.folder.exists()


def test_finished_journal_remembers_the_end(tmp_path, clip):
    output = tmp_path / "out.mp4"
    journal, *_ = write_frames(clip, output)
    stored = json.loads((journal.folder / "journal.json").read_text())["fingerprint"]
    assert Journal(journal.folder, stored, 8).end == journal.end == Fraction(1, 2)


def test_two_runs_of_one_job_do_not_mix(tmp_path):
    spec = spec_for(tmp_path / "out.mp4")
    with SegmentWriter(work_folder(spec.path), spec, {}), pytest.raises(OutputError, match="is in use"):
        SegmentWriter(work_folder(spec.path), spec, {})
    SegmentWriter(work_folder(spec.path), spec, {}).close()


def spec_for(path: Path) -> OutputSpec:
    return OutputSpec(path, 64, 48, Fraction(1, 24), Fraction(24), Colour().resolved(48), preset="ultrafast")


def test_full_disk_keeps_finished_segments(tmp_path, monkeypatch):
    spec = spec_for(tmp_path / "out.mp4")
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with SegmentWriter(work_folder(spec.path), spec, {}, frames_per_segment=4) as writer:
        for number in range(6):
            writer.write(noise, OutputTime(number, number, Fraction(0), Fraction(number, 24)))
        real = publish

        def full(temporary, final):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("safa.video.segments.publish", full)
        with pytest.raises(OutputError, match=r"no space left.*4 finished frames are kept.*same command again"):
            writer.finish(Fraction(6, 24))
        monkeypatch.setattr("safa.video.segments.publish", real)
    with SegmentWriter(work_folder(spec.path), spec, {}, frames_per_segment=4) as writer:
        assert writer.frames_done == 4


def write_noise(writer, count):
    rng = np.random.default_rng(0)
    for number in range(count):
        image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        writer.write(image, OutputTime(number, number, Fraction(0), Fraction(number, 24)))


def test_libav_write_errors_are_caught_too(tmp_path):
    """A file-size limit makes FFmpeg's own writes fail, as a full disk does."""
    resource = pytest.importorskip("resource")
    spec = replace(spec_for(tmp_path / "out.mp4"), crf=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with SegmentWriter(work_folder(spec.path), spec, {}, frames_per_segment=10_000) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(OutputError, match="no space left"):
                write_noise(writer, 200)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_encoder_that_gives_up_is_one_sentence(tmp_path):
    spec = replace(spec_for(tmp_path / "out.mp4"), width=63)  # odd: not possible in 4:2:0
    failed = pytest.raises(OutputError, match=r"encoder for h264 failed.*0 finished frames are kept")
    with SegmentWriter(work_folder(spec.path), spec, {}) as writer, failed:
        writer.write(np.zeros((48, 63, 3), np.uint8), OutputTime(0, 0, Fraction(0), Fraction(0)))


def test_wrong_size_is_a_bug_of_the_caller(tmp_path):
    spec = spec_for(tmp_path / "out.mp4")
    with (
        SegmentWriter(work_folder(spec.path), spec, {}) as writer,
        pytest.raises(ValueError, match="expected 48 x 64"),
    ):
        writer.write(np.zeros((10, 10, 3), np.uint8), OutputTime(0, 0, Fraction(0), Fraction(0)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.doc", "must end in one of"),
        ("nowhere/out.mp4", "is no folder"),
        ("clip.mp4", "is the input itself"),
        ("folder.mp4", "is a folder"),
    ],
)
def test_bad_outputs_are_refused_before_work(tmp_path, name, message):
    source = make_video(tmp_path / "clip.mp4")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / name, source)
