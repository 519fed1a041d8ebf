"""Interlaced frames to whole ones, by FFmpeg's bwdif filter."""

from collections.abc import Iterator
from fractions import Fraction

import av

# Values of AVFieldOrder that mean two fields in a frame, taken at different times.
INTERLACED_ORDERS = {2, 3, 4, 5}


def is_interlaced(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Whether a stream says so in its header or its first frame does."""
    return frame.interlaced_frame or stream.codec_context.field_order in INTERLACED_ORDERS


def deinterlace(frames: Iterator[av.VideoFrame], tick: Fraction) -> Iterator[av.VideoFrame]:
    """One whole frame for each frame, with its time; those that are not marked interlaced come out as they are.

    Each frame keeps the moment of its first field. Up to the first interlaced frame, which may come late, nothing is
    changed; the `time_base` of those after it differs from the stream's, `tick`.
    """
    graph: av.filter.Graph | None = None
    kind: tuple[int, int, str] | None = None
    before: av.VideoFrame | None = None
    for frame in frames:
        last, kind = kind, (frame.width, frame.height, frame.format.name)
        if last is not None and kind != last:  # the filter cannot go on
            if graph is not None:
                yield from _finished(graph)
            graph = before = None
        if graph is None and not frame.interlaced_frame:
            yield frame
            before = frame
            continue
        if graph is None:
            graph = _graph(frame, tick)
            if before is not None:
                graph.push(before)
        graph.push(frame)
        for ready in _ready(graph):
            if before is None:
                yield ready
            before = None  # it went before; the filter only had to see it
    if graph is not None:
        yield from _finished(graph)


def _graph(frame: av.VideoFrame, tick: Fraction) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=tick)
    filtering = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, filtering, graph.add("buffersink"))
    graph.configure()
    return graph


def _finished(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    graph.push(None)
    yield from _ready(graph)


def _ready(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame
