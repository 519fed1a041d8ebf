"""What decoded frames carry beside their pixels: read in full, and named where the output cannot hold it."""

from typing import Any, Literal

import av
from av.sidedata.sidedata import Type

# What is lost when a new frame is made, by FFmpeg's name for it. Not listed is what is carried over (display
# matrix, mastering display, light levels) and what has no meaning for the output: encoders' notes, statistics, hints to
# decoders, film grain that is in the decoded pixels already.
LOST = {
    "DYNAMIC_HDR_PLUS": "HDR10+ dynamic metadata",
    "DYNAMIC_HDR_VIVID": "HDR Vivid dynamic metadata",
    "DOVI_RPU_BUFFER": "Dolby Vision metadata",
    "DOVI_METADATA": "Dolby Vision metadata",
    "AMBIENT_VIEWING_ENVIRONMENT": "the ambient viewing environment",
    "A53_CC": "closed captions inside the pictures",
    "S12M_TIMECODE": "timecode",
    "GOP_TIMECODE": "timecode",
    "STEREO3D": "the layout of a stereoscopic picture",
    "SPHERICAL": "the projection of a spherical picture",
    "VIEW_ID": "the number of the view",
    "3D_REFERENCE_DISPLAYS": "the displays that a stereoscopic picture is made for",
    "LCEVC": "the LCEVC enhancement layer",
    "ICC_PROFILE": "the ICC colour profile",
    "PANSCAN": "pan and scan positions",
    "AFD": "the active format description",
    "DETECTION_BBOXES": "marked objects",
    "EXIF": "Exif data",
}
# FFmpeg's kinds that PyAV has no name for.
NEWER = {28: "LCEVC", 29: "VIEW_ID", 30: "3D_REFERENCE_DISPLAYS", 31: "EXIF"}
# Bits of a GOP timecode that are no time: the marker and the way of counting.
NO_TIME = 1 << 12 | 1 << 24
# Exif's own and GPS: how and where a photograph was taken. The orientation, which is carried, is in neither.
EXIF_DIRECTORIES = {0x8769, 0x8825}


def _newer(cls: type[Type], value: object) -> Type:
    member: Any = object.__new__(cls)
    member._name_ = NEWER.get(value, f"KIND_{value}") if isinstance(value, int) else str(value)
    member._value_ = value
    return member  # type: ignore[no-any-return]


# Without it one kind that PyAV does not know, such as the Exif data of a photograph, makes all of a frame's side data
# unreadable: a ValueError.
Type._missing_ = classmethod(_newer)  # type: ignore[assignment, method-assign]


def side_data(frame: av.VideoFrame) -> list[tuple[str, bytes]]:
    """(FFmpeg's name of the kind, content) of everything that a frame carries."""
    entries: Any = frame.side_data  # iterating yields the entries themselves, not keys
    return [(entry.type.name, bytes(entry)) for entry in entries]


def lost_kinds(frame: av.VideoFrame) -> tuple[str, ...]:
    """What of a frame's side data no output can hold, in words."""
    entries = side_data(frame)
    words = [LOST[name] for name, data in entries if name in LOST and not _is_empty(name, data)]
    return tuple(dict.fromkeys(words))


def begins_timecode(frame: av.VideoFrame) -> bool:
    """Return whether groups of pictures count time from 0, as in all MPEG-2 that nobody gave a timecode."""
    return any(name == "GOP_TIMECODE" and _is_empty(name, data) for name, data in side_data(frame))


def _is_empty(name: str, data: bytes) -> bool:
    """Every MPEG-2 stream has a timecode and a window to pan and scan with, and most set neither; every TIFF file has
    tags, mostly about its pixels.
    """
    if name == "PANSCAN":
        return not any(data[12:24])  # the three positions behind number, width and height
    if name == "GOP_TIMECODE":
        return not int.from_bytes(data[:4], "little") & ~NO_TIME
    return name == "EXIF" and not EXIF_DIRECTORIES & _tags(data)


def _tags(exif: bytes) -> set[int]:
    """The tags in the first directory of Exif data."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"
    at = int.from_bytes(exif[4:8], order)
    count = int.from_bytes(exif[at : at + 2], order)
    return {int.from_bytes(exif[place : place + 2], order) for place in range(at + 2, at + 2 + 12 * count, 12)}
