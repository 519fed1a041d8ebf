"""Small real video files, made on the fly."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer

WIDTH, HEIGHT, RATE = 48, 32, 10


Sound = Callable[[OutputContainer], Callable[[], Iterable[av.Packet]]]
"""Adds a sound stream to a container and returns what makes its packets."""


def write_video(
    path: Path,
    pictures: Iterable[np.ndarray | av.VideoFrame],
    ticks: Iterable[int] | None = None,
    time_base: Fraction = Fraction(1, 25),
    *,
    rate: int | None = None,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    configure: Callable[[Any], None] | None = None,
    duration_of: Callable[[int], int] | None = None,
    sound: Sound | None = None,
) -> Path:
    """Encode ``pictures``, ``H,W,3`` uint8 or ready frames, each shown from its tick of ``time_base`` on.

    ``rate`` is the nominal one, the number of ticks in a second if None;
    ``configure`` is called with the stream before the first frame; ``duration_of`` gives the duration that the packet
    of a tick states.
    """
    pictures = iter(pictures)
    first = next(pictures)
    height, width = (first.height, first.width) if isinstance(first, av.VideoFrame) else first.shape[:2]
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate or round(1 / time_base), options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = stream.time_base = time_base
        if configure is not None:
            configure(stream)
        packets_of_sound = sound(container) if sound is not None else tuple

        def mux(packets: Iterable[av.Packet]) -> None:
            for packet in packets:
                if duration_of is not None:
                    packet.duration = duration_of(packet.pts)
                container.mux(packet)

        for tick, picture in zip(ticks or itertools.count(), itertools.chain([first], pictures), strict=False):
            frame = picture
            if not isinstance(frame, av.VideoFrame):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            frame.pts, frame.time_base = tick, time_base
            mux(stream.encode(frame))
        mux(stream.encode(None))
        for packet in packets_of_sound():
            container.mux(packet)
    return path


def write_clip(
    path: Path,
    frames: int = 5,
    sound: bool = True,
    times: list[Fraction] | None = None,
    size: tuple[int, int] | None = None,
) -> Path:
    """A gradient moving over bands with a tone; ``times`` in seconds make a variable frame rate."""
    width, height = size or (WIDTH, HEIGHT)
    times = times or [Fraction(k, RATE) for k in range(frames)]
    seconds = float(times[-1]) + 1 / RATE

    def picture(k: int) -> np.ndarray:
        x = (np.arange(width) * 5 + k * 15) % 256
        # The bands give motion a place in both directions, so that the flow is well defined.
        bands = np.repeat(70 + np.arange(height)[:, None] * 11 % 90, width, axis=1)
        return np.stack([np.tile(x, (height, 1)), bands, np.full((height, width), 40)], -1).astype(np.uint8)

    def tone(container: OutputContainer) -> Callable[[], list[av.Packet]]:
        audio: Any = container.add_stream("aac", rate=8000, layout="mono")

        def packets() -> list[av.Packet]:
            made = []
            samples = np.sin(np.arange(int(8000 * seconds)) * 0.3).astype(np.float32)[None]
            for first in range(0, samples.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(samples[:, first : first + 1024], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 8000, first, Fraction(1, 8000)
                made += audio.encode(block)
            return made + audio.encode(None)

        return packets

    return write_video(
        path,
        map(picture, range(len(times))),
        [round(time * 1000) for time in times],
        Fraction(1, 1000),
        pixel_format="yuv420p" if width % 2 == 0 else "yuv444p",
        options={"crf": "10", "preset": "ultrafast"},
        rate=RATE,
        sound=tone if sound else None,
    )


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every sound packet."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def video_frames(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Time and RGB picture of every frame."""
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
