"""Whether a video has transparency, be it in its first frame or later."""

from functools import lru_cache
from pathlib import Path

import av
import numpy as np

from safa.video.names import for_ffmpeg
from safa.video.read.decoding import has_alpha_beside

# Where the header of a ProRes frame, after its size and name, says how transparency is coded.
PRORES_MARK, PRORES_ALPHA = slice(4, 8), 8 + 17


def has_alpha(path: Path, stream: av.VideoStream, frame: av.VideoFrame) -> bool:
    """Return whether a video is transparent somewhere or, of codecs whose pixels have alpha, whether it can be.

    `frame` is the first one. FFmpeg gives all GIFs an alpha channel, and most are opaque all over: they are decoded.
    """
    codec = stream.codec_context.codec.canonical_name
    if codec == "mjpeg":
        return False  # the fourth colour of CMYK, which FFmpeg has turned into RGB
    if codec == "gif" and path.is_file():
        return _is_ever_transparent(path, stream.index, path.stat().st_mtime_ns)
    if codec == "gif" or frame.format.has_palette:
        return is_transparent(frame)
    if codec == "prores" and _prores_alpha(path, stream):
        return True
    return has_alpha_beside(stream) or has_alpha_channel(frame)


def has_alpha_channel(frame: av.VideoFrame) -> bool:
    """Return whether the pixels of a frame can be transparent."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def is_transparent(frame: av.VideoFrame) -> bool:
    """Return whether any pixel of a frame of 8 bits is not opaque."""
    if frame.format.has_palette:
        places, palette = frame.to_ndarray()
        return bool(palette[np.unique(places), 0].min() < 255)
    if not has_alpha_channel(frame):
        return False
    return bool(frame.to_ndarray(format="rgba")[..., 3].min() < 255)


@lru_cache(maxsize=8)
def _is_ever_transparent(path: Path, index: int, changed: int) -> bool:
    try:
        with av.open(for_ffmpeg(path)) as container:
            stream = container.streams[index]
            assert isinstance(stream, av.VideoStream)
            return any(is_transparent(frame) for frame in container.decode(stream))
    except (av.error.FFmpegError, OSError):
        return False  # the reader tells of damage


def _prores_alpha(path: Path, stream: av.VideoStream) -> bool:
    """Return whether any frame header of a file with an index says that there is transparency."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        for entry in stream.index_entries:
            file.seek(entry.pos)
            head = file.read(PRORES_ALPHA + 1)
            if len(head) > PRORES_ALPHA and head[PRORES_MARK] == b"icpf" and head[PRORES_ALPHA] & 15:
                return True
    return False
