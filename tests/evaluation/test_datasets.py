"""Each data set in a made-up tree of its published layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from safa.errors import SafaError
from safa.evaluation.datasets import open_dataset
from tests.evaluation.footage import moving, save_pictures, save_video


def names_and_counts(name: str, root: Path | None = None, names: Path | None = None) -> dict[str, int]:
    return {sequence.name: sequence.count() for sequence in open_dataset(name, root, names=names).sequences}


def test_vid4(tmp_path: Path) -> None:
    save_pictures(tmp_path / "city", moving(3), "{:08}.webp")
    save_pictures(tmp_path / "walk", moving(4), "{:08}.png")
    (tmp_path / "empty").mkdir()
    assert names_and_counts("vid4", tmp_path) == {"city": 3, "walk": 4}
    assert open_dataset("vid4", tmp_path).factor == 2


@pytest.mark.parametrize("below", [".", "test"])
def test_video_inr_layout(tmp_path: Path, below: str) -> None:
    for name in ("GOPR1", "IMG_2", "IMG_3"):
        save_pictures(tmp_path / below / name, moving(10))
    listed = tmp_path / "folders.txt"
    listed.write_text("IMG_2\nGOPR1\n\n")
    assert names_and_counts("adobe240", tmp_path, listed) == {"IMG_2": 10, "GOPR1": 10}
    assert open_dataset("gopro", tmp_path).factor == 8


def test_vimeo90k(tmp_path: Path) -> None:
    for name in ("00001/0001", "00001/0266", "00002/0001"):
        folder = save_pictures(tmp_path / "sequences" / name, moving(8), "im{}.png")
        (folder / "im0.png").unlink()  # they are numbered from 1
    (tmp_path / "sep_testlist.txt").write_text("00001/0266\n00002/0001\n")
    assert names_and_counts("vimeo90k", tmp_path) == {"00001/0266": 7, "00002/0001": 7}


def test_ucf101(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "7", moving(3), "frame_0{}.png")
    (folder / "frame_01.png").rename(folder / "frame_01_gt.png")
    (sequence,) = open_dataset("ucf101", tmp_path).sequences
    assert [path.name for path in sequence.paths] == ["frame_00.png", "frame_01_gt.png", "frame_02.png"]  # type: ignore[attr-defined]


def test_middlebury(tmp_path: Path) -> None:
    save_pictures(tmp_path / "other-data" / "Venus", moving(2), "frame1{}.png")
    save_pictures(tmp_path / "other-gt-interp" / "Venus", moving(1), "frame1{}i11.png")
    (sequence,) = open_dataset("middlebury", tmp_path).sequences
    assert [path.name for path in sequence.paths] == ["frame10.png", "frame10i11.png", "frame11.png"]  # type: ignore[attr-defined]


def test_any_folder_of_frames_and_videos(tmp_path: Path) -> None:
    save_pictures(tmp_path / "a" / "deep", moving(3))
    save_video(tmp_path / "b.mkv", moving(5))
    assert names_and_counts(str(tmp_path)) == {"a/deep": 3, "b.mkv": 5}
    assert names_and_counts(str(tmp_path / "a" / "deep")) == {"deep": 3}
    assert names_and_counts(str(tmp_path / "b.mkv")) == {"b": 5}


def test_footage_is_named_after_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_pictures(tmp_path / "mine", moving(3))
    monkeypatch.chdir(tmp_path / "mine")
    assert open_dataset(".").name == "mine"
    assert names_and_counts(".") == {"mine": 3}


def test_a_sequence_that_is_not_there_is_named(tmp_path: Path) -> None:
    save_pictures(tmp_path / "city", moving(3))
    listed = tmp_path / "list.txt"
    listed.write_text("city\nlost\n")
    with pytest.raises(SafaError, match="lost is missing"):
        open_dataset("vid4", tmp_path, names=listed)


def test_a_list_names_sequences_of_the_data_set_alone(tmp_path: Path) -> None:
    save_pictures(tmp_path / "all" / "a", moving(3))
    (tmp_path / "all" / "empty").mkdir()
    listed = tmp_path / "list.txt"
    listed.write_text("a\nempty\n")
    for name, root in ((str(tmp_path / "all"), None), ("vid4", tmp_path / "all")):
        with pytest.raises(SafaError, match=r"empty is"):
            open_dataset(name, root, names=listed)
    with pytest.raises(SafaError, match="is one sequence"):
        open_dataset(str(tmp_path / "all" / "a"), names=listed)


@pytest.mark.parametrize(
    ("name", "root", "factor", "message"),
    [
        ("vid4", "frames/0.png", None, "needs the folder"),
        ("gopro", "frames/0.png", None, "needs the folder"),
        ("frames", None, 0, "time factor is 0"),
        ("vid5", None, None, "neither a file or folder nor one of vid4"),
        ("vid4", None, None, "needs the folder"),
        ("vid4", "here", None, "no sequences of frames"),
        ("here", None, None, "no sequences of frames"),
        ("frames", None, 17, "time factor is 17"),
        ("frames", None, 1, "time factor is 1"),
    ],
)
def test_what_cannot_be_opened_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, root: str | None, factor: int | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    save_pictures(tmp_path / "frames", moving(1))
    with pytest.raises(SafaError, match=message):
        open_dataset(name, Path(root) if root else None, factor)
