"""Makes the tiny real files that the tests here run on."""

import hashlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer

from safa.video.encoder import OutputSpec
from safa.video.folder_source import open_reader
from safa.video.info import ReadOptions
from safa.video.journal import Journal, work_folder
from safa.video.mux import mux
from safa.video.schedule import Timeline, output_time_base
from safa.video.segments import SegmentWriter
from safa.video.streams import StreamPlan, plan_streams
from safa.video.verify import Expected
from tests.media import write_video

SIZE = (64, 48)


def picture(number: int, width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    """H,W,3 uint8: a smooth pattern with a square that moves a step a frame, so that all frames differ."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) * 2 % 256], axis=-1)
    image = image.astype(np.uint8)
    left = number * 3 % max(width - 8, 1)
    image[height // 3 : height // 3 + 8, left : left + 8] = (255, 255 - number % 7 * 20, number * 11 % 256)
    return image


def make_video(
    path: Path,
    times: Sequence[int] = tuple(range(12)),
    time_base: Fraction = Fraction(1, 24),
    *,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    audio: float | None = None,
    audio_start: float = 0.0,
    configure: Callable[[Any], None] | None = None,
    last_duration: int | None = None,
) -> Path:
    """Write a small video: one frame at each of `times` ticks, and `audio` seconds of a tone from `audio_start`."""

    def sound(container: OutputContainer) -> Callable[[], list[av.Packet]]:
        codec = "libopus" if path.suffix == ".webm" else "aac"
        stream = container.add_stream(codec, rate=48000, layout="mono")
        return lambda: tone(stream, audio, audio_start) if audio else []

    return write_video(
        path,
        (picture(number, *size) for number in range(len(times))),
        times,
        time_base,
        rate=24,
        codec=codec,
        pixel_format=pixel_format,
        options=options,
        container_options=container_options,
        configure=configure,
        duration_of=lambda tick: (last_duration or 0) if tick == times[-1] else 0,
        sound=sound if audio is not None else None,
    )


def tone(stream: Any, seconds: float, start: float = 0.0) -> list[av.Packet]:
    """Encode a 440 Hz tone on an audio stream."""
    count = int(seconds * 48000)
    wave = (np.sin(np.arange(count) * 2 * np.pi * 440 / 48000) * 0.3).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, int(start * 48000), Fraction(1, 48000)
    resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48000, frame_size=stream.frame_size or 960)
    packets = []
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        packets += stream.encode(part)
    return packets + stream.encode(None)


def write_frames(
    source: Path,
    output: Path,
    *,
    rate: int | None = 2,
    fps: Fraction | None = None,
    source_fps: Fraction | None = None,
    slow: Fraction = Fraction(1),
    scale: int = 1,
    per_segment: int = 8,
    stop_after: int | None = None,
    selection: tuple[Fraction | None, Fraction | None] = (None, None),
    fingerprint: dict[str, Any] | None = None,
    restart: bool = False,
    **settings: Any,
) -> tuple[Journal, OutputSpec, StreamPlan, int] | None:
    """Source to finished segments; every output frame is the source frame before it, `scale` times enlarged.

    Returns what `mux` needs and how many frames were kept from an earlier run; None when stopped after
    `stop_after`.
    """
    with open_reader(source, ReadOptions(source_fps, *selection)) as reader:
        info = reader.info
        timeline = Timeline(rate, fps, slow)
        spec = OutputSpec(
            path=output,
            width=info.width * scale,
            height=info.height * scale,
            time_base=output_time_base(info.time_base, rate, fps, slow),
            rate=fps or info.average_rate * (rate or 1) / slow,
            colour=info.colour.resolved(info.height, info.is_rgb),
            sample_aspect_ratio=info.sample_aspect_ratio,
            display_matrix=info.display_matrix,
            mastering=info.mastering,
            metadata=info.metadata,
            **{"preset": "veryfast", **settings},
        )
        plan = plan_streams(info, spec, reader.origin, reader.is_cut, slow=slow)
        prints = fingerprint or {"input": "a"}
        with SegmentWriter(
            work_folder(output), spec, prints, frames_per_segment=per_segment, restart=restart
        ) as writer:
            kept, number, held = writer.frames_done, 0, None
            for frame in reader.frames(alpha="a" in pixel_components(settings.get("pixel_format", "yuv420p"))):
                for moment in timeline.push(frame.time):
                    if number == stop_after:
                        return None
                    if writer.needs(number):
                        writer.write(held, moment)
                    number += 1
                held, duration = frame.image.repeat(scale, 0).repeat(scale, 1), frame.duration
            for moment in timeline.finish(duration):
                if writer.needs(number):
                    writer.write(held, moment)
                number += 1
            assert timeline.end is not None
            return writer.finish(timeline.end), spec, plan, kept


def convert(source: Path, output: Path, **settings: Any) -> Expected:
    """The whole way from source to output; returns what the output must hold."""
    result = write_frames(source, output, **settings)
    assert result is not None
    journal, spec, plan, _ = result
    return mux(journal, spec, plan, replace=True)


def frame_hashes(path: Path) -> list[tuple[Fraction, str]]:
    """(time, hash of the decoded picture) of every video frame."""
    with av.open(str(path)) as container:
        base = container.streams.video[0].time_base
        return [
            (frame.pts * base, hashlib.sha256(frame.to_ndarray(format="rgb48le").tobytes()).hexdigest())
            for frame in container.decode(video=0)
        ]


def make_rich(path: Path, *, seconds: int = 2) -> Path:
    """A Matroska file with two sound tracks, two subtitle tracks, chapters, a font and titles."""
    make_video(path.with_suffix(".plain.mkv"), range(24 * seconds))
    with av.open(str(path), "w") as container, av.open(str(path.with_suffix(".plain.mkv"))) as plain:
        container.metadata.update({"title": "A rich file", "ARTIST": "Somebody"})
        video: Any = container.add_stream_from_template(plain.streams.video[0], opaque=True)
        video.metadata["language"] = "jpn"
        sounds: list[Any] = [container.add_stream("aac", rate=48000, layout="mono")]
        sounds.append(container.add_stream("libopus", rate=48000, layout="mono"))
        for sound, language in zip(sounds, ("eng", "deu"), strict=True):
            sound.metadata.update({"language": language, "title": f"{language} sound"})
        texts: list[Any] = [container.add_mux_stream("subrip") for _ in range(2)]
        for text, language in zip(texts, ("fra", "spa"), strict=True):
            text.metadata["language"] = language
            text.time_base = Fraction(1, 1000)
        container.add_attachment("font.ttf", "font/ttf", b"glyphs" * 20)
        parts = [("One", 0, 700), ("Two", 700, seconds * 1000)]
        container.set_chapters(
            [
                {"id": n, "start": a, "end": b, "time_base": Fraction(1, 1000), "metadata": {"title": title}}
                for n, (title, a, b) in enumerate(parts, 1)
            ]
        )
        packets: list[Any] = [packet for packet in plain.demux(video=0) if packet.size]
        for packet in packets:
            packet.stream = video
        for sound in sounds:
            packets += tone(sound, float(seconds))
        for text in texts:
            for start in range(0, seconds * 1000, 500):
                packet = av.Packet(f"line at {start}".encode())
                packet.pts = packet.dts = start + 100
                packet.duration, packet.time_base, packet.stream = 300, Fraction(1, 1000), text
                packet.is_keyframe = True
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: (packet.dts or 0) * packet.time_base):
            container.mux(packet)
    return path


def pixel_components(pixel_format: str) -> str:
    """ "rgb", "yuva" and the like: "a" tells whether a format has alpha."""
    kinds = av.VideoFormat(pixel_format)
    return ("rgb" if kinds.is_rgb else "yuv") + "a" * any(part.is_alpha for part in kinds.components)


def make_interlaced(path: Path) -> Path:
    """MPEG-2 with two fields a frame, taken at different times."""

    def woven(number: int) -> np.ndarray:
        image = picture(2 * number)
        image[1::2] = picture(2 * number + 1)[1::2]
        return image

    def bit_rate(stream: Any) -> None:
        stream.bit_rate = 2_000_000

    options = {"flags": "+ildct+ilme", "top": "1"}
    return write_video(path, map(woven, range(12)), codec="mpeg2video", options=options, configure=bit_rate)
