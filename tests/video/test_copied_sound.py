"""Sound and subtitle pictures that containers take, or do not, as they are."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from safa.video.encoder import OutputSpec
from safa.video.file_source import VideoReader
from safa.video.streams import plan_streams
from safa.video.verify import verify
from tests.media import write_video
from tests.video.making import convert, picture

RATE = 8000
CLICK = Fraction(2, 5)


def with_sound(path: Path, codec: str, rate: int = RATE, layout: str = "mono", flags: str = "", **options) -> Path:
    """A second of film with a click at 0.4 s."""

    def sound(container):
        stream = container.add_stream(codec, rate=rate, layout=layout, **options)

        def packets():
            wave = np.zeros((stream.layout.nb_channels, rate), np.float32)
            begin, length = round(CLICK * rate), rate // 40
            wave[:, begin : begin + length] = 0.9 * np.sin(np.arange(length) * 2 * np.pi * 500 / rate)
            frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
            resampler = av.AudioResampler(
                format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024
            )
            made = []
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                made += stream.encode(part)
            return made + stream.encode(None)

        return packets

    container = {"mpegts_flags": flags} if flags else None
    codec_of_pictures = "mpeg2video" if path.suffix == ".ts" else "mpeg4"
    return write_video(path, map(picture, range(25)), codec=codec_of_pictures, sound=sound, container_options=container)


def click_of(path: Path) -> float:
    """Seconds between the first picture and the click."""
    with av.open(str(path)) as container:
        start = next(frame.time for frame in container.decode(video=0))
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            loud = np.abs(samples[0, :: 1 if frame.format.is_planar else frame.layout.nb_channels].astype(float))
            found = np.flatnonzero(loud > 0.3 * (32768 if samples.dtype == np.int16 else 1))
            if len(found):
                return frame.time - start + found[0] / frame.sample_rate
    raise AssertionError("no click")


def sound_of(path: Path) -> tuple[str, bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return stream.codec_context.name, b"".join(bytes(packet) for packet in container.demux(stream))


def warnings_for(source: Path, output: Path) -> tuple[str, ...]:
    with VideoReader(source) as reader:
        info = reader.info
        colour = info.colour.resolved(info.height)
        spec = OutputSpec(output, info.width, info.height, Fraction(1, 25), Fraction(25), colour)
        warnings = plan_streams(info, spec, reader.origin).warnings
    return tuple(warning for warning in warnings if " stream " in warning)


SOURCES = [
    ("in.asf", "wmav2", {"rate": 48000, "layout": "stereo", "bit_rate": 128000}),
    ("in.avi", "adpcm_ms", {}),
    ("in.avi", "adpcm_ima_wav", {}),
    ("in.avi", "pcm_mulaw", {}),
    ("in.avi", "pcm_alaw", {}),
    ("in.mov", "pcm_mulaw", {}),
    ("in.mov", "pcm_alaw", {}),
    ("in.3gp", "libopencore_amrnb", {"bit_rate": 12200}),
]


@pytest.mark.parametrize(("name", "codec", "options"), SOURCES)
def test_matroska_takes_sound_that_wav_takes(tmp_path, name, codec, options):
    source = with_sound(tmp_path / name, codec, **options)
    output = tmp_path / "out.mkv"
    assert warnings_for(source, output) == ()
    verification = verify(output, convert(source, output, rate=1))
    assert verification.ok, verification.failures()
    assert sound_of(output) == sound_of(source)
    assert click_of(output) == pytest.approx(click_of(source), abs=0.002)


@pytest.mark.parametrize(("name", "codec", "options"), SOURCES[:4] + SOURCES[7:])
def test_sound_that_mp4_cannot_hold_is_encoded_again(tmp_path, name, codec, options):
    source = with_sound(tmp_path / name, codec, **options)
    output = tmp_path / "out.mp4"
    (warning,) = warnings_for(source, output)
    assert warning.endswith("cannot be copied into .mp4 and is encoded again as AAC.")
    verification = verify(output, convert(source, output, rate=1))
    assert verification.ok, verification.failures()
    assert sound_of(output)[0] == "aac"
    assert click_of(output) == pytest.approx(click_of(source), abs=0.003)


@pytest.mark.parametrize("output", ["out.mkv", "out.mp4", "out.webm"])
def test_sound_of_broadcasts_in_latm_is_kept(tmp_path, output):
    source = with_sound(tmp_path / "in.ts", "aac", rate=48000, flags="+latm")
    settings = {"codec": "vp9"} if output.endswith("webm") else {}
    assert "encoded again as" in " ".join(warnings_for(source, tmp_path / output))
    verification = verify(tmp_path / output, convert(source, tmp_path / output, rate=1, **settings))
    assert verification.ok, verification.failures()
    assert sound_of(tmp_path / output)[0] == ("opus" if output.endswith("webm") else "aac")
    assert click_of(tmp_path / output) == pytest.approx(float(CLICK), abs=0.003)


def blu_ray_subtitles(seconds: list[float]) -> bytes:
    """A .sup file: at each time a small picture, and 0.3 s later none."""

    def segment(time: float, kind: int, body: bytes) -> bytes:
        return b"PG" + struct.pack(">IIBH", round(time * 90000), 0, kind, len(body)) + body

    def composition(number: int, objects: bytes) -> bytes:
        return struct.pack(">HHBHBBBB", 64, 48, 0x10, number, 0x80, 0, 0, bool(objects)) + objects

    window = b"\x01" + struct.pack(">BHHHH", 0, 4, 30, 16, 8)
    rows = (bytes([0, 0x80 | 16, 1]) + b"\0\0") * 8
    pixels = struct.pack(">HBB", 0, 0, 0xC0) + (len(rows) + 4).to_bytes(3, "big") + struct.pack(">HH", 16, 8) + rows
    made = b""
    for number, time in enumerate(seconds):
        made += segment(time, 0x16, composition(2 * number, struct.pack(">HBBHH", 0, 0, 0, 4, 30)))
        made += segment(time, 0x17, window) + segment(time, 0x14, b"\0\0" + bytes([1, 235, 128, 128, 255]))
        made += segment(time, 0x15, pixels) + segment(time, 0x80, b"")
        made += segment(time + 0.3, 0x16, composition(2 * number + 1, b"")) + segment(time + 0.3, 0x17, window)
        made += segment(time + 0.3, 0x80, b"")
    return made


def test_subtitle_pictures_of_blu_ray_are_copied(tmp_path):
    (tmp_path / "in.sup").write_bytes(blu_ray_subtitles([40.2, 40.6]))
    video = write_video(tmp_path / "film.mp4", map(picture, range(25)), options={"bf": "0"})
    source, output = tmp_path / "in.m2ts", tmp_path / "out.mkv"
    blu_ray = {"format": "mpegts", "options": {"mpegts_m2ts_mode": "1"}}
    with av.open(str(tmp_path / "in.sup")) as texts, av.open(str(video)) as film:
        container: Any = av.open(str(source), "w", **blu_ray)
        with container:
            pictures = container.add_stream_from_template(film.streams.video[0], opaque=True)
            text = container.add_stream_from_template(texts.streams[0])
            packets = []
            for packet in film.demux(video=0):
                if packet.size:
                    shift = round(40 / packet.time_base)
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, pictures
                    packets.append(packet)
            for packet in texts.demux():
                if packet.size:
                    packet.stream = text
                    packets.append(packet)
            for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
                container.mux(packet)
    verification = verify(output, convert(source, output, rate=1))
    assert verification.ok, verification.failures()
    data = {}
    for path in (source, output):
        with av.open(str(path)) as container:
            stream = container.streams.subtitles[0]
            packets = [packet for packet in container.demux(stream) if packet.size]
            data[path] = b"".join(bytes(packet) for packet in packets)
            shown = sorted({round(float(packet.pts * packet.time_base) % 40, 3) for packet in packets})
            assert shown == [0.2, 0.5, 0.6, 0.9]
    assert data[source] == data[output]


def test_chapters_that_are_kept_are_not_called_left_out(tmp_path):
    film = write_video(tmp_path / "film.mp4", map(picture, range(25)))
    source = tmp_path / "in.mp4"
    with av.open(str(film)) as original, av.open(str(source), "w") as container:
        stream = container.add_stream_from_template(original.streams.video[0], opaque=True)
        parts = [("One", 0, 400), ("Two", 400, 1000)]
        container.set_chapters(
            [
                {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for n, (title, a, b) in enumerate(parts, 1)
            ]
        )
        for packet in original.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    with VideoReader(source) as reader:
        assert "data" in {stream.kind for stream in reader.info.streams}
    assert warnings_for(source, tmp_path / "out.mkv") == ()
    convert(source, tmp_path / "out.mkv", rate=1)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]


def test_a_song_with_a_cover_says_what_it_holds(tmp_path):
    from safa.errors import MediaError

    with av.open(str(tmp_path / "song.mp3"), "w") as container:
        sound = container.add_stream("libmp3lame", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(64, 48, "yuvj420p")
        frame.pts = 0
        container.mux([*cover.encode(frame), *cover.encode(None)])
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        silence.sample_rate, silence.pts, silence.time_base = 44100, 0, Fraction(1, 44100)
        container.mux([*sound.encode(silence), *sound.encode(None)])
    with pytest.raises(MediaError, match=r"\(it holds only audio and cover picture\)"):
        VideoReader(tmp_path / "song.mp3")
