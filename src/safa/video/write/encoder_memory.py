"""What encoders take in memory, and how they take less.

Encoders keep frames: to look ahead, to refer back to, one for each thread. Level 0 leaves an encoder as it is, 1 only
bounds its threads, 2 and 3 shorten all of that, which makes for larger files.
"""

from dataclasses import dataclass

import av

MOST_ECONOMY = 3

# Whatever the size: code, tables, bitstream buffers.
FIXED = 64 << 20


@dataclass(frozen=True)
class Appetite:
    """Bytes for each pixel of a frame of 8 bits, measured at 1920x1088 and, for the last level, 7680x4320 with the
    medium preset, and the options that lead to them; for levels 1, 2 and 3.
    """

    bytes: tuple[int, int, int]
    options: tuple[dict[str, str], dict[str, str], dict[str, str]] = ({}, {}, {})


APPETITES = {
    "libx264": Appetite(
        (260, 90, 23),
        (
            {"threads": "8"},
            {"threads": "2", "x264-params": "rc-lookahead=8:ref=2:bframes=2:sync-lookahead=0"},
            {"threads": "1", "x264-params": "rc-lookahead=0:ref=1:bframes=0:sync-lookahead=0"},
        ),
    ),
    "libx265": Appetite(
        (320, 160, 56),
        (
            {"x265-params": "frame-threads=3"},
            {"x265-params": "rc-lookahead=8:ref=2:bframes=2:frame-threads=2"},
            {"x265-params": "rc-lookahead=1:ref=1:bframes=0:frame-threads=1"},
        ),
    ),
    "libsvtav1": Appetite(
        (530, 290, 32),
        (
            {"svtav1-params": "lp=4"},
            {"svtav1-params": "lp=1"},
            {"svtav1-params": "lp=1:lookahead=0:pred-struct=1"},
        ),
    ),
    "libvpx-vp9": Appetite(
        (160, 110, 76),
        (
            {"threads": "8"},
            {"threads": "2", "lag-in-frames": "8"},
            {"threads": "1", "lag-in-frames": "0", "auto-alt-ref": "0"},
        ),
    ),
    "prores_ks": Appetite((42, 16, 10), ({"threads": "8"}, {"threads": "2"}, {"threads": "1"})),
    "ffv1": Appetite((82, 82, 82)),
    "rawvideo": Appetite((4, 4, 4)),
}
# Hardware encoders keep their frames in memory of their own.
OTHER = Appetite((12, 12, 12))


def economy_options(encoder: str, level: int) -> dict[str, str]:
    """FFmpeg options that make an encoder take less memory; those named "...-params" are added to what is there."""
    return dict(APPETITES.get(encoder, OTHER).options[level - 1]) if level else {}


def encoder_memory(encoder: str, pixel_format: str, preset: str, pixels: int, level: int) -> int:
    """Bytes that an encoder takes for frames of so many ``pixels``."""
    usage = APPETITES.get(encoder, OTHER).bytes[max(level, 1) - 1]
    if any(component.bits > 8 for component in av.VideoFormat(pixel_format).components) and encoder != "prores_ks":
        usage *= 2
    if preset in ("slow", "slower", "veryslow") and level <= 1:
        usage *= 2  # more references and a longer look ahead
    return FIXED + usage * pixels
