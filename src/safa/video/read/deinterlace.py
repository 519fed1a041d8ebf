"""Interlaced frames to whole ones, by FFmpeg's bwdif filter."""

from collections.abc import Iterator

import av

# Values of AVFieldOrder that mean two fields in a frame, taken at different times.
INTERLACED_ORDERS = {2, 3, 4, 5}


def is_interlaced(stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Whether a stream says so in its header or its first frame does."""
    return frame.interlaced_frame or stream.codec_context.field_order in INTERLACED_ORDERS


def deinterlace(frames: Iterator[av.VideoFrame], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """One whole frame for each frame, with its time; those that are not marked interlaced come out as they are.

    Each frame keeps the moment of its first field. The frames' `time_base` differs from the stream's.
    """
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream)
    filtering = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, filtering, graph.add("buffersink"))
    graph.configure()
    for frame in frames:
        if (frame.width, frame.height) != (stream.width, stream.height):
            yield frame  # the filter cannot go on; the reader reports the change of size
            return
        graph.push(frame)
        yield from _ready(graph)
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
