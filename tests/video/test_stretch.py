"""Sound in slow motion, of every kind: stretched, or named before work."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from safa.video.remux.stretch import can_stretch
from safa.video.verify import verify
from tests.video.making import convert, make_video, write_frames
from tests.video.test_streams import pitch, sound


def wave(stream, seconds: float, start: int = 0):
    """A frame of a 440 Hz tone as the encoder of `stream` wants it, from `start` samples on."""
    count, channels = int(stream.rate * seconds), stream.layout.nb_channels
    tone = np.sin(np.arange(start, start + count) * 2 * np.pi * 440 / stream.rate) * 0.3
    form = {"s32": ("s32", 2**31 - 1, np.int32), "fltp": ("fltp", 1, np.float32)}[stream.format.name]
    values = (tone * form[1]).astype(form[2])
    data = np.repeat(values[None], channels, 0) if form[0] == "fltp" else np.repeat(values, channels)[None]
    frame = av.AudioFrame.from_ndarray(data, format=form[0], layout=stream.layout.name)
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, start, Fraction(1, stream.rate)
    return frame


def with_sound(path: Path, *kinds: tuple[str, int, str]) -> Path:
    """A video of 0.5 s and one sound track: half a second in each of `kinds` (codec, rate, layout), in a row."""
    plain = make_video(path.with_name("plain.mp4"), range(12))
    with av.open(str(path), "w") as container, av.open(str(plain)) as old:
        video = container.add_stream_from_template(old.streams.video[0], opaque=True)
        codec, rate, layout = kinds[0]
        track = container.add_stream(codec, rate=rate, layout=layout)
        track.codec_context.open()
        for packet in old.demux():
            if packet.size:
                packet.stream = video
                container.mux(packet)
        for number, (codec, rate, layout) in enumerate(kinds):
            encoder = av.CodecContext.create(codec, "w")
            encoder.sample_rate, encoder.layout, encoder.format = rate, layout, track.format
            encoder.open()
            for packet in [*encoder.encode(wave(encoder, 0.5, number * rate // 2)), *encoder.encode(None)]:
                packet.stream = track
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("rate", "layout", "suffix", "found"),
    [
        (192_000, "stereo", ".mkv", (96_000, 2)),
        (192_000, "stereo", ".mov", (96_000, 2)),
        (192_000, "stereo", ".webm", (48_000, 2)),
        (37_800, "mono", ".mkv", (44_100, 1)),
        (48_000, "stereo", ".mkv", (48_000, 2)),  # whose channels Matroska does not name
        (48_000, "quad", ".mkv", (48_000, 4)),
        (48_000, "2.1", ".webm", (48_000, 3)),
        (48_000, "5.1", ".mp4", (48_000, 6)),
    ],
)
def test_any_rate_and_channels_are_stretched(tmp_path, rate, layout, suffix, found):
    source, output = with_sound(tmp_path / "in.mkv", ("pcm_s24le", rate, layout)), tmp_path / f"out{suffix}"
    expected = convert(source, output, slow=Fraction(2), codec="vp9" if suffix == ".webm" else "h264")
    assert verify(output, expected).ok
    with av.open(str(output)) as container:
        (stream,) = container.streams.audio
        assert (stream.rate, stream.layout.nb_channels) == found
    samples, written = sound(output, 0)
    assert abs(len(samples) / written - 1) < 0.06
    assert abs(pitch(samples, written) - 440) < 5


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm"])
def test_what_cannot_be_stretched_is_named_before_work(tmp_path, suffix):
    source, output = with_sound(tmp_path / "in.mkv", ("pcm_s24le", 48_000, "22.2")), tmp_path / f"out{suffix}"
    codec = "vp9" if suffix == ".webm" else "h264"
    *_, plan, _ = write_frames(source, output, slow=Fraction(2), codec=codec)
    assert plan.stretched == ()
    assert [text for text in plan.warnings if "audio stream 1 (pcm_s24le) cannot be stretched" in text]


def test_sound_that_cannot_be_decoded_is_named_before_work(tmp_path):
    source = with_sound(tmp_path / "in.mkv", ("pcm_s24le", 48_000, "stereo"))
    source.write_bytes(source.read_bytes().replace(b"A_PCM/INT/LIT", b"A_NOTHING/LIT"))
    assert not can_stretch(source, 1, "matroska", Fraction(2))


def test_channels_may_change_on_the_way(tmp_path):
    """Television does: advertisements in stereo between parts of a film in 5.1."""
    source = with_sound(tmp_path / "in.mkv", ("ac3", 48_000, "stereo"), ("ac3", 48_000, "5.1"))
    with av.open(str(source)) as container:
        assert len({frame.layout.name for frame in container.decode(audio=0)}) == 2
    expected = convert(source, tmp_path / "out.mp4", slow=Fraction(3, 2))
    assert verify(tmp_path / "out.mp4", expected).ok
    samples, rate = sound(tmp_path / "out.mp4", 0)
    assert abs(len(samples) / rate - 1.5) < 0.2
