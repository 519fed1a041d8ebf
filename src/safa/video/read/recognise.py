"""Whether a file is a video, by what is in it: cameras, discs and old programs give them all kinds of names."""

from functools import lru_cache
from itertools import islice
from pathlib import Path

import av

from safa.errors import MediaError
from safa.video.names import PICTURE_SUFFIXES, VIDEO_SUFFIXES
from safa.video.read.source import find_video, open_container

# Formats that only name other files.
PLAYLISTS = {"hls", "concat", "dash", "sdp", "imf"}


def reason_against(path: Path) -> str | None:
    """Return why a file is not taken for a video, in a few words; None where it is one.

    A name that is a video's is believed, so that a damaged one is told of; all others are opened.
    """
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return None
    if suffix in PICTURE_SUFFIXES:
        return "picture"
    status = path.stat()
    return _found(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 14)
def _found(path: Path, size: int, changed: int) -> str | None:
    if not size:
        return "empty"
    try:
        with open_container(path) as container:
            if PLAYLISTS & set(container.format.name.split(",")):
                return "playlist"
            stream = find_video(container, path)
            # A picture has one packet; some of the first may be damaged.
            packets = sum(1 for packet in islice(container.demux(stream), 4) if packet.size)
    except (MediaError, av.error.FFmpegError, OSError):
        return "no video"
    return None if packets > 1 else "picture"
