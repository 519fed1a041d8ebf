"""Uploads that are accepted and refused, and the sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from safa.errors import SafaError
from safa.video.pictures import load_picture
from safa.web.options import Options, ResultPlan
from safa.web.uploads import describe_upload, display_name
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


def test_a_picture_lying_down_is_turned_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 10), "red")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "camera.jpg", exif=exif)
    _, facts = describe_upload([(tmp_path / "camera.jpg", "camera.jpg")], LIMITS)
    assert (facts["width"], facts["height"]) == (10, 20)
    with Image.open(tmp_path / "camera.jpg") as upright:
        assert upright.size == (20, 10)  # as it was uploaded
    assert load_picture(tmp_path / "camera.jpg").shape == (20, 10, 3)


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
    options = Options("tiny", format="gif", smoothness=smoothness)
    if fits:
        ResultPlan("video", {"rate": "24"}, options).check()
    else:
        with pytest.raises(SafaError, match="would be 192"):
            ResultPlan("video", {"rate": "24"}, options).check()
    ResultPlan("pictures", {"count": 2}, options).check()


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/my clip.mp4", "my clip.mp4"),
        ("C:\\films\\a.mp4", "a.mp4"),
        ("a\r\nX: 1\x00\ud800\u202egpj.mp4", "aX: 1gpj.mp4"),
        ("", "upload"),
        ("  /", "upload"),
    ],
)
def test_names_of_uploads_are_only_shown(sent: str, shown: str) -> None:
    assert display_name(sent) == shown
