"""The elements of Matroska files."""

from collections.abc import Iterator

# Identifiers, as RFC 8794 and RFC 9559 have them.
SEGMENT, CLUSTER = bytes.fromhex("18538067"), bytes.fromhex("1F43B675")
INFO, TRACKS, TRACK_ENTRY, VIDEO, COLOUR = (
    bytes.fromhex(code) for code in ("1549A966", "1654AE6B", "AE", "E0", "55B0")
)


def elements(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int, int]]:
    """(identifier, where it begins, where its content begins, where it ends) of the elements of `data` in a row."""
    while at < stop:
        length = 9 - data[at].bit_length()
        width = 9 - data[at + length].bit_length()
        body = at + length + width
        size = int.from_bytes(data[at + length : body], "big") & (1 << 7 * width) - 1
        unknown = size == (1 << 7 * width) - 1
        end = stop if unknown else body + size
        yield data[at : at + length], at, body, end
        at = end
