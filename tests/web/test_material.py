"""What is taken and what is refused, in which words."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from safa.errors import SafaError
from safa.video.read.pictures import load_picture
from safa.web.choices import DEFAULTS, possible
from safa.web.material import describe_upload
from tests.media import write_clip
from tests.video.making import make_video
from tests.web.making import LIMITS, write_picture


def test_a_clip_is_described(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=6)
    kind, facts = describe_upload([(clip, "mine.mp4")], LIMITS)
    assert kind == "video"
    assert (facts["width"], facts["height"], facts["frames"], facts["sound"]) == (48, 32, 6, True)
    assert facts["seconds"] == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        (replace(LIMITS, seconds=0.4), "mine.mp4 is 0.6 seconds long; this server takes at most 0.4 seconds."),
        (replace(LIMITS, pixels=600), "mine.mp4 is 48 x 32; this server takes at most 600 pixels a frame"),
    ],
)
def test_a_clip_beyond_a_limit_is_refused(tmp_path: Path, limits: object, sentence: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=6)
    with pytest.raises(SafaError) as refusal:
        describe_upload([(clip, "mine.mp4")], limits)  # type: ignore[arg-type]
    assert str(refusal.value).startswith(sentence)


@pytest.mark.parametrize("playlist", ["ffconcat version 1.0\nfile clip.mp4\n", "#EXTM3U\n#EXTINF:1,\nclip.mp4\n"])
def test_a_playlist_cannot_name_other_files(tmp_path: Path, playlist: str) -> None:
    write_clip(tmp_path / "clip.mp4")
    (tmp_path / "input").write_text(playlist)
    with pytest.raises(SafaError, match=r"list.txt is not a video"):
        describe_upload([(tmp_path / "input", "list.txt")], LIMITS)


def test_what_is_no_video_is_refused_by_the_name_it_came_with(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("a letter" * 100)
    with pytest.raises(SafaError, match=r"^letter.mp4 is not a video or picture"):
        describe_upload([(tmp_path / "input", "letter.mp4")], LIMITS)


def test_pictures_must_be_two_of_one_size(tmp_path: Path) -> None:
    a, b = write_picture(tmp_path / "a.png", 10), write_picture(tmp_path / "b.png", 20, (10, 14))
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    assert describe_upload([(a, "a"), (a, "b")], LIMITS) == ("pictures", {"width": 20, "height": 14, "count": 2})
    for files, words in (((a, b), "different sizes"), ((a, a, a), "too many"), ((a, clip), "not a picture")):
        with pytest.raises(SafaError, match=words):
            describe_upload([(path, path.name) for path in files], LIMITS)


def test_a_picture_is_measured_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("L", (3000, 3000)).save(tmp_path / "large.png")
    with pytest.raises(SafaError, match="3000 x 3000"):
        describe_upload([(tmp_path / "large.png", "large.png")], LIMITS)


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_turned_picture_is_that_it_is_read_with(
    tmp_path: Path, kind: str, mode: str, orientation: int
) -> None:
    path, picture = tmp_path / f"camera.{kind}", Image.new(mode, (20, 10))
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    before = path.read_bytes()
    _, facts = describe_upload([(path, path.name)], LIMITS)
    assert (facts["width"], facts["height"]) == ((10, 20) if orientation > 4 else (20, 10))
    assert load_picture(path).shape[:2] == (facts["height"], facts["width"])
    assert path.read_bytes() == before


def test_pages_of_a_tiff_are_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes time that grows with the square of their number."""

    def never(picture: TiffImageFile) -> int:
        raise AssertionError("pages are counted")

    page = Image.new("L", (20, 14))
    page.save(tmp_path / "pages.tif", save_all=True, append_images=[page] * 3)
    monkeypatch.setattr(TiffImageFile, "n_frames", property(never))
    assert describe_upload([(tmp_path / "pages.tif", "pages.tif")], LIMITS)[1]["count"] == 1


def test_a_damaged_second_page_leaves_the_first(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    Image.new("L", (20, 14)).save(path)
    data = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", data, 8)
    struct.pack_into("<I", data, 10 + 12 * entries, 255)  # where the next page's tags should be
    path.write_bytes(data)
    assert describe_upload([(path, "pages.tif")], LIMITS) == ("pictures", {"width": 20, "height": 14, "count": 1})
    assert load_picture(path).shape == (14, 20, 3)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_damaged_exif_data_leave_a_picture_upright(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    Image.new("RGB", (20, 14)).save(path, exif=b"Exif\0\0II*\0")
    assert describe_upload([(path, "a")], LIMITS) == ("pictures", {"width": 20, "height": 14, "count": 1})
    assert load_picture(path).shape == (14, 20, 3)


def test_a_jpeg_with_a_preview_behind_it_is_a_picture(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 14), "red")
    picture.save(tmp_path / "phone.jpg", "MPO", save_all=True, append_images=[picture.resize((10, 7))])
    assert describe_upload([(tmp_path / "phone.jpg", "phone.jpg")], LIMITS)[1]["width"] == 20


def test_every_part_of_a_joined_recording_counts(tmp_path: Path) -> None:
    part = make_video(tmp_path / "part.ts", range(24), codec="mpeg2video", options={"qscale": "5"}, audio=1)
    (tmp_path / "joined.ts").write_bytes(2 * part.read_bytes())
    facts = describe_upload([(tmp_path / "joined.ts", "joined.ts")], LIMITS)[1]
    assert (facts["frames"], facts["seconds"]) == (48, pytest.approx(2, abs=0.2))
    with pytest.raises(SafaError, match=r"at most 1\.5 seconds"):
        describe_upload([(tmp_path / "joined.ts", "joined.ts")], replace(LIMITS, seconds=1.5))


@pytest.mark.parametrize(("smoothness", "fits"), [("1", True), ("4", True), ("8", False), ("60fps", True)])
def test_a_gif_has_no_more_frames_than_it_can_show(smoothness: str, fits: bool) -> None:
    wanted = {**DEFAULTS, "format": "gif", "smoothness": smoothness}
    if fits:
        assert possible("video", {"rate": "24"}, wanted) == wanted
    else:
        with pytest.raises(SafaError, match="would be 192"):
            possible("video", {"rate": "24"}, wanted)
    assert possible("pictures", {"count": 2}, wanted) == wanted
