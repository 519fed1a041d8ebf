"""A name is a name: only a number in a picture's name makes it a pattern."""

from fractions import Fraction
from pathlib import Path

import cv2
import pytest

from safa.data.sequences import footage
from safa.errors import OutputError
from safa.jobs.batch import plan_batch
from safa.video.encoder import check_output
from safa.video.file_source import VideoReader
from safa.video.files import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from safa.video.folder_source import FolderReader
from safa.video.journal import work_folder
from safa.video.verify import verify
from tests.video.making import SIZE, convert, make_video, picture


@pytest.mark.parametrize("name", ["100% real.mp4", "take %d.mp4", "%06d.mkv", "50%.gif", "%s.mov", "100%.webp"])
def test_a_film_may_have_any_name(tmp_path, clip, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "other.txt").touch()
    output = tmp_path / "out" / name
    check_output(output, clip)
    assert work_folder(output).name == f"{name}.safa-work"
    settings = {"codec": "rgb", "pixel_format": "bgr0"} if output.suffix in (".gif", ".webp") else {}
    verification = verify(output, convert(clip, output, **settings))
    assert verification.ok, verification.failures()
    assert output.is_file()
    if output.suffix != ".webp":
        with VideoReader(output) as reader:
            assert list(reader.frames())


def test_pictures_may_have_a_percent_sign_beside_their_number(tmp_path, clip):
    output = tmp_path / "new" / "100% %03d.png"
    check_output(output, clip)
    verification = verify(output, convert(clip, output, codec="rgb", pixel_format="bgr0", rate=1))
    assert verification.ok, verification.failures()
    assert sorted(path.name for path in output.parent.iterdir())[:2] == ["100% 001.png", "100% 002.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f%.png", "need a number"),
        ("%s.png", "need a number"),
        ("%-6d.png", "need a number"),
        ("%03d of %d.png", "need one number"),
        ("%06d.webp", "numbered pictures are written as PNG"),
    ],
)
def test_other_patterns_are_refused_before_work(tmp_path, clip, name, message):
    with pytest.raises(OutputError, match=message):
        check_output(tmp_path / "new" / name, clip)


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = make_video(tmp_path / "a.mp4", times=range(4)).rename("12:30.mp4")
    output = Path("13:30.mp4")
    expected = convert(Path(source.name), output, rate=1)
    assert verify(output, expected).ok
    assert expected.end == Fraction(4, 24)


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_what_is_a_video_to_one_command_is_one_to_all(tmp_path, suffix):
    film = tmp_path / f"film{suffix.upper()}"
    film.touch()
    assert [source for source, _ in plan_batch([tmp_path], tmp_path.parent / "out")] == [film]
    assert [sequence.path for sequence in footage(tmp_path, None)] == [film]


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
def test_what_is_a_picture_to_one_command_is_one_to_all(tmp_path, suffix):
    path = tmp_path / f"1{suffix.upper()}"
    path.write_bytes(cv2.imencode(suffix if suffix != ".tiff" else ".tif", picture(0))[1].tobytes())
    assert [sequence.paths for sequence in footage(tmp_path, None)] == [(path,)]
    with FolderReader(tmp_path, Fraction(24)) as reader:
        assert reader.info.width == SIZE[0]
