from fractions import Fraction
from itertools import accumulate, pairwise

import av
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from safa.errors import OutputError
from safa.video.codecs import choose_codec
from safa.video.colour import Colour
from safa.video.encoder import OutputSpec
from safa.video.mux import mux
from safa.video.schedule import OutputTime
from safa.video.segments import SegmentWriter
from safa.video.streams import StreamPlan, payload
from safa.video.verify import verify
from tests.video.making import SIZE, convert, frame_hashes, make_video, picture, write_frames

VFR = (24, 25, 30, 31, 50, 52, 53, 60)


def audio_packets(path):
    with av.open(str(path)) as container:
        return [(packet.pts * packet.time_base, payload(packet)) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out.mov"])
@pytest.mark.parametrize(
    ("source", "settings"),
    [
        ("plain.mp4", {"audio": 0.5}),
        ("silent.mp4", {}),
        ("late sound.mp4", {"audio": 0.5, "audio_start": 0.3}),
        ("late picture.mp4", {"times": range(24, 40), "audio": 1.5}),
        ("variable.mp4", {"times": VFR, "audio": 0.5, "last_duration": 9}),
        ("variable.mkv", {"times": VFR, "audio": 0.5}),
        ("tuner.ts", {"times": range(100, 120), "audio": 0.5, "audio_start": 4.0}),
        ("single.mp4", {"times": (0,), "audio": 0.2}),
        ("pair.mov", {"times": (0, 1)}),
    ],
)
def test_time_and_sound_are_kept(tmp_path, source, settings, output):
    """Count, start, end, increasing times, A/V offset, sound bytes: all that `prove` looks at, over B-frames."""
    expected = convert(make_video(tmp_path / source, **settings), tmp_path / output, rate=3)
    verification = verify(tmp_path / output, expected)
    assert verification.ok, verification.failures()
    assert len(expected.streams) == ("audio" in settings)
    assert sorted(path.name for path in tmp_path.iterdir() if "part" in path.name) == []


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv", "out.mov"])
def test_a_long_first_frame_is_no_mismatch(tmp_path, output):
    """A screen recording: nothing moves at first, and then it does."""
    source = make_video(tmp_path / "screen.mp4", (0, *range(48, 57)))
    verification = verify(tmp_path / output, convert(source, tmp_path / output, preset="medium"))
    assert verification.ok, verification.failures()


INTERVAL = st.integers(1, 100)


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif", ".webp"])
@settings(max_examples=12)
@given(first=INTERVAL, middle=st.lists(INTERVAL, max_size=7), last=INTERVAL)
@example(first=96, middle=[1] * 7, last=1)
@example(first=1, middle=[1] * 6 + [100], last=1)
@example(first=1, middle=[1] * 7, last=100)
def test_any_intervals_pass_the_check(tmp_path_factory, suffix, first, middle, last):
    folder = tmp_path_factory.mktemp("intervals")
    output, tick = folder / f"out{suffix}", Fraction(1, 48)
    choice = choose_codec(output)
    colour = Colour().resolved(SIZE[1], False)
    preset = "medium" if choice.codec == "h264" else "ultrafast"  # B-frames that refer to B-frames
    spec = OutputSpec(output, *SIZE, tick, Fraction(48), colour, choice.codec, choice.pixel_format, preset=preset)
    times = list(accumulate([first, *middle], initial=0))
    with SegmentWriter(folder / "work", spec, {}, frames_per_segment=5) as writer:
        for number, time in enumerate(times):
            writer.write(picture(number), OutputTime(number, number, Fraction(0), time * tick))
        journal = writer.finish((times[-1] + last) * tick)
    assert choice.codec != "h264" or max(segment.reorder for segment in journal.segments) or len(times) < 3
    verification = verify(output, mux(journal, spec, StreamPlan(output)))
    assert verification.ok, verification.failures()


def test_a_constant_rate_stays_constant_in_decoding_order(tmp_path, clip):
    """Players and tools tell a variable rate by the distances of decoding times."""
    convert(clip, tmp_path / "out.mp4", per_segment=5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert {(b.dts - a.dts) * b.time_base for a, b in pairwise(packets)} == {Fraction(1, 48)}


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_presentation_times_are_exact(tmp_path, output):
    source = make_video(tmp_path / "variable.mp4", VFR)
    journal, spec, plan, _ = write_frames(source, tmp_path / output, rate=7)
    mux(journal, spec, plan)
    wanted = [ticks * spec.time_base for segment in journal.segments for ticks in segment.times()]
    found = [time for time, _ in frame_hashes(tmp_path / output)]
    if output == "out.mp4":
        assert found == wanted
    else:
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= Fraction(1, 2000)


def test_segmented_stream_decodes_like_one(tmp_path, clip):
    convert(clip, tmp_path / "many.mp4", per_segment=5)
    with av.open(str(tmp_path / "many.mp4")) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
    dts = [packet.dts for packet in packets]
    assert len(packets) == 23
    assert all(a < b for a, b in pairwise(dts))
    assert all(packet.dts <= packet.pts for packet in packets)
    assert any(packet.dts < packet.pts for packet in packets)  # there are B-frames to get wrong
    assert sum(packet.is_keyframe for packet in packets) == 5
    times = [time for time, _ in frame_hashes(tmp_path / "many.mp4")]
    assert times == [Fraction(k, 48) for k in range(23)]


@pytest.mark.parametrize("output", ["out.mp4", "out.mkv"])
def test_selection_cuts_sound_alike(tmp_path, output):
    source = make_video(tmp_path / "long.mp4", range(72), audio=3.0, options={"g": "24"})
    expected = convert(source, tmp_path / output, selection=(Fraction(1), Fraction(2)))
    assert verify(tmp_path / output, expected).ok
    wanted = [(time - 1, data) for time, data in audio_packets(source) if 1 <= time < 2]
    found = audio_packets(tmp_path / output)
    assert [data for _, data in found] == [data for _, data in wanted]
    assert max(abs(a - b) for (a, _), (b, _) in zip(found, wanted, strict=True)) <= Fraction(1, 1000)


def test_mp4_is_ready_for_the_web(tmp_path, clip):
    convert(clip, tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_tags_are_written_to_bitstream_and_container(tmp_path):
    def tag(stream):
        stream.codec_context.color_primaries, stream.codec_context.color_trc = 6, 6
        stream.codec_context.colorspace, stream.codec_context.color_range = 6, 2
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    source = make_video(tmp_path / "tagged.mp4", configure=tag)
    convert(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (
            6,
            6,
            6,
            2,
        )
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        frame = next(container.decode(video=0))
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (6, 6, 6, 2)


@pytest.mark.parametrize(("suffix", "fits"), [(".mkv", True), (".m4v", True), (".mov", False), (".webm", False)])
def test_sound_is_copied_or_named_before_work(tmp_path, suffix, fits):
    source = make_video(tmp_path / "plain.mkv", (0, 1))
    with av.open(str(tmp_path / "flac.mkv"), "w") as container, av.open(str(source)) as old:
        sound = container.add_stream("flac", rate=48000, layout="mono")
        video = container.add_stream_from_template(old.streams.video[0], opaque=True)
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = video
                container.mux(packet)
        frame = av.AudioFrame(format="s16", layout="mono", samples=480)
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
        container.mux([*sound.encode(frame), *sound.encode(None)])
    codec = "vp9" if suffix == ".webm" else "h264"
    journal, spec, plan, _ = write_frames(tmp_path / "flac.mkv", tmp_path / f"out{suffix}", codec=codec)
    again = "Opus" if suffix == ".webm" else "AAC"
    named = f"audio stream 0 (flac) cannot be copied into {suffix} and is encoded again as {again}."
    assert (plan.copied, plan.stretched, plan.warnings) == (((0,), (), ()) if fits else ((), (0,), (named,)))
    expected = mux(journal, spec, plan)
    assert len(expected.streams) == 1
    assert verify(tmp_path / f"out{suffix}", expected).ok


def test_nothing_appears_under_the_final_name_on_failure(tmp_path, clip, monkeypatch):
    journal, spec, plan, _ = write_frames(clip, tmp_path / "out.mp4")

    def full(temporary, final):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safa.video.journal.publish", full)
    with pytest.raises(OutputError, match="23 finished frames are kept"):
        mux(journal, spec, plan)
    assert not (tmp_path / "out.mp4").exists()
    assert journal.folder.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_sound_that_the_muxer_chokes_on_is_one_sentence(tmp_path, clip, monkeypatch):
    journal, spec, plan, _ = write_frames(clip, tmp_path / "out.mp4")

    def choke(*arguments):
        raise av.error.InvalidDataError(1094995529, "Invalid data found when processing input")

    monkeypatch.setattr("safa.video.mux._write", choke)
    with pytest.raises(OutputError, match=r"try without sound, or write \.mkv; 23 finished frames are kept"):
        mux(journal, spec, plan)
    assert not (tmp_path / "out.mp4").exists()


def test_sound_track_without_packets_is_no_mismatch(tmp_path):
    """MP4 drops it, Matroska keeps it; either is right."""
    source = make_video(tmp_path / "mute.mkv", audio=0.0)
    for suffix in (".mp4", ".mkv"):
        expected = convert(source, tmp_path / f"out{suffix}")
        verification = verify(tmp_path / f"out{suffix}", expected)
        assert verification.ok, verification.failures()


def test_existing_output_is_replaced_whole(tmp_path, clip):
    output = tmp_path / "out.mp4"
    output.write_text("old")
    convert(clip, output)
    assert verify(output, convert(clip, output)).ok
