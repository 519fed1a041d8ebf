"""What the name of an output means: one file, or a folder with a picture for every frame."""

import re
from pathlib import Path

# What counts as a video, and as a picture, by its name alone.
VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".gif", ".avi", ".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts"),
    *(".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".y4m", ".asf", ".3g2", ".f4v", ".m2v", ".m1v", ".mpe", ".m2p"),
    *(".dv", ".qt", ".tod", ".rm", ".rmvb", ".ogm", ".divx", ".wtv", ".nut"),
}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}

PIPE_DIGEST = "pipe"
"""Instead of a digest of its content, which cannot be read twice."""

# Only this makes a name a pattern; any other "%" is a character like the rest.
NUMBER = re.compile(r"%\d{0,2}d")


def number_places(output: Path) -> int:
    """How many numbers, such as %06d, the name has."""
    return len(NUMBER.findall(output.name))


def is_numbered(output: Path) -> bool:
    """Whether the output is a folder of pictures, such as frames/%06d.png;
    in the name of a video %06d is plain text."""
    return output.suffix.lower() == ".png" and number_places(output) == 1


def numbered(output: Path, number: int) -> str:
    """The name of one of its pictures."""
    return NUMBER.sub(lambda found: found[0] % number, output.name)


def whole_output(output: Path) -> Path:
    """What appears on the disk by one rename: the file, or the folder of the pictures; what a link points to."""
    whole = output.parent if is_numbered(output) else output
    return whole.resolve() if whole.is_symlink() or whole.name in ("", "..") else whole


def unfinished(output: Path) -> Path:
    """The name of an output until it is whole: beside it, so that a rename suffices."""
    whole = whole_output(output)
    return whole.with_name(f".{whole.name}.part")


def for_ffmpeg(path: Path) -> str:
    """The path as FFmpeg takes it: absolute, as text before a colon in a relative path would be read as a protocol."""
    return str(path.absolute())
