"""Reads a finished file back and checks it against what it must hold."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from safa.errors import SafaError
from safa.video.animation import measure_pictures, measure_webp
from safa.video.containers import find_video, open_container, time_base
from safa.video.decoding import Damage, decode_frames
from safa.video.files import is_numbered
from safa.video.streams import CopiedStream, payload

MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class ExpectedStream:
    """One other stream: `kind` audio or subtitle, time of its first packet (seconds, None if it has none), number
    of packets, SHA-256 of all their bytes. Without `has_packets` it is one run of samples, which containers cut into
    packets as they like.
    """

    kind: str
    first: Fraction | None
    packets: int
    digest: str
    has_packets: bool = True


@dataclass(frozen=True)
class Expected:
    """Required contents of an output. Times in seconds on its own clock; `frame_duration` is the average."""

    frames: int
    start: Fraction
    end: Fraction
    frame_duration: Fraction
    width: int
    height: int
    streams: tuple[ExpectedStream, ...] = ()


@dataclass(frozen=True)
class Check:
    """One figure: what it should be, what it is, and whether that is good enough."""

    expected: Any
    found: Any
    ok: bool


@dataclass(frozen=True)
class Verification:
    """The figures of one finished file, by name."""

    checks: dict[str, Check]

    @property
    def ok(self) -> bool:
        """Return whether every check passed."""
        return all(check.ok for check in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times as seconds in floating point."""
        checks = {
            name: {"expected": _plain(check.expected), "found": _plain(check.found), "ok": check.ok}
            for name, check in self.checks.items()
        }
        return {"ok": self.ok, "checks": checks}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> "Verification":
        """Make it from the result of `to_dict`."""
        checks = stored["checks"].items()
        return Verification({name: Check(one["expected"], one["found"], one["ok"]) for name, one in checks})

    def failures(self) -> list[str]:
        """Return one line for each check that failed."""
        return [
            f"{name}: expected {_plain(check.expected)}, found {_plain(check.found)}"
            for name, check in self.checks.items()
            if not check.ok
        ]


def verify(path: Path, expected: Expected) -> Verification:
    """Decode `path` from start to end and compare. Never raises for a bad file: that is a failed check.

    Frame count and size must match; the end within half an average output frame; the start and the offset
    between sound or subtitles and picture within 1 ms or one tick of the container; their packets byte for byte;
    and nothing may fail to decode.
    """
    try:
        if is_numbered(path) or path.suffix.lower() == ".webp":
            return Verification(_prove_pictures(path, expected))
        with open_container(path) as container:
            checks = _prove_video(container, path, expected)
        for kind in ("audio", "subtitle"):
            wanted = [stream for stream in expected.streams if stream.kind == kind]
            checks |= _prove_streams(path, kind, wanted, expected.start, checks["start"].found)
        return Verification(checks)
    except (SafaError, av.error.FFmpegError, OSError, EOFError, StopIteration) as error:
        return Verification({"readable": Check(True, str(error), False)})


def _prove_video(container: InputContainer, path: Path, expected: Expected) -> dict[str, Check]:
    stream = find_video(container, path)
    damage = Damage()
    frames, first, last, increasing = 0, None, None, True
    sizes = set()
    for frame in decode_frames(container, stream, damage):
        frames += 1
        sizes.add((frame.width, frame.height))
        damage.corrupt += frame.is_corrupt
        time = frame.pts * time_base(stream) if frame.pts is not None else None
        increasing = increasing and time is not None and (last is None or time > last)
        first = time if first is None else first
        last = time
    size = (expected.width, expected.height)
    problems = damage.problems(None)
    return {
        "frames": Check(expected.frames, frames, frames == expected.frames),
        "size": Check([size], sorted(sizes), sizes == {size}),
        "start": _near(expected.start, first, max(MILLISECOND, time_base(stream))),
        "end": _near(expected.end, _video_end(container, stream), max(expected.frame_duration / 2, time_base(stream))),
        "increasing times": Check(True, increasing, increasing),
        "decoding problems": Check([], problems, not problems),
    }


def _prove_pictures(path: Path, expected: Expected) -> dict[str, Check]:
    size = (expected.width, expected.height)
    if is_numbered(path):
        frames, sizes = measure_pictures(path)
        enough = frames == expected.frames
        checks = {}
    else:
        frames, sizes, end = measure_webp(path)
        enough = 0 < frames <= expected.frames  # equal frames in a row are stored as one
        checks = {"end": _near(expected.end, end, expected.frame_duration / 2)}
    return checks | {
        "frames": Check(expected.frames, frames, enough),
        "size": Check([size], sorted(sizes), sizes == {size}),
    }


def _prove_streams(
    path: Path, kind: str, expected: list[ExpectedStream], start: Fraction, found_start: Fraction | None
) -> dict[str, Check]:
    with open_container(path) as container:
        indices = [stream.index for stream in container.streams if stream.type == kind]
    # Some containers drop a stream without packets and some keep it; it does not count.
    measured = [stream for stream in (_measure(path, kind, index) for index in indices) if stream[0].packets]
    expected = [stream for stream in expected if stream.packets]
    checks = {f"{kind} streams": Check(len(expected), len(measured), len(measured) == len(expected))}
    for number, (wanted, (found, tick)) in enumerate(zip(expected, measured, strict=False)):
        digest = found.digest.hexdigest()
        if wanted.has_packets:
            checks[f"{kind} {number} packets"] = Check(wanted.packets, found.packets, found.packets == wanted.packets)
        checks[f"{kind} {number} bytes"] = Check(wanted.digest, digest, digest == wanted.digest)
        if wanted.first is not None:
            offset = None if found.first is None or found_start is None else found.first - found_start
            checks[f"{kind} {number} offset"] = _near(wanted.first - start, offset, max(MILLISECOND, tick))
    return checks


def _measure(path: Path, kind: str, index: int) -> tuple[CopiedStream, Fraction]:
    """Return the figures of one stream, and its tick."""
    found = CopiedStream(kind)
    with open_container(path) as container:
        stream = container.streams[index]
        for packet in container.demux(stream):
            if packet.size:
                found.count((packet.pts or 0) * time_base(stream), payload(packet))
        return found, time_base(stream)


def _video_end(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """Return the end of the last frame, as far as the container stores it."""
    written = stream.metadata.get("DURATION")  # Matroska: the end of this track, "HH:MM:SS.nnnnnnnnn"
    if written:
        hours, minutes, seconds = written.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    if stream.duration is not None:
        return ((stream.start_time or 0) + stream.duration) * time_base(stream)
    if container.duration is not None:
        return Fraction(container.duration, av.time_base)
    return None


def _near(expected: Fraction, found: Fraction | None, tolerance: Fraction) -> Check:
    return Check(expected, found, found is not None and abs(found - expected) <= tolerance)


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value
