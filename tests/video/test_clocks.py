"""Clocks that begin late, step back or jump, and headers that are wrong about them."""

import struct
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest

from safa.jobs.plan import expected_frames
from safa.options import UpscaleSettings
from safa.video.file_source import VideoReader
from safa.video.folder_source import open_reader
from safa.video.info import ReadOptions
from safa.video.streams import PREROLL
from safa.video.timestamps import find_splices
from safa.video.verify import verify
from tests.video.making import convert, make_video, tone

RATE = 24


def film(path, first=0, frames=RATE, sound=True, **options):
    """A recording of `frames` with their sound, whose clock begins at frame `first`."""
    codec = "libvpx-vp9" if path.suffix == ".webm" else "libx264"
    seconds = frames / RATE if sound else None
    times = range(first, first + frames)
    return make_video(path, times, codec=codec, audio=seconds, audio_start=first / RATE, **options)


def joined(path, firsts, header=0, **options):
    """Recordings in a row, as `cat` joins them; of those after the first, `header` bytes are left out."""
    data = b""
    for number, first in enumerate(firsts):
        part = film(path.with_name(f"part{number}{path.suffix}"), first, **options).read_bytes()
        data += part[header:] if number else part
    path.write_bytes(data)
    return path


def starts(path):
    """When the picture and the sound of a file start, in seconds."""
    with av.open(str(path)) as container:
        return [float(stream.start_time * stream.time_base) for stream in container.streams]


def sound_times(path):
    """Of every sound packet that is heard, in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(audio=0) if packet.size]
    return [float(packet.pts * packet.time_base) for packet in packets]


def late_fragments(path, seconds=3600):
    """Fragmented MP4 whose clock begins late, as a recorder's that joins a live stream."""
    flags = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
    film(path, options={"bf": "0"}, container_options=flags)
    with av.open(str(path)) as container:
        bases = [stream.time_base for stream in container.streams]
    data = bytearray(path.read_bytes())
    at, track = -1, 0
    while (at := data.find(b"tfdt", at + 1)) >= 0:
        track = int.from_bytes(data[data.rfind(b"tfhd", 0, at) + 8 :][:4])
        time = int.from_bytes(data[at + 8 : at + 16]) + round(seconds / bases[track - 1])
        data[at + 8 : at + 16] = time.to_bytes(8)
    path.write_bytes(data)
    return path


def late(folder, suffix):
    if suffix == ".mp4":
        return late_fragments(folder / "late.mp4")
    return film(folder / f"late{suffix}", 3600 * RATE, options={"bf": "0"})


@pytest.mark.parametrize("suffix", [".flv", ".mkv", ".mp4", ".ts"])
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("slow", [1, 2])
def test_a_result_begins_at_0_whatever_the_clock_of_its_source(tmp_path, suffix, output, slow):
    source = late(tmp_path, suffix)
    verification = verify(tmp_path / output, convert(source, tmp_path / output, rate=1, slow=Fraction(slow)))
    assert verification.ok, verification.failures()
    picture, sound = starts(tmp_path / output)
    assert 0 <= min(picture, sound) < 0.01 * slow
    before = [float(time) for time in starts(source)]
    assert picture - sound == pytest.approx((before[0] - before[1]) * slow, abs=0.003 if slow == 1 else 0.05)


@pytest.mark.parametrize("suffix", [".flv", ".mkv", ".mp4", ".ts"])
def test_a_part_is_chosen_by_the_time_that_players_show(tmp_path, suffix):
    with VideoReader(late(tmp_path, suffix)) as reader:
        times = [frame.time for frame in reader.frames()]
    options = ReadOptions(start=Fraction(1, 4), end=Fraction(3, 4))
    with open_reader(tmp_path / f"late{suffix}", options) as reader:
        chosen = [frame.time + reader.origin - reader.info.clock_zero for frame in reader.frames()]
    assert chosen == [time for time in times if Fraction(1, 4) <= time < Fraction(3, 4)]


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize(("picture", "sound"), [(0, 0.3), (8, 0.1), (12, 1.0)])
def test_what_starts_later_stays_as_much_later(tmp_path, output, picture, sound):
    source = make_video(tmp_path / "in.mp4", range(picture, picture + 12), audio=0.5, audio_start=sound)
    verification = verify(tmp_path / output, convert(source, tmp_path / output))
    assert verification.ok, verification.failures()
    found = starts(tmp_path / output)
    wanted = [time - min(starts(source)) for time in starts(source)]
    assert found == pytest.approx(wanted, abs=0.001)


def test_frames_before_0_come_before_the_others(tmp_path):
    """Matroska that was cut without being encoded again; FFmpeg gives these frames no times."""
    options = {"avoid_negative_ts": "disabled"}
    source = make_video(tmp_path / "in.mkv", range(-40, 20), options={"bf": "0"}, container_options=options)
    with VideoReader(source) as reader:
        assert reader.info.start_time >= 0  # the header does not know of them
        times = [frame.time for frame in reader.frames()]
        assert reader.problems == []
    # Without times they are as far apart as their durations say, in whole milliseconds.
    assert times == pytest.approx([k / RATE for k in range(60)], abs=0.03)
    verification = verify(tmp_path / "out.mkv", convert(source, tmp_path / "out.mkv", rate=1))
    assert verification.ok, verification.failures()
    assert starts(tmp_path / "out.mkv") == [0]


JOINED = [
    ("in.mkv", (0, 0), 0),
    ("in.mkv", (0, 240_000), 0),
    ("in.webm", (0, 0), 0),
    ("in.flv", (0, 0, 0), 13),
    ("in.flv", (0, 240_000), 13),
    ("in.ts", (0, 240_000), 0),
    ("in.ts", (240_000, 0), 0),
]


@pytest.mark.parametrize(("name", "firsts", "header"), JOINED)
@pytest.mark.parametrize("sound", [True, False])
def test_parts_follow_each_other_wherever_their_clocks_begin(tmp_path, name, firsts, header, sound):
    source = joined(tmp_path / name, firsts, header, sound=sound)
    with VideoReader(source) as reader:
        times = [frame.time for frame in reader.frames()]
        assert reader.info.duration == pytest.approx(len(firsts), abs=0.1)
    assert reader.problems == []
    assert len(times) == RATE * len(firsts)
    steps = [float(later - time) for time, later in pairwise(times)]
    assert max(steps) < 0.12
    assert min(steps) > 0.03
    if not sound:
        return
    verification = verify(tmp_path / "out.mkv", convert(source, tmp_path / "out.mkv", rate=1))
    assert verification.ok, verification.failures()
    heard = sound_times(tmp_path / "out.mkv")
    assert heard[-1] == pytest.approx(float(times[-1]), abs=0.1)
    assert all(0.005 < later - time < 0.1 for time, later in pairwise(heard))  # Opus may end with a short packet
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_fragments_whose_clock_steps_back_are_all_shown(tmp_path):
    flags = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
    source = joined(tmp_path / "in.mp4", (0, 0), container_options=flags)
    with VideoReader(source) as reader:
        times = [frame.time for frame in reader.frames()]
    assert len(times) == 2 * RATE
    assert times[-1] - times[0] == pytest.approx(2, abs=0.15)
    convert(source, tmp_path / "out.mkv", rate=1)
    assert sound_times(tmp_path / "out.mkv")[-1] == pytest.approx(2, abs=0.15)


@pytest.mark.parametrize("suffix", [".ts", ".flv"])
def test_a_pause_is_no_splice(tmp_path, suffix):
    """Slides, with sound that goes on and without any."""
    slides = [0, 1, 2, 3, 60 * RATE, 61 * RATE]
    for audio in (62, None):
        options = {"max_interleave_delta": "0"}
        path = tmp_path / f"slides{suffix}"
        source = make_video(path, slides, options={"bf": "0"}, audio=audio, container_options=options)
        assert not find_splices(source)
        with VideoReader(source) as reader:
            times = [frame.time for frame in reader.frames()]
        assert times[-1] - times[0] == pytest.approx(61, abs=0.01)


@pytest.mark.parametrize("suffix", [".mkv", ".flv"])
def test_a_length_that_is_stated_wrong_moves_no_frame(tmp_path, suffix):
    ticks = [*range(0, 12_500, 500), *range(16_000, 41_000, 4000)]
    source = make_video(tmp_path / f"in{suffix}", ticks, Fraction(1, 1000), options={"bf": "0"})
    data = bytearray(source.read_bytes())
    if suffix == ".mkv":
        at = data.index(b"\x44\x89\x88") + 3
        data[at : at + 8] = struct.pack(">d", 1000)
    else:
        at = data.index(b"duration\0") + 9
        data[at : at + 8] = struct.pack(">d", 1)
    source.write_bytes(data)
    with VideoReader(source) as reader:
        assert [frame.time * 1000 for frame in reader.frames()] == ticks
    assert reader.problems == []


def with_packets(path, kind, times, codec=None):
    """A recording from 40 s on, and packets of another kind of stream at `times`."""
    plain = make_video(path.with_name("plain.mkv"), range(40 * RATE, 41 * RATE), options={"bf": "0"})
    with av.open(str(plain)) as old, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(old.streams.video[0])
        other = container.add_data_stream(codec) if kind == "data" else container.add_mux_stream(codec)
        other.time_base = Fraction(1, 1000)
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = video
        for time in times:
            packet = av.Packet(b"a line of text")
            packet.pts = packet.dts = time
            packet.duration, packet.time_base, packet.stream, packet.is_keyframe = 300, Fraction(1, 1000), other, True
            packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def test_a_stale_subtitle_does_not_decide_the_start(tmp_path):
    source = with_packets(tmp_path / "in.mkv", "subtitle", (10_000, 39_900, 40_500), "subrip")
    expected = convert(source, tmp_path / "out.mkv", rate=1)
    verification = verify(tmp_path / "out.mkv", expected)
    assert verification.ok, verification.failures()
    with av.open(str(tmp_path / "out.mkv")) as container:
        lines = [(packet.pts, packet.duration) for packet in container.demux(subtitles=0) if packet.size]
    assert lines == [(0, 200), (500, 300)]  # of the second, what is still seen when the film begins
    assert starts(tmp_path / "out.mkv")[0] == 0


def test_the_clock_of_data_does_not_decide_the_start(tmp_path):
    source = with_packets(tmp_path / "in.ts", "data", (10_000, 40_500), "klv")
    with VideoReader(source) as reader:
        assert next(reader.frames()).time == 0


def edited(path, edits, seconds=3):
    """MP4 of which only `edits`, (start, length) in seconds, are played, as trimming on a phone leaves it."""
    whole = make_video(path.with_name("whole.mp4"), range(RATE * seconds), options={"g": "12"})
    with av.open(str(whole)) as old, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(old.streams.video[0])
        sound = container.add_stream("aac", rate=48000, layout="mono")
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = video
        packets += tone(sound, seconds)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    scales = iter((12288, 48000))

    def rewritten(data):
        out, at = b"", 0
        while at < len(data):
            size, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
            content = data[at + 8 : at + size]
            if name in (b"moov", b"trak", b"edts"):
                content = rewritten(content)
            if name == b"elst":
                first, scale = int.from_bytes(content[12:16]), next(scales)
                entries = [struct.pack(">Iihh", round(n * 1000), first + round(t * scale), 1, 0) for t, n in edits]
                content = struct.pack(">II", 0, len(edits)) + b"".join(entries)
            out += struct.pack(">I", len(content) + 8) + name + content
            at += size
        return out

    data = path.read_bytes()
    at = data.index(b"moov") - 4  # at the end: nothing moves
    path.write_bytes(data[:at] + rewritten(data[at:]))
    return path


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
@pytest.mark.parametrize("edits", [[(0.25, 0.5), (1.5, 0.75)], [(2.0, 0.75)]])
def test_what_an_edit_list_cuts_away_is_not_in_the_result(tmp_path, output, edits):
    source = edited(tmp_path / "in.mp4", edits)
    length = sum(seconds for _, seconds in edits)
    with VideoReader(source) as reader:
        assert reader.info.frames == length * RATE
    verification = verify(tmp_path / output, convert(source, tmp_path / output, rate=1))
    assert verification.ok, verification.failures()
    with av.open(str(tmp_path / output)) as container:
        frames = list(container.decode(audio=0))
    # A packet of 1024 samples at each cut, of which a part is heard.
    assert sum(frame.samples for frame in frames) / 48000 == pytest.approx(length, abs=0.022 * len(edits))
    times = sound_times(tmp_path / output)
    assert times[0] >= -PREROLL - Fraction(1024, 48000)
    assert all(later > time for time, later in pairwise(times))
    assert sum(later - time < 0.02 for time, later in pairwise(times)) < len(
        edits
    )  # one tick apart, they would be hurried
    assert starts(tmp_path / output)[0] == 0


@pytest.mark.parametrize(("flags", "frames"), [("+frag_keyframe", 60), ("+frag_keyframe+empty_moov", 60), ("", 60)])
def test_frames_of_all_fragments_are_forecast(tmp_path, flags, frames):
    source = film(
        tmp_path / "in.mp4", frames=60, options={"g": "12"}, container_options={"movflags": flags} if flags else None
    )
    with VideoReader(source) as reader:
        assert expected_frames(reader, UpscaleSettings(rate=1)) == frames


@pytest.mark.parametrize("offset", range(1, 60, 6))
def test_sound_of_44100_hz_starts_where_it_should(tmp_path, offset):
    """Matroska counts milliseconds, MP4 samples."""
    whole = make_video(tmp_path / "whole.mkv", range(12))
    with av.open(str(whole)) as old, av.open(str(tmp_path / "in.mkv"), "w") as container:
        video = container.add_stream_from_template(old.streams.video[0])
        sound = container.add_stream("aac", rate=44100, layout="mono")
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 9216), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
        for packet in [*sound.encode(frame), *sound.encode(None)]:
            time = packet.pts * packet.time_base + Fraction(offset + 24, 1000)
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = round(time * 1000)
            packet.duration = 23
            container.mux(packet)
    verification = verify(tmp_path / "out.mp4", convert(tmp_path / "in.mkv", tmp_path / "out.mp4"))
    assert verification.ok, verification.failures()


@pytest.mark.parametrize("end", [Fraction(3, 2), Fraction(17, 10), Fraction(5, 2)])
@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_an_end_inside_a_frame_that_lasts_one_tick(tmp_path, end, output):
    source = make_video(tmp_path / "in.avi", range(75), Fraction(1, 25), codec="mjpeg", pixel_format="yuvj420p")
    verification = verify(tmp_path / output, convert(source, tmp_path / output, rate=1, selection=(None, end)))
    assert verification.ok, verification.failures()
