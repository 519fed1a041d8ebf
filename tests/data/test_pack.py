"""Training packs: what goes in, what comes out, and readers of published layouts."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.data_fixtures import texture, write_frames

from safa.data.codec import decode_stream
from safa.data.dataset import SampleSettings, TrainingData, open_material
from safa.data.material import find_material, held_out_names
from safa.data.pack import PackSettings, pack
from safa.errors import SafaError

SETTINGS = PackSettings(side=64, size=2, held_out=0.25)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four moving clips, and what has no place in a pack: a still one, a blurred one and a cut."""
    folder = tmp_path_factory.mktemp("source")
    for k in range(4):
        write_frames(folder / f"moving{k}", seed=k, count=18)
    write_frames(folder / "still", speed=0)
    blurred = write_frames(folder / "blurred", seed=8)
    for path in blurred.iterdir():
        cv2.imwrite(str(path), cv2.GaussianBlur(cv2.imread(str(path)), (0, 0), 12))
    cut = write_frames(folder / "cut", seed=5)
    cv2.imwrite(str(cut / "0004.png"), texture(77, 96, 96))
    for k in range(4):
        (folder / "photographs").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "photographs" / f"view{k * 3}.jpg"), texture(20 + k))
    return folder


@pytest.fixture(scope="module")
def packed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed") / "all.pack"
    pack(source, path, SETTINGS)
    return path


def index_of(path: Path) -> dict[str, list[dict[str, object]]]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("index.json"))


def test_sharp_moving_windows_go_in_and_nothing_else(packed: Path) -> None:
    names = {entry["name"] for entry in index_of(packed)["windows"]}
    assert names == {f"moving{k}" for k in range(4)}
    assert packed.stat().st_size < SETTINGS.size * 2**20


def test_whole_clips_are_held_out(packed: Path) -> None:
    material = open_material(packed, held_out=0.0)
    train, held_out = ({reel.name for reel in split.reels} for split in (material.train, material.held_out))
    assert train.isdisjoint(held_out)
    assert held_out == {entry["name"] for entry in index_of(packed)["windows"] if entry["split"] == "held out"} != set()
    assert len(material.held_out.stills) == 1


def test_named_clips_are_held_out(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "named.pack", PackSettings(side=64, hold_out=("moving2", "ing3")))
    material = open_material(tmp_path / "named.pack", held_out=0.0)
    assert {reel.name for reel in material.held_out.reels} == {"moving2", "moving3"}
    assert {reel.name for reel in material.train.reels} == {"moving0", "moving1"}
    with pytest.raises(SafaError, match="'nowhere' in its name"):
        pack(source, tmp_path / "none.pack", PackSettings(side=64, hold_out=("moving2", "nowhere")))
    assert not (tmp_path / "none.pack").exists()


def test_windows_come_back_as_they_were(packed: Path, source: Path) -> None:
    reel = open_material(packed, 0.0).train.reels[0]
    entry = next(entry for entry in index_of(packed)["windows"] if entry["name"] == reel.name)
    left, top = entry["place"]  # type: ignore[misc]
    for number, frame in zip((1, 6), reel.pick((1, 6)), strict=True):
        original = cv2.imread(str(source / reel.name / f"{int(entry['start']) + number:04}.png"))[..., ::-1]  # type: ignore[call-overload]
        error = np.abs(original[top : top + 64, left : left + 64].astype(int) - frame).mean()
        assert error < 3


def test_the_same_folder_gives_the_same_bytes(source: Path, packed: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "again.pack", SETTINGS)
    assert (tmp_path / "again.pack").read_bytes() == packed.read_bytes()


def test_a_smaller_pack_takes_the_best_windows(source: Path, packed: Path, tmp_path: Path) -> None:
    summary = pack(source, tmp_path / "small.pack", PackSettings(side=64, size=0.015))
    assert 0 < summary.mebibytes < 0.015
    assert summary.windows + summary.held_out_windows < len(index_of(packed)["windows"])


def test_of_too_many_clips_an_even_selection_is_packed(tmp_path: Path) -> None:
    for k in range(8):
        write_frames(tmp_path / "clips" / str(k), seed=k)
    pack(tmp_path / "clips", tmp_path / "x.pack", PackSettings(side=64, size=0.0125, held_out=0.0))
    names = [int(str(entry["name"])) for entry in index_of(tmp_path / "x.pack")["windows"]]
    assert names == sorted(names)
    assert names[0] < 3
    assert names[-1] > 4


def test_training_reads_packs(packed: Path) -> None:
    data = TrainingData(open_material(packed, 0.0).train, SampleSettings(patch=32, with_prior=False), 1, 10)
    assert data[3].frames.shape == (2, 3, 8, 8)


def inverted(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """A teacher whose pictures are easily told apart."""
    return [255 - frame for frame in frames]


@pytest.fixture(scope="module")
def taught(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taught") / "all.pack"
    settings = dataclasses.replace(SETTINGS, moving=3, graphics=0.5, quality=8)
    summary = pack(source, path, settings, teacher=inverted)
    assert summary.moving == 3
    return path


def test_the_teachers_pictures_are_those_of_the_frames(taught: Path) -> None:
    material = open_material(taught, 0.0)
    for reel in (*material.train.reels, *material.train.moving, *material.held_out.reels):
        for frame, picture in zip(reel.pick((1, 4)), reel.pick_taught((1, 4)), strict=True):
            assert np.abs(255 - frame.astype(int) - picture).mean() < 3


def test_photographs_in_motion_are_packed_to_train_on(taught: Path, packed: Path) -> None:
    train, held_out = open_material(taught, 0.0).train, open_material(taught, 0.0).held_out
    assert (len(train.moving), len(held_out.moving)) == (3, 0)
    windows = [np.stack(reel.pick(range(9))).astype(int) for reel in train.moving]
    assert all(window.shape == (9, 64, 64, 3) for window in windows)
    assert not np.array_equal(windows[0], windows[1])
    assert all(np.abs(np.diff(window, axis=0)).mean() > 0.1 for window in windows)
    # Those of clips are there as without them.
    names = {entry["name"] for entry in index_of(packed)["windows"]}
    assert {entry["name"] for entry in index_of(taught)["windows"] if not entry.get("moving")} == names


@pytest.mark.parametrize("still_share", [0.0, 1.0])
def test_samples_bring_the_teachers_pictures_of_the_same_place_and_view(taught: Path, still_share: float) -> None:
    settings = SampleSettings(frames=4, patch=32, with_prior=False, with_taught=True, still_share=still_share)
    data = TrainingData(open_material(taught, 0.0).train, settings, 1, 12)
    for sample in (data[k] for k in range(12)):
        assert sample.taught is not None
        pictures, between = sample.taught
        assert float((1 - sample.truths - pictures).abs().mean()) < 0.02
        assert float((1 - sample.between - between).abs().mean()) < 0.02


def test_samples_that_ask_for_a_teacher_need_a_pack_with_one(packed: Path) -> None:
    settings = SampleSettings(frames=4, patch=32, with_prior=False, with_taught=True)
    data = TrainingData(open_material(packed, 0.0).train, settings, 1, 12)
    with pytest.raises(SafaError, match="safa pack --teacher"):
        data[0]


def test_photographs_that_are_not_there_cannot_be_set_in_motion(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SafaError, match="no photographs"):
        pack(source / "moving0", tmp_path / "x.pack", dataclasses.replace(SETTINGS, moving=2))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_foreign_file_is_one_sentence(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no pack")
    with pytest.raises(SafaError, match="is no training pack"):
        open_material(tmp_path / "text", 0.0)
    data = packed.read_bytes()
    first = open_material(packed, 0.0).train.reels[0]
    (tmp_path / "hole").write_bytes(data[: first.offset] + bytes(first.size) + data[first.offset + first.size :])  # type: ignore[attr-defined]
    with pytest.raises(SafaError, match=r"damaged.*lacks frames"):
        open_material(tmp_path / "hole", 0.0).train.reels[0].pick((0, 8))


def test_a_failed_pack_leaves_nothing(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SafaError, match="sharp and moves"):
        pack(source / "still", tmp_path / "x.pack", SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_frames_are_told_from_photographs(source: Path) -> None:
    sequences, stills = find_material(source)
    assert len(sequences) == 7
    assert [path.name for path in stills] == ["view0.jpg", "view3.jpg", "view6.jpg", "view9.jpg"]


def test_pictures_of_one_run_that_differ_are_photographs(tmp_path: Path) -> None:
    for k in range(5):
        cv2.imwrite(str(tmp_path / f"IMG_{k}.jpg"), texture(k, *((320, 240) if k != 2 else (240, 320))))
    (tmp_path / "._clip.mp4").write_bytes(b"what macOS keeps beside a file")
    sequences, stills = find_material(tmp_path)
    assert (sequences, len(stills)) == ([], 5)


def test_frames_that_are_too_small_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "tiny", side=20)
    with pytest.raises(SafaError, match="tiny are 20x20 pixels"):
        pack(tmp_path, tmp_path / "x.pack", SETTINGS)


def test_a_picture_larger_than_webp_can_hold_is_reduced(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wide.png"), texture(0, 16400, 40))
    pack(tmp_path, tmp_path / "x.pack", PackSettings(held_out=0.0))
    (still,) = open_material(tmp_path / "x.pack", 0.0).train.stills
    assert still.levels[0].shape == (40, 16383, 3)


def test_what_is_held_out_depends_on_names_alone() -> None:
    names = [f"clip{k}" for k in range(20)]
    assert held_out_names(names, 0.1) == held_out_names(reversed(names), 0.1)
    assert len(held_out_names(names, 0.1)) == 2
    assert held_out_names(names[:4], 0.1) == set()


@pytest.mark.parametrize(
    ("layout", "folder", "listed"),
    [
        ("adobe240", "train/GOPR1", "folders.txt"),
        ("vimeo90k", "sequences/00001/0002", "sep_trainlist.txt"),
        ("reds", "train/train_sharp/003", None),
        ("frames", "anything", None),
    ],
)
def test_published_layouts(tmp_path: Path, layout: str, folder: str, listed: str | None) -> None:
    write_frames(tmp_path / folder, count=9)
    write_frames(tmp_path / folder.replace("train", "test") / "elsewhere", count=9)  # never to be trained on
    names = None
    if listed is not None:
        (tmp_path / listed).write_text("GOPR1\n" if layout == "adobe240" else "00001/0002\n")
        names = tmp_path / listed if layout == "adobe240" else None
    pack(tmp_path, tmp_path / "x.pack", SETTINGS, layout, names)
    assert {entry["name"] for entry in index_of(tmp_path / "x.pack")["windows"]} == {
        folder.removeprefix("train/").removeprefix("train_sharp/").removeprefix("sequences/")
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layout": "imagenet"}, "no layout 'imagenet'"), ({"names": Path("x")}, "needs the layout")],
)
def test_wrong_requests_are_one_sentence(
    source: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(SafaError, match=message):
        pack(source, tmp_path / "x.pack", SETTINGS, **options)  # type: ignore[arg-type]


def test_early_frames_do_not_need_the_later_ones(packed: Path) -> None:
    reel = open_material(packed, 0.0).train.reels[0]
    data = reel.path.read_bytes()[reel.offset : reel.offset + reel.size]  # type: ignore[attr-defined]
    assert len(decode_stream(data, "h264", 3)) == 3
