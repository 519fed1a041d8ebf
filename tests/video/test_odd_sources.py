"""Sources as cameras, discs and cutting programs leave them."""

from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from safa.errors import OutputError
from safa.video import timestamps
from safa.video.colour import Colour
from safa.video.encoder import LONGEST_NAME, OutputSpec, check_encoder, check_output
from safa.video.file_source import VideoReader
from safa.video.files import appearance
from safa.video.folder_source import content_digest
from safa.video.timestamps import find_splices
from safa.video.verify import verify
from tests.media import write_video
from tests.video.making import convert, make_video, picture
from tests.video.test_streams import texts


def tone(codec="pcm_s16le", layout="stereo", block=1152, seconds=0.5, rate=8000, start=0.0):
    """Adds sound that is given to the encoder in blocks of so many samples."""
    channels = 1 if layout == "mono" else 2

    def sound(container):
        stream = container.add_stream(codec, rate=rate, layout=layout)

        def packets():
            made = []
            samples = (np.sin(np.arange(int(rate * seconds)) * 0.3) * 9000).astype(np.int16).repeat(channels)[None]
            for first in range(0, samples.shape[1], channels * block):
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(samples[:, first : first + channels * block]), format="s16", layout=layout
                )
                frame.sample_rate, frame.pts, frame.time_base = (
                    rate,
                    int(start * rate) + first // channels,
                    Fraction(1, rate),
                )
                made += stream.encode(frame)
            return made + stream.encode(None)

        return packets

    return sound


def sound_of(path):
    """(start, end, bytes) of every sound packet, in file time."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [
            (p.pts * p.time_base, (p.pts + p.duration) * p.time_base, bytes(p))
            for p in container.demux(stream)
            if p.size
        ]


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("source", ["in.avi", "in.mkv"])
@pytest.mark.parametrize("output", ["out.mp4", "out.mov", "out.mkv"])
@pytest.mark.parametrize("block", [320, 1920])
def test_plain_samples_go_into_every_container(tmp_path, layout, source, output, block):
    path = write_video(
        tmp_path / source,
        map(picture, range(12)),
        codec="mjpeg",
        pixel_format="yuvj420p",
        sound=tone(layout=layout, block=block),
    )
    verification = verify(tmp_path / output, convert(path, tmp_path / output))
    assert verification.ok, verification.failures()
    assert b"".join(data for _, _, data in sound_of(tmp_path / output)) == b"".join(
        data for _, _, data in sound_of(path)
    )


def part(path, frames=10, first=0):
    """A recording whose clock begins at ``first`` ticks of 1/25 s."""
    return write_video(
        path,
        map(picture, range(frames)),
        range(first, first + frames),
        codec="mpeg2video",
        options={"qscale": "3"},
        sound=tone("mp2", seconds=frames / 25, rate=48000, start=first / 25),
    )


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("behind", [10, 3])
def test_parts_of_a_joined_recording_follow_each_other(tmp_path, suffix, output, behind):
    parts = [part(tmp_path / f"{k}{suffix}", first=k * (10 - behind)) for k in range(3)]
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    expected = convert(joined, tmp_path / output, rate=1)
    verification = verify(tmp_path / output, expected)
    assert verification.ok, verification.failures()
    with VideoReader(joined) as reader:
        times = [frame.time for frame in reader.frames()]
    assert reader.problems == []
    assert len(times) == 30
    steps = [later - time for time, later in pairwise(times)]
    inside = [step for number, step in enumerate(steps) if number % 10 != 9]
    if suffix == ".ts":  # in MPEG-PS FFmpeg guesses most times, and where a part ends it guesses wrong
        assert set(inside) == {Fraction(1, 25)}
    assert all(0 < step < Fraction(1, 5) for step in steps)
    ends = sound_of(tmp_path / output)
    assert all(abs(later[0] - end) < Fraction(1, 5) for (_, end, _), later in pairwise(ends))
    assert len(find_splices(joined).offsets) == 3


@pytest.mark.parametrize("lengths", [(20, 6), (6, 20), (8, 8, 8)])
def test_a_joined_recording_says_how_long_all_of_it_is(tmp_path, lengths):
    parts = [part(tmp_path / f"{number}.ts", frames) for number, frames in enumerate(lengths)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(path.read_bytes() for path in parts))
    with VideoReader(joined) as reader:
        # A part follows the sound of the one before it, which ends a little later than its pictures.
        assert reader.info.duration == pytest.approx(sum(lengths) / 25, abs=1 / 25)


def test_a_single_wild_time_is_no_splice(tmp_path):
    assert not find_splices(part(tmp_path / "whole.ts"))
    assert not find_splices(make_video(tmp_path / "other.mp4"))
    data = bytearray(part(tmp_path / "wild.ts").read_bytes())
    with av.open(str(tmp_path / "wild.ts")) as container:
        stream = container.streams.video[0]
        at = [packet.pos for packet in container.demux(stream) if packet.size][5]
    start = data.index(b"\x00\x00\x01", at)
    data[start + 9 : start + 14] = b"\x21\x00\x01\x00\x01"  # PTS 0
    (tmp_path / "wild.ts").write_bytes(data)
    assert not find_splices(tmp_path / "wild.ts")


@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_large_recordings_are_read_whole_only_if_their_clock_steps_back(tmp_path, suffix, monkeypatch):
    whole = part(tmp_path / f"whole{suffix}", frames=100)
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(2 * whole.read_bytes())
    expected = find_splices(joined)
    assert len(expected.offsets) == 2
    timestamps._found.cache_clear()
    monkeypatch.setattr(timestamps, "READ_WHOLE", 0)
    monkeypatch.setattr(timestamps, "PLACES", 8)
    monkeypatch.setattr(timestamps, "PIECE", 1 << 14)
    assert find_splices(joined) == expected
    assert timestamps.clocks_at(whole.read_bytes()[: 1 << 14])
    assert not timestamps.clocks_at(bytes(1 << 14))
    monkeypatch.setattr(timestamps, "_Track", None)  # nothing may be read to its end
    assert not find_splices(whole)


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_frames_that_avi_holds_out_of_order_are_even(tmp_path, output):
    source = make_video(tmp_path / "in.avi", time_base=Fraction(1, 25), options={"bf": "2"}, audio=0.48)
    with VideoReader(source) as reader:
        frames = [(frame.time, frame.image) for frame in reader.frames()]
    assert reader.problems == []
    assert [time for time, _ in frames] == [Fraction(k, 25) for k in range(12)]
    assert all(abs(image.astype(int) - picture(k)).mean() < 8 for k, (_, image) in enumerate(frames))
    with VideoReader(source, start=Fraction(5, 25)) as reader:
        cut = [(frame.time, frame.image) for frame in reader.frames()]
    assert [time for time, _ in cut] == [Fraction(k, 25) for k in range(7)]
    assert all(np.array_equal(one[1], other[1]) for one, other in zip(cut, frames[5:], strict=True))
    verification = verify(tmp_path / output, convert(source, tmp_path / output))
    assert verification.ok, verification.failures()


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4"])
def test_texts_that_are_shown_together_stay_together(tmp_path, output):
    codec = "ass" if output.endswith("mkv") else "mov_text"
    with av.open(str(make_video(tmp_path / "plain.mkv"))) as plain, av.open(str(tmp_path / "in.mkv"), "w") as container:
        video = container.add_stream_from_template(plain.streams.video[0], opaque=True)
        text = container.add_mux_stream("ass" if codec == "ass" else "subrip")
        text.time_base = Fraction(1, 1000)
        for packet in plain.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        for number in range(20):
            packet = av.Packet(f"{number},0,Default,,0,0,0,,sign {number}".encode())
            packet.pts = packet.dts = 100 if number < 10 else 240
            packet.duration, packet.time_base, packet.stream, packet.is_keyframe = 100, Fraction(1, 1000), text, True
            container.mux(packet)
    convert(tmp_path / "in.mkv", tmp_path / output)
    if codec == "ass":
        assert [time for time, _, _ in texts(tmp_path / output)] == [Fraction(1, 10)] * 10 + [Fraction(24, 100)] * 10


def test_matroska_that_begins_late_lasts_as_long_as_its_pictures(tmp_path):
    with VideoReader(make_video(tmp_path / "late.mkv", range(2400, 2424))) as reader:
        assert float(reader.info.duration) == pytest.approx(1, abs=0.05)


def test_names_of_any_length_and_bytes(tmp_path, clip):
    check_output(tmp_path / f"{'n' * (LONGEST_NAME - 4)}.mp4", clip)
    for length in (LONGEST_NAME - 3, 400):
        with pytest.raises(OutputError, match="too long"):
            check_output(tmp_path / f"{'n' * length}.mp4", clip)
    strange = tmp_path / "a\udce9"
    strange.mkdir()
    make_video(strange / "b\udce9.mp4")
    assert len(content_digest(strange)) == len(appearance(strange)) == 64


def test_a_long_frame_is_shown_to_the_end_that_was_asked_for(tmp_path):
    slides = make_video(tmp_path / "slides.mkv", (0, 10_000, 20_000), Fraction(1, 1000), audio=1)
    with VideoReader(slides, end=Fraction(12)) as reader:
        assert [(frame.time, frame.duration) for frame in reader.frames()] == [(0, 10), (10, 2)]


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        (Fraction(10), [(0, 10), (10, 1)]),
        (Fraction(8), [(0, 2), (2, 10), (12, 1)]),  # the first slide goes on for two seconds
        (Fraction(99, 10), [(0, 10), (10, 1)]),  # for a moment only
        (Fraction(41, 2), [(0, Fraction(1, 2))]),  # the last one
    ],
)
def test_a_slide_that_is_seen_at_the_start_is_part_of_what_was_chosen(tmp_path, start, shown):
    slides = make_video(tmp_path / "slides.mkv", (0, 10_000, 20_000), Fraction(1, 1000), last_duration=1000)
    with VideoReader(slides, start=start) as reader:
        assert [(frame.time, frame.duration) for frame in reader.frames()] == shown


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_pictures_that_a_container_cannot_hold_are_refused_before_work(tmp_path, suffix):
    spec = OutputSpec(tmp_path / f"out{suffix}", 70_000, 16, Fraction(1, 24), Fraction(24), Colour(), codec="rgb")
    with pytest.raises(OutputError, match="pixels a side"):
        check_encoder(spec)
