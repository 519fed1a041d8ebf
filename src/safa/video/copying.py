"""Which of the source's other streams the output can hold: decided, and said, before any work is done."""

import io
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from safa.video.output import OutputSpec
from safa.video.source import StreamInfo, VideoInfo, find_video, open_container, time_base

# Outputs that hold pictures and nothing else.
SILENT = {"gif", "webp", "png", "yuv4mpegpipe"}
# Written by muxers about the file they made; wrong in another file.
TECHNICAL = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "timecode",
    "rotate",
    "handler_name",
    "vendor_id",
}


@dataclass(frozen=True)
class StreamPlan:
    """Which streams of `source` go into the output.

    `origin` (seconds, file time) is subtracted from all their times: take it from the reader. With `is_cut`,
    only what lies between `origin` and the end of the video is taken. `slow` stretches their times; sound is
    then encoded anew at its own pitch (`stretched`), all else is copied untouched (`copied`).
    `warnings` names each stream that is left out. `clocks` are the ticks a second that the streams count in.
    `video_metadata` and `video_disposition` are the video stream's own (language, title; default, forced ...).
    """

    source: Path
    origin: Fraction = Fraction(0)
    is_cut: bool = False
    slow: Fraction = Fraction(1)
    copied: tuple[int, ...] = ()
    stretched: tuple[int, ...] = ()
    chapters: bool = False
    warnings: tuple[str, ...] = ()
    clocks: tuple[int, ...] = ()
    video_metadata: dict[str, str] = field(default_factory=dict)
    video_disposition: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the source but its video is taken, so that it need not be opened again."""
        return not (self.copied or self.stretched or self.chapters)


def plan_streams(
    info: VideoInfo,
    spec: OutputSpec,
    origin: Fraction,
    is_cut: bool = False,
    audio: bool = True,
    slow: Fraction = Fraction(1),
) -> StreamPlan:
    """Decide what of `info.path` beside the video goes into the output. `origin` and `is_cut` are the reader's.

    Sound is left out without a warning if `audio` is off. Raises MediaError if the source cannot be opened again.
    """
    copied: list[int] = []
    stretched: list[int] = []
    warnings: list[str] = []
    if info.container in ("pictures", "yuv4mpegpipe"):  # nothing beside the pictures, and a pipe is read once
        return StreamPlan(Path(info.path), origin, is_cut, slow)
    with open_container(Path(info.path)) as container:
        for stream in info.streams:
            if stream.kind == "audio" and not audio:
                continue
            if spec.container in SILENT:
                warnings.append(_left_out(stream, spec))
            elif stream.kind == "audio" and slow != 1:
                stretched.append(stream.index)
            elif _fits(container, stream, spec):
                copied.append(stream.index)
            else:
                warnings.append(_left_out(stream, spec))
        chapters = bool(container.chapters())
        if chapters and spec.container in SILENT:
            warnings.append(f"chapters cannot be kept in {spec.path.suffix or 'a pipe'} and are left out.")
        video = find_video(container, Path(info.path))
        clocks = {time_base(container.streams[index]).denominator for index in copied}
    return StreamPlan(
        Path(info.path),
        origin,
        is_cut,
        slow,
        tuple(copied),
        tuple(stretched),
        chapters and spec.container not in SILENT,
        tuple(warnings),
        tuple(sorted(clocks)),
        kept_metadata(video.metadata),
        int(video.disposition),
    )


def add_copy(container: OutputContainer, template: Any, source: Any) -> Any:
    """Add a stream that takes the packets of `source` as they are; its header comes from `template`."""
    stream = container.add_stream_from_template(template, opaque=True)
    stream.metadata.update(kept_metadata(source.metadata))
    stream.disposition = source.disposition
    return stream


def kept_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Metadata that is about the work, not about the file that it was in."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower() not in TECHNICAL and not key.upper().startswith(("DURATION", "_STATISTICS", "NUMBER_OF_", "BPS"))
    }


def _fits(source: InputContainer, stream: StreamInfo, spec: OutputSpec) -> bool:
    """Whether the container takes the stream: its header is written to memory to find out."""
    original: Any = source.streams[stream.index]
    if stream.kind == "video" and not original.disposition & Disposition.attached_pic:
        return False  # a second film; which one is meant cannot be known
    if stream.kind == "attachment" and spec.container != "matroska":
        return False  # the other muxers take it and write nothing
    if stream.kind in ("data", "unknown") or (stream.kind == "video" and spec.container not in ("mp4", "mov")):
        return False
    try:
        with av.open(io.BytesIO(), "w", format=spec.container) as trial:
            add_copy(trial, original, original)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def _left_out(stream: StreamInfo, spec: OutputSpec) -> str:
    language = f", {stream.language}" if stream.language and stream.language != "und" else ""
    return (
        f"{stream.kind} stream {stream.index} ({stream.codec}{language}) cannot be copied into "
        f"{spec.path.suffix or 'a pipe'} and is left out."
    )
