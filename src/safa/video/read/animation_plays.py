"""How often an animated picture is shown."""

from pathlib import Path

# Bytes at the beginning of a file within which it says so.
HEAD = 1 << 16


def plays_of(container: str, path: Path) -> int:
    """Return how often a GIF or APNG is shown, 0 for without end; other videos may be shown for ever."""
    if container not in ("gif", "apng") or not path.is_file():
        return 0
    with path.open("rb") as file:
        head = file.read(HEAD)
    if container == "apng":
        at = head.find(b"acTL")
        return int.from_bytes(head[at + 8 : at + 12], "big") if at >= 0 else 0
    at = head.find(b"NETSCAPE2.0\x03\x01")
    if at < 0:
        return 1
    again = int.from_bytes(head[at + 13 : at + 15], "little")
    return again + 1 if again else 0
