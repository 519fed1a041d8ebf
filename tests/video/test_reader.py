import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from safa.video.file_source import VideoReader
from tests.video.making import make_interlaced, make_video, picture


def times_of(path, **selection):
    with VideoReader(path, **selection) as reader:
        frames = list(reader.frames())
        return reader, [frame.time for frame in frames], frames[-1].time + frames[-1].duration


def test_constant_rate_times_are_exact(clip):
    reader, times, end = times_of(clip)
    assert times == [Fraction(k, 24) for k in range(12)]
    assert end == Fraction(1, 2)
    assert reader.problems == []
    assert reader.info.frames == 12


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_variable_rate_times_are_kept(tmp_path, suffix):
    ticks = (0, 40, 50, 133, 140, 500)
    path = make_video(tmp_path / f"vfr{suffix}", ticks, Fraction(1, 1000))
    _, times, _ = times_of(path)
    assert times == [Fraction(tick, 1000) for tick in ticks]


def test_durations_fill_the_span_and_the_start_is_kept(tmp_path):
    path = make_video(tmp_path / "late.mp4", range(36, 48), audio=0.5)
    with VideoReader(path) as reader:
        frames = list(reader.frames())
    assert frames[0].time == Fraction(36, 24)
    assert sum(frame.duration for frame in frames) == Fraction(12, 24)


def test_pictures_are_rgb_of_the_right_colours(tmp_path):
    path = make_video(tmp_path / "still.mp4", range(3), options={"crf": "1"})
    with VideoReader(path) as reader:
        frame = next(reader.frames())
    assert frame.image.shape == (48, 64, 3)
    assert frame.image.dtype == np.uint8
    assert abs(frame.image.astype(int) - picture(0)).mean() < 4


def test_deeper_than_eight_bits_is_uint16_full_range(tmp_path):
    path = make_video(tmp_path / "deep.mkv", range(3), codec="ffv1", pixel_format="yuv420p10le")
    with VideoReader(path) as reader:
        frame = next(reader.frames())
        assert reader.info.bit_depth == 10
    assert frame.image.dtype == np.uint16
    assert abs(frame.image.astype(int) / 257 - picture(0)).mean() < 4


def test_alpha_is_a_fourth_channel(tmp_path):
    path = make_video(tmp_path / "alpha.mov", range(2), codec="png", pixel_format="rgba")
    with VideoReader(path) as reader:
        assert reader.info.has_alpha
        assert next(reader.frames()).image.shape == (48, 64, 4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_selection_is_exact_whatever_the_keyframes(tmp_path, suffix):
    path = make_video(tmp_path / f"long{suffix}", range(72), options={"g": "24"}, audio=3.0)
    with VideoReader(path) as reader:
        whole = [(frame.time, frame.image) for frame in reader.frames()]
    start, end = Fraction(13, 10), Fraction(22, 10)
    with VideoReader(path, start=start, end=end) as reader:
        chosen = list(reader.frames())
        expected = [item for item in whole if start <= item[0] < end]
        assert reader.is_cut
        assert reader.origin == expected[0][0] + reader.info.clock_zero
        assert reader.problems == []
    assert [frame.time for frame in chosen] == [time - expected[0][0] for time, _ in expected]
    for frame, (_, image) in zip(chosen, expected, strict=True):
        assert np.array_equal(frame.image, image)


def test_arbitrary_clocks_start_at_zero(tmp_path):
    path = make_video(tmp_path / "tuner.ts", range(100, 112), audio=0.5, audio_start=4.0)
    with VideoReader(path) as reader:
        first = next(reader.frames())
        assert reader.origin == reader.info.clock_zero > 0
    # sound starts at 4 s less the encoder's padding of 1024 samples, pictures at 100 / 24 s
    assert abs(first.time - (Fraction(100, 24) - 4 + Fraction(1024, 48000))) < Fraction(1, 1000)


def test_memory_does_not_hold_the_file(clip):
    with VideoReader(clip) as reader:
        frames = reader.frames()
        first = next(frames).image.copy()
        kept = next(frames)
        del frames
    assert not np.array_equal(first, kept.image)  # each image has its own memory


def test_info_names_the_other_streams(clip):
    with VideoReader(clip) as reader:
        info = reader.info
    assert (info.width, info.height, info.codec, info.pixel_format) == (64, 48, "h264", "yuv420p")
    assert info.average_rate == 24
    assert [(stream.kind, stream.codec) for stream in info.streams] == [("audio", "aac")]
    assert info.to_dict()["average_rate"] == "24"


def test_truncated_file_is_no_silent_success(tmp_path):
    path = make_video(tmp_path / "cut.mp4", range(48), container_options={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with VideoReader(path) as reader:
        count = sum(1 for _ in reader.frames())
        assert 0 < count < 48
        assert any("of the 48 frames" in problem for problem in reader.problems)


def test_damage_inside_is_reported(tmp_path):
    path = make_video(tmp_path / "damaged.mkv", range(48))
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][20]
        position, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[position + size // 2 : position + size] = bytes(size - size // 2)
    path.write_bytes(data)
    with VideoReader(path) as reader:
        assert sum(1 for _ in reader.frames()) > 40
        assert reader.problems


def test_size_change_in_mid_file_is_told(tmp_path):
    parts = [make_video(tmp_path / f"{size[0]}.ts", range(6), size=size).read_bytes() for size in [(64, 48), (96, 64)]]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    with VideoReader(path) as reader:
        assert {frame.image.shape for frame in reader.frames()} == {(48, 64, 3)}
    assert any(problem.startswith("the picture size changes from 64x48 to 96x64") for problem in reader.problems)


def combing(image):
    """How much more neighbouring lines differ than lines of one field do."""
    lines = image.astype(int)
    return abs(lines[1:] - lines[:-1]).mean() - abs(lines[2:] - lines[:-2]).mean() / 2


def test_interlaced_video_is_made_whole(tmp_path):
    path = make_interlaced(tmp_path / "fields.mpg")
    combs, times = [], []
    for deinterlace in (False, True):
        with VideoReader(path, deinterlace=deinterlace) as reader:
            assert reader.info.interlaced
            frames = list(reader.frames())
        combs.append(np.mean([combing(frame.image) for frame in frames]))
        times.append([frame.time for frame in frames])
    assert times[0] == times[1] == [Fraction(k, 25) for k in range(12)]
    assert combs[1] < combs[0] * 0.7


def test_timestamp_that_is_hours_off_is_repaired(tmp_path):
    path = make_video(tmp_path / "jump.mkv", [*range(0, 11 * 42, 42), 36_000_000], Fraction(1, 1000))
    data = path.read_bytes()
    place = data.index(b"\x44\x89\x88") + 3  # EBML: Duration, a float of 8 bytes, in milliseconds
    path.write_bytes(data[:place] + struct.pack(">d", 500.0) + data[place + 8 :])
    with VideoReader(path) as reader:
        times = [frame.time for frame in reader.frames()]
        assert "timestamp" in reader.problems[0]
    assert len(times) == 12
    assert times[-1] < 1
