"""What the look at a video's pictures finds in videos that were made to have it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from safa.cli import info
from safa.errors import MediaError
from safa.video import probe
from safa.video.probe import look_at
from tests.media import write_video
from tests.video.making import make_interlaced, make_video

WIDTH, HEIGHT = 128, 96
GENERATOR = np.random.default_rng(3)
TEXTURE = GENERATOR.integers(0, 256, (HEIGHT // 4, 6 * WIDTH // 4, 3)).repeat(4, 0).repeat(4, 1).astype(np.float32)


def moving(number: int) -> np.ndarray:
    """A smooth texture that moves 3 pixels a frame."""
    view = TEXTURE[:, 3 * number : 3 * number + WIDTH]
    smooth = sum(np.roll(view, (y, x), (0, 1)) for y in range(4) for x in range(4)) / 16
    return np.asarray(smooth * 0.6 + 40, np.uint8)


def write(path: Path, pictures: list[np.ndarray], codec: str = "ffv1", pixels: str = "yuv444p") -> Path:
    """25 frames per second."""
    return write_video(path, pictures, codec=codec, pixel_format=pixels)


def test_a_clean_video_has_none_of_it(tmp_path: Path) -> None:
    found = look_at(write(tmp_path / "clean.mkv", [moving(k) for k in range(40)]))
    assert found.frames == 40
    assert not found.interlaced
    assert found.blockiness < 1.1
    assert found.noise < 1
    assert (found.repeated, found.variable_rate, found.cuts, found.cuts_per_minute) == (0, False, 0, 0)
    assert found.seconds == pytest.approx(39 / 25)


def test_noise_is_measured_in_steps(tmp_path: Path) -> None:
    noisy = [np.clip(moving(k) + GENERATOR.normal(0, 5, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8) for k in range(9)]
    assert look_at(write(tmp_path / "noisy.mkv", noisy)).noise == pytest.approx(5, rel=0.15)


def test_blocks_are_found_at_any_phase() -> None:
    luma = moving(0)[..., 1].astype(np.float32)
    averaged = luma.reshape(HEIGHT // 8, 8, WIDTH // 8, 8).mean((1, 3)).repeat(8, 0).repeat(8, 1)
    for dropped in (0, 3):
        steps = probe.BlockSteps()
        steps.add((0.7 * luma + 0.3 * averaged)[dropped:, dropped:])
        assert steps.blockiness() > 1.3
    plain = probe.BlockSteps()
    plain.add(np.full((4, 4), 9, np.float32))  # smaller than a block
    assert plain.blockiness() == 1


def test_hard_compression_shows_in_blocks_and_bits(tmp_path: Path) -> None:
    coarse = make_video(tmp_path / "coarse.avi", codec="mpeg4", size=(128, 96), options={"qmin": "28"})
    fine = make_video(tmp_path / "fine.avi", codec="mpeg4", size=(128, 96), options={"qmin": "1", "qmax": "2"})
    assert look_at(coarse).blockiness > look_at(fine).blockiness
    assert look_at(coarse).bits_per_pixel < look_at(fine).bits_per_pixel


def test_bits_are_those_of_the_packets(clip: Path) -> None:
    with av.open(str(clip)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert look_at(clip).bits_per_pixel == pytest.approx(8 * sum(sizes) / (len(sizes) * 64 * 48))


def test_two_fields_are_seen_where_nothing_marks_them(tmp_path: Path) -> None:
    woven = []
    for k in range(12):
        picture = moving(2 * k)
        picture[1::2] = moving(2 * k + 1)[1::2]
        woven.append(picture)
    found = look_at(write(tmp_path / "woven.mkv", woven))
    assert (found.interlaced, found.marked_interlaced) == (True, False)
    marked = look_at(make_interlaced(tmp_path / "marked.mpg"))
    assert (marked.interlaced, marked.marked_interlaced) == (True, True)


def test_repeated_frames_are_counted(tmp_path: Path) -> None:
    twos = look_at(write(tmp_path / "twos.mkv", [moving(k // 2) for k in range(40)]))
    assert twos.repeated == pytest.approx(0.5, abs=0.05)


def test_a_varying_rate_is_noticed(tmp_path: Path) -> None:
    even, uneven = range(12), [0, 1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13]
    assert not look_at(make_video(tmp_path / "even.mp4", even)).variable_rate
    assert look_at(make_video(tmp_path / "uneven.mp4", uneven)).variable_rate
    rounded = [round(k * 1000 * 1001 / 30000) for k in range(12)]  # milliseconds
    assert not look_at(make_video(tmp_path / "rounded.mkv", rounded, Fraction(1, 1000))).variable_rate


def test_cuts_of_a_short_video_are_counted(tmp_path: Path) -> None:
    scenes = [moving(k) if k < 20 else 255 - moving(k) // 2 for k in range(40)]
    found = look_at(write(tmp_path / "cut.mkv", scenes))
    assert found.cuts == 1
    assert found.cuts_per_minute == pytest.approx(60 * 25 / 39)


def test_a_long_video_is_looked_at_in_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one of 200 frames counts as long."""
    whole = look_at(long := make_video(tmp_path / "long.mp4", range(200), options={"g": "20"}))
    monkeypatch.setattr(probe, "WHOLE_FRAMES", 100)
    found = look_at(long)
    assert found.frames == 48
    assert found.seconds > 7
    assert found.cuts is None
    assert found.bits_per_pixel == pytest.approx(whole.bits_per_pixel, rel=0.2)


def test_cuts_of_a_long_video_are_told_from_parts_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut every half second, in one that counts as long."""
    scenes = [255 - moving(k) // 2 if k // 12 % 2 else moving(k) for k in range(200)]
    cut, still = write(tmp_path / "cut.mkv", scenes), write(tmp_path / "still.mkv", [moving(k) for k in range(200)])
    monkeypatch.setattr(probe, "WHOLE_FRAMES", 160)
    found = look_at(cut)
    assert (found.frames, found.cuts) == (48, None)
    assert found.cuts_per_minute == pytest.approx(60 * 25 / 12, rel=0.3)
    assert info.look_rows(found)[2][1].endswith("a minute in the examined parts")
    assert info.look_rows(look_at(still))[2][1] == "none in the examined parts"


def test_a_video_that_does_not_say_how_long_it_is(tmp_path: Path) -> None:
    found = look_at(make_video(tmp_path / "plain.h264", range(40)))
    assert found.frames > 4


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no such file"):
        look_at(tmp_path / "nothing.mp4")
    (tmp_path / "text.mp4").write_text("a letter\n" * 99)
    with pytest.raises(MediaError, match="not a video"):
        look_at(tmp_path / "text.mp4")
