"""Sound that is encoded again: at another speed and its own pitch, or because the output cannot hold it as it is."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import OutputContainer

from safa.video.containers import open_container

# Bits per second and channel: transparent for either codec.
BIT_RATE = 96_000
# Usual layouts by number of channels, FFmpeg's choice first and Opus's last.
LAYOUTS = {1: ("mono",), 2: ("stereo",), 3: ("2.1", "3.0"), 4: ("4.0", "quad"), 5: ("5.0",), 6: ("5.1",)}
LAYOUTS |= {7: ("6.1",), 8: ("7.1",)}
# Packets at the beginning that show whether sound can be stretched.
TRIED = 8
# Seconds by which a sound frame may miss the end of the one before it: more is a gap or a wrong timestamp.
GAP = 1
# How FFmpeg's resampler keeps the sound at its times, in seconds: a deviation of `min_comp` is corrected by a change of
# speed of at most `max_soft_comp`, one of `min_hard_comp` by silence, or by leaving samples out.
IN_TIME = "min_comp=0.005:max_soft_comp=0.01:comp_duration=1:min_hard_comp=0.04"
# Lead of atempo's output where it slows down, in parts of its window, measured at 8 to 48 kHz: a constant, and a part
# that grows with the factor; then the lead of each further stage, whose input is slow already.
LEAD, LEAD_PER_FACTOR, FURTHER_LEAD = 0.186, 0.142, 0.22


class Stretcher:
    """Decodes one sound stream, stretches it with FFmpeg's atempo and encodes it again (AAC, or Opus in WebM)."""

    def __init__(self, container: OutputContainer, source: Any, slow: Fraction, metadata: dict[str, str]) -> None:
        """Add the encoded stream to `container`. `slow` 2 means twice as long."""
        self._source, self._slow = source, slow
        codec = _codec(container.format.name)
        rate = _rate(codec, source.rate)
        self._layout = _layout(codec, rate, source.layout)
        stream: Any = container.add_stream(codec, rate=rate, layout=self._layout)
        self._stream = stream
        self._kind: tuple[Any, ...] = ()  # of the frames that the filter takes
        self._stream.bit_rate = BIT_RATE * source.layout.nb_channels
        self._stream.metadata.update(metadata)
        self._stream.disposition = source.disposition
        self._graph: Any = None
        self._held: tuple[Any, Fraction] | None = None  # a frame that comes late, and when
        self._expected = Fraction(0)  # where the next decoded frame should start, seconds on the source's clock
        self._pts = 0  # samples written so far, on the output's clock

    def push(self, packet: Any, origin: Fraction) -> list[Any]:
        """Encoded packets for a packet of the source; `origin` (seconds) is subtracted from its times."""
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            return []  # a damaged packet leaves a gap, which is kept as one
        packets = []
        for frame in frames:
            start = None if frame.pts is None else frame.pts * self._source.time_base - origin
            if self._held is not None:
                packets += self._take_held(start)
            if self._graph is not None and start is not None and start > self._expected + GAP:
                self._held = frame, start
            else:
                packets += self._take(frame, start)
        return packets

    def finish(self) -> list[Any]:
        """Return the packets left in the filter and the encoder."""
        packets = self._take_held(None) if self._held is not None else []
        packets += self._drain()
        return packets + list(self._stream.encode(None))

    def _take_held(self, following: Fraction | None) -> list[Any]:
        """Take the frame that came late: after a gap if the next one comes still later, else where it was expected."""
        assert self._held is not None
        (frame, start), self._held = self._held, None
        if following is None or following <= start:
            return self._take(frame, None)
        return self._drain() + self._take(frame, start)

    def _take(self, frame: Any, start: Fraction | None) -> list[Any]:
        """Stretch a frame that is heard from `start` on, or after the one before it."""
        packets = []
        if start is None or start < self._expected - GAP:
            start = self._expected
        kind = frame.format.name, frame.sample_rate, frame.layout.name
        if self._graph is None or kind != self._kind:
            packets += self._drain()
            self._kind = kind
            self._begin(start)
        self._expected = start + Fraction(frame.samples, frame.sample_rate)
        frame.time_base = self._source.time_base
        frame.pts = round(start / frame.time_base)
        self._graph.push(frame)
        return packets + self._encode()

    def _begin(self, start: Fraction) -> None:
        """Set up the filter for sound from `start` on."""
        rate = self._stream.rate
        self._pts = max(self._pts, round(start * self._slow * rate))
        tempos = _tempos(1 / self._slow)
        graph = av.filter.Graph()
        sample_format, sample_rate, layout = self._kind
        time_base = self._source.time_base
        nodes = [graph.add_abuffer(format=sample_format, sample_rate=sample_rate, layout=layout, time_base=time_base)]
        nodes.append(graph.add("aresample", f"{rate}:{IN_TIME}"))
        if self._slow != 1:
            nodes.append(graph.add("apad", f"pad_len={2 * _window(rate)}"))  # or atempo would swallow the end
            nodes += [graph.add("atempo", f"{float(tempo):.9f}") for tempo in tempos]
            nodes.append(graph.add("adelay", f"{_lead(tempos, rate)}S:all=1"))
        nodes.append(graph.add("aformat", f"sample_fmts=fltp:channel_layouts={self._layout}"))
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes)
        graph.configure()
        self._graph = graph

    def _drain(self) -> list[Any]:
        if self._graph is None:
            return []
        self._graph.push(None)
        packets = self._encode(round(self._expected * self._slow * self._stream.rate))
        self._graph = None
        return packets

    def _encode(self, end: int | None = None) -> list[Any]:
        """Encode what the filter has ready; `end`: up to this sample."""
        packets: list[Any] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return packets
            if end is not None and self._pts + frame.samples > end:
                if end <= self._pts:
                    continue
                samples = np.ascontiguousarray(frame.to_ndarray()[:, : end - self._pts])
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._layout)
                frame.sample_rate = self._stream.rate
            frame.pts, frame.time_base = self._pts, Fraction(1, self._stream.rate)
            self._pts += frame.samples
            packets += self._stream.encode(frame)


def stretch_codec(container: str) -> str:
    """Return the name of the codec that sound is encoded in for FFmpeg's `container`."""
    return "Opus" if container == "webm" else "AAC"


def can_stretch(source: Path, index: int, container: str, slow: Fraction) -> bool:
    """Return whether the sound stream of that number can be decoded, stretched and encoded for FFmpeg's `container`.

    Its first packets are, to memory.
    """
    try:
        with open_container(source) as original, av.open(io.BytesIO(), "w", format=container) as trial:
            stream = original.streams[index]
            stretcher = Stretcher(trial, stream, slow, {})
            trial.start_encoding()
            packets = (packet for packet in original.demux(stream) if packet.size and packet.pts is not None)
            for packet in islice(packets, TRIED):
                stretcher.push(packet, Fraction(0))
    except (av.error.FFmpegError, ValueError, AttributeError):  # the last: a codec that this FFmpeg does not know
        return False
    return True


def encoded_rate(container: str, rate: int) -> int:
    """Samples a second of stretched sound in FFmpeg's `container`, of a source with `rate`."""
    return _rate(_codec(container), rate)


def _codec(container: str) -> str:
    return "libopus" if container == "webm" else "aac"


def _rate(codec: str, expected: int) -> int:
    """Return the encoder's lowest sample rate that loses nothing, or its highest."""
    rates = av.codec.Codec(codec, "w").audio_rates or [expected]
    return max(rates) if codec == "libopus" else min((rate for rate in rates if rate >= expected), default=max(rates))


def _layout(codec: str, rate: int, expected: Any) -> str:
    """The source's channels as the encoder takes them; PCM in Matroska does not even say which they are."""
    taken = (name for name in (str(expected.name), *LAYOUTS.get(expected.nb_channels, ())) if _opens(codec, rate, name))
    return next(taken, str(expected.name))


def _opens(codec: str, rate: int, layout: str) -> bool:
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = rate, layout, encoder.codec.audio_formats[0]
    try:
        encoder.open()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _tempos(tempo: Fraction) -> list[Fraction]:
    """Factors of atempo, which takes 1/2 to 100 and sounds best up to 2, that make up `tempo`."""
    factors = []
    while tempo < Fraction(1, 2):
        factors.append(Fraction(1, 2))
        tempo *= 2
    while tempo > 2:
        factors.append(Fraction(2))
        tempo /= 2
    return [*factors, tempo]


def _window(rate: int) -> int:
    """Samples that atempo takes at once: a power of two from 1/24 s on."""
    return 1 << (rate // 24 - 1).bit_length()


def _lead(tempos: list[Fraction], rate: int) -> int:
    """Samples by which the output of atempo, once for each of `tempos`, comes before its place."""
    total = Fraction(0)
    for number, tempo in enumerate(tempos):
        own = Fraction(FURTHER_LEAD) if number else Fraction(LEAD) + Fraction(LEAD_PER_FACTOR) / tempo
        total = total / tempo + (own if tempo < 1 else 0)
    return round(total * _window(rate))
