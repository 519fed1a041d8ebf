from fractions import Fraction

import av
import numpy as np
import pytest

from safa.video.streams import fill_times
from safa.video.verify import verify
from tests.video.making import convert, make_rich, make_video, write_frames


@pytest.fixture
def rich(tmp_path):
    return make_rich(tmp_path / "rich.mkv")


def texts(path, index=0):
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[index]
        return [
            (packet.pts * packet.time_base, packet.duration * packet.time_base, bytes(packet).decode())
            for packet in container.demux(stream)
            if packet.size
        ]


def chapters(path):
    with av.open(str(path)) as container:
        return [
            (round(c["start"] * c["time_base"], 3), round(c["end"] * c["time_base"], 3), c["metadata"]["title"])
            for c in container.chapters()
        ]


def test_everything_is_kept_where_it_fits(tmp_path, rich):
    expected = convert(rich, tmp_path / "out.mkv")
    assert verify(tmp_path / "out.mkv", expected).ok
    with av.open(str(tmp_path / "out.mkv")) as found, av.open(str(rich)) as source:
        assert [s.type for s in found.streams] == [s.type for s in source.streams]
        assert [s.language for s in found.streams] == [s.language for s in source.streams]
        assert [s.disposition for s in found.streams] == [s.disposition for s in source.streams]
        assert found.streams.audio[1].metadata["title"] == "deu sound"
        assert found.streams.attachments[0].data == source.streams.attachments[0].data
        assert found.metadata["title"] == "A rich file"
    assert texts(tmp_path / "out.mkv", 1) == texts(rich, 1)
    assert chapters(tmp_path / "out.mkv") == chapters(rich)


@pytest.mark.parametrize(("suffix", "missing"), [(".mp4", 3), (".webm", 4), (".mkv", 0)])
def test_what_does_not_fit_is_named_before_work(tmp_path, rich, suffix, missing):
    codec = "vp9" if suffix == ".webm" else "h264"
    _, _, plan, _ = write_frames(rich, tmp_path / f"out{suffix}", codec=codec)
    assert len(plan.warnings) == missing
    assert all("cannot be copied" in warning for warning in plan.warnings)
    assert any("subrip" in warning and "fra" in warning for warning in plan.warnings) == bool(missing)


def test_selection_moves_and_cuts_all_alike(tmp_path, rich):
    convert(rich, tmp_path / "out.mkv", selection=(Fraction(6, 10), Fraction(15, 10)))
    origin = Fraction(625, 1000)  # the first frame at or after 0.6 s
    cut = [(Fraction(0), Fraction(275, 1000), "line at 500"), (Fraction(475, 1000), Fraction(3, 10), "line at 1000")]
    assert texts(tmp_path / "out.mkv") == cut
    turn, end = Fraction(7, 10) - origin, Fraction(15, 10) - origin
    assert chapters(tmp_path / "out.mkv") == [(0, turn, "One"), (turn, end, "Two")]


@pytest.mark.parametrize("slow", [Fraction(5, 2), Fraction(1, 3), Fraction(1)])
def test_slow_motion_stretches_sound_and_texts(tmp_path, rich, slow):
    expected = convert(rich, tmp_path / "out.mkv", slow=slow)
    assert verify(tmp_path / "out.mkv", expected).ok
    start, duration = (Fraction(round(milliseconds * slow), 1000) for milliseconds in (600, 300))
    assert texts(tmp_path / "out.mkv")[1] == (start, duration, "line at 500")
    assert chapters(tmp_path / "out.mkv")[1][0] == round(Fraction(7, 10) * slow, 3)
    for index in (0, 1):
        wave, rate = sound(tmp_path / "out.mkv", index)
        assert abs(len(wave) / rate - 2 * slow) < 0.06
        assert abs(pitch(wave, rate) - 440) < 5


def sound(path, index):
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=index))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


def pitch(wave, rate):
    """The strongest frequency, Hz."""
    spectrum = abs(np.fft.rfft(wave[: rate // 2] * np.hanning(len(wave[: rate // 2]))))
    return np.argmax(spectrum) * rate / len(wave[: rate // 2])


def test_slow_motion_keeps_a_late_sound_late(tmp_path):
    source = make_video(tmp_path / "late.mp4", range(24), audio=0.4, audio_start=0.5)
    convert(source, tmp_path / "out.mp4", slow=Fraction(2))
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.audio[0]
        # 1 s, less the padding of both encoders: 1024 samples at half speed and 1024 more
        assert abs(stream.start_time * stream.time_base - 1 + Fraction(3 * 1024, 48000)) < Fraction(1, 500)


def test_attached_picture_is_kept_and_not_taken_for_the_video(tmp_path):
    plain = make_video(tmp_path / "plain.mp4", audio=0.5)
    with av.open(str(tmp_path / "cover.mp4"), "w") as container, av.open(str(plain)) as old:
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        streams = [container.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        container.mux([*cover.encode(av.VideoFrame(16, 16, "yuvj420p")), *cover.encode(None)])
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
    convert(tmp_path / "cover.mp4", tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        attached = [stream.disposition & stream.disposition.attached_pic for stream in container.streams.video]
        assert [bool(flag) for flag in attached] == [False, True]
        assert (container.streams.video[0].width, container.streams.video[1].width) == (64, 16)


@pytest.mark.parametrize(
    ("pts", "dts", "last", "expected"),
    [
        (5, 5, 4, (5, 5)),
        (None, None, None, (0, 0)),
        (None, None, 7, (8, 8)),
        (9, None, 3, (9, 9)),
        (3, 3, 7, (8, 8)),
        (9, 3, 7, (9, 8)),
    ],
)
def test_damaged_packet_times_are_made_usable(pts, dts, last, expected):
    packet = av.Packet(b"x")
    packet.pts, packet.dts = pts, dts
    fill_times(packet, last)
    assert (packet.pts, packet.dts) == expected
