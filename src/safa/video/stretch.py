"""Sound at another speed and its own pitch, for slow motion."""

from fractions import Fraction
from typing import Any

import av
from av.container import OutputContainer

# Bits a second and channel: transparent for either codec.
BIT_RATE = 96_000
# Seconds by which a sound frame may miss its place before the gap is taken for real.
GAP = Fraction(1, 10)


class Stretcher:
    """Decodes one sound stream, stretches it with FFmpeg's atempo and encodes it again (AAC, or Opus in WebM)."""

    def __init__(self, container: OutputContainer, source: Any, slow: Fraction, metadata: dict[str, str]) -> None:
        """Add the encoded stream to `container`. `slow` 2 means twice as long."""
        self._source, self._slow = source, slow
        codec = "libopus" if container.format.name == "webm" else "aac"
        rate = 48_000 if codec == "libopus" else source.rate
        stream: Any = container.add_stream(codec, rate=rate, layout=source.layout.name)
        self._stream = stream
        self._stream.bit_rate = BIT_RATE * source.layout.nb_channels
        self._stream.metadata.update(metadata)
        self._stream.disposition = source.disposition
        self._graph: Any = None
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
            start = frame.pts * self._source.time_base - origin
            if self._graph is None or abs(start - self._expected) > GAP:
                packets += self._drain()
                self._begin(start)
            self._expected = start + Fraction(frame.samples, frame.sample_rate)
            self._graph.push(frame)
            packets += self._encode()
        return packets

    def finish(self) -> list[Any]:
        """What is left in the filter and the encoder."""
        packets = self._drain()
        return packets + list(self._stream.encode(None))

    def _begin(self, start: Fraction) -> None:
        rate = self._stream.rate
        self._pts = max(self._pts, round(start * self._slow * rate))
        graph = av.filter.Graph()
        nodes = [graph.add_abuffer(template=self._source)]
        nodes += [graph.add("atempo", f"{float(tempo):.9f}") for tempo in _tempos(1 / self._slow)]
        nodes.append(graph.add("aresample", str(rate)))
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes)
        graph.configure()
        self._graph = graph

    def _drain(self) -> list[Any]:
        if self._graph is None:
            return []
        self._graph.push(None)
        packets = self._encode()
        self._graph = None
        return packets

    def _encode(self) -> list[Any]:
        packets: list[Any] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return packets
            frame.pts, frame.time_base = self._pts, Fraction(1, self._stream.rate)
            self._pts += frame.samples
            packets += self._stream.encode(frame)


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
