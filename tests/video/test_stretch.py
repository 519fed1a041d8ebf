"""Sound in slow motion, of every kind: stretched, or named before work."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from safa.video.audio_stretch import Stretcher, can_stretch
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


BEEPS = (0.6, 2.4, 4.1, 5.9)


def beeps(path: Path, drift: float = 1.0, lost: tuple[float, ...] = ()) -> Path:
    """Sound of 7 s with a burst of noise of 0.2 s at each of `BEEPS`. It takes `drift` times as long by its clock;
    packets at the times `lost` are missing.
    """
    rate, noise = 48_000, np.random.default_rng(0)
    samples = np.zeros((1, 7 * rate), np.float32)
    for beep in BEEPS:
        at = int(beep * rate)
        samples[0, at : at + rate // 5] = noise.normal(size=rate // 5) * 0.2 * np.hanning(rate // 5)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for first in range(0, samples.shape[1], 960):
            values = (samples[:, first : first + 960] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(values, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
            for packet in stream.encode(frame):
                if not any(time <= first / rate < time + 0.06 for time in lost):
                    packet.pts = packet.dts = round(packet.pts * drift)
                    container.mux(packet)
    return path


def stretched(source: Path, output: Path, slow: Fraction, untimed: bool = False) -> tuple[list[float], float]:
    """Where the beeps are in slowed sound, and its length."""
    with av.open(str(source)) as original, av.open(str(output), "w") as container:
        stream = original.streams.audio[0]
        stretcher = Stretcher(container, stream, slow, {})
        packets = []
        for number, packet in enumerate(packet for packet in original.demux(stream) if packet.size):
            if untimed and number % 3 == 1:
                packet.pts = packet.dts = None
            packets += stretcher.push(packet, Fraction(0))
        for packet in packets + stretcher.finish():
            container.mux(packet)
    with av.open(str(output)) as container:
        frames = [(float(frame.pts * frame.time_base), frame.to_ndarray()[0]) for frame in container.decode(audio=0)]
    rate = 48_000
    power = np.zeros(round(frames[-1][0] * rate) + len(frames[-1][1]) + 1)
    for time, samples in frames:
        power[round(time * rate) :][: len(samples)] = samples**2
    found = []
    for beep in BEEPS:
        first, last = (round((beep + side) * float(slow) * rate) for side in (-0.4, 0.6))
        part = power[first:last]
        found.append(float((np.arange(len(part)) * part).sum() / part.sum() + first) / rate)
    return found, len(power) / rate


@pytest.mark.parametrize("slow", [Fraction(1, 2), Fraction(5, 4), Fraction(2), Fraction(4), Fraction(8)])
def test_slowed_sound_is_where_it_should_be(tmp_path, slow):
    """The filter's own lead would be 20, 55 and 120 ms at 2, 4 and 8."""
    found, length = stretched(beeps(tmp_path / "in.mkv"), tmp_path / "out.mkv", slow)
    assert found == pytest.approx([(beep + 0.1) * float(slow) for beep in BEEPS], abs=0.003 * float(slow) + 0.006)
    assert length == pytest.approx(7 * slow, abs=0.05)  # and the end is not swallowed


@pytest.mark.parametrize("drift", [0.99, 1.01])
def test_slowed_sound_does_not_drift(tmp_path, drift):
    found, _ = stretched(beeps(tmp_path / "in.mkv", drift), tmp_path / "out.mkv", Fraction(2))
    assert found == pytest.approx([(beep + 0.1) * drift * 2 for beep in BEEPS], abs=0.06)


def test_slowed_sound_stays_in_time_over_gaps(tmp_path):
    lost = (0.2, 1.0, 1.3, 1.6, 1.9, 3.0, 3.3, 3.6, 5.0, 5.3, 5.6)  # together 0.66 s, none of them long
    found, _ = stretched(beeps(tmp_path / "in.mkv", lost=lost), tmp_path / "out.mkv", Fraction(2))
    assert found == pytest.approx([(beep + 0.1) * 2 for beep in BEEPS], abs=0.03)


def test_sound_without_times_follows_what_is_before_it(tmp_path):
    found, _ = stretched(beeps(tmp_path / "in.mkv"), tmp_path / "out.mkv", Fraction(2), untimed=True)
    assert found == pytest.approx([(beep + 0.1) * 2 for beep in BEEPS], abs=0.03)
