"""Files that end before their own header says: an interrupted copy or download plays, but is not whole.

MP4 shows it in its index (missing, or with more frames than there are). Matroska, WebM and AVI have no index that must
be complete, but state their size at the beginning. Of YUV4MPEG2 all frames have one size.
"""

from pathlib import Path

SEGMENT = b"\x18\x53\x80\x67"  # Matroska's outermost element
HEADER = 4096  # bytes within which it begins


def missing_bytes(path: Path) -> int:
    """How many bytes a Matroska, WebM or AVI file lacks of the size that it states; 0 if none, or unknown."""
    return max(0, stated_size(path) - path.stat().st_size) if path.is_file() else 0


def stated_size(path: Path) -> int:
    """The size in bytes that a Matroska, WebM or AVI file states; 0 if it is unknown."""
    with path.open("rb") as file:
        head = file.read(HEADER)
    if head[:4] == b"RIFF":
        return 8 + int.from_bytes(head[4:8], "little")
    if head[:4] == b"\x1a\x45\xdf\xa3" and (at := head.find(SEGMENT)) > 0:
        return _end_of_element(head, at + len(SEGMENT))
    return 0


def rest_of_y4m(head: bytes, total: int, frames: int, content: int) -> int:
    """Return how many bytes of YUV4MPEG2 are left behind its last whole frame.

    `head` is how it begins, `total` all its bytes, `content` those of the pixels of its `frames`.
    """
    header = head.find(b"\n") + 1
    mark = head.find(b"\n", header) + 1 - header  # the line before every frame
    return max(0, total - header - frames * mark - content) if header > 0 and mark > 0 else 0


def _end_of_element(head: bytes, at: int) -> int:
    """Where the element ends whose size field begins at ``at``; 0 if its size is unknown."""
    if at >= len(head) or not head[at]:
        return 0
    length = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + length], "big") & (1 << 7 * length) - 1
    unknown = size == (1 << 7 * length) - 1
    return 0 if unknown else at + length + size
