"""Small real video files, made on the fly."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, RATE = 48, 32, 10


def write_clip(
    path: Path,
    frames: int = 5,
    sound: bool = True,
    times: list[Fraction] | None = None,
    size: tuple[int, int] | None = None,
) -> Path:
    """A gradient moving over bands with a tone; ``times`` in seconds make a variable frame rate."""
    width, height = size or (WIDTH, HEIGHT)
    tick = Fraction(1, 1000)
    times = times or [Fraction(k, RATE) for k in range(frames)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "10", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p" if width % 2 == 0 else "yuv444p"
        video.codec_context.time_base = tick
        audio = container.add_stream("aac", rate=8000, layout="mono") if sound else None
        for k, time in enumerate(times):
            x = (np.arange(width) * 5 + k * 15) % 256
            # The bands give motion a place in both directions, so that the flow is well defined.
            bands = np.repeat(70 + np.arange(height)[:, None] * 11 % 90, width, axis=1)
            image = np.stack([np.tile(x, (height, 1)), bands, np.full((height, width), 40)], -1)
            frame = av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            seconds = float(times[-1]) + 1 / RATE
            samples = np.sin(np.arange(int(8000 * seconds)) * 0.3).astype(np.float32)[None]
            for first in range(0, samples.shape[1], 1024):
                block = av.AudioFrame.from_ndarray(samples[:, first : first + 1024], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 8000, first, Fraction(1, 8000)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every sound packet."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def video_frames(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """Time and RGB picture of every frame."""
    with av.open(str(path)) as container:
        return [(f.pts * f.time_base, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
