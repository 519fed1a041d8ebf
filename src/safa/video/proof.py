"""Reads a finished file back and checks it against what it must hold."""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from safa.errors import SafaError
from safa.video.copying import payload
from safa.video.decoding import Damage, decode
from safa.video.source import find_video, open_container, time_base

MILLISECOND = Fraction(1, 1000)


@dataclass(frozen=True)
class ExpectedAudio:
    """One copied audio stream: time of its first packet (seconds), number of packets, SHA-256 of all their bytes."""

    first: Fraction
    packets: int
    digest: str


@dataclass(frozen=True)
class Expected:
    """What an output must hold. Times in seconds on its own clock; `frame_duration` is the average."""

    frames: int
    start: Fraction
    end: Fraction
    frame_duration: Fraction
    width: int
    height: int
    audio: tuple[ExpectedAudio, ...] = ()


@dataclass(frozen=True)
class Check:
    """One figure: what it should be, what it is, and whether that is good enough."""

    expected: Any
    found: Any
    ok: bool


@dataclass(frozen=True)
class Proof:
    """The figures of one finished file, by name."""

    checks: dict[str, Check]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; times as seconds in floating point."""
        checks = {
            name: {"expected": _plain(check.expected), "found": _plain(check.found), "ok": check.ok}
            for name, check in self.checks.items()
        }
        return {"ok": self.ok, "checks": checks}

    def failures(self) -> list[str]:
        """One line for each check that failed."""
        return [
            f"{name}: expected {_plain(check.expected)}, found {_plain(check.found)}"
            for name, check in self.checks.items()
            if not check.ok
        ]


def prove(path: Path, expected: Expected) -> Proof:
    """Decode `path` from start to end and compare. Never raises for a bad file: that is a failed check.

    Frame count and size must match; the duration within half an average output frame; the start and the
    offset between sound and picture within 1 ms or one tick of the container; audio packets byte for byte;
    and nothing may fail to decode.
    """
    try:
        with open_container(path) as container:
            return _prove(container, path, expected)
    except (SafaError, av.error.FFmpegError, OSError) as error:
        return Proof({"readable": Check(True, str(error), False)})


def _prove(container: InputContainer, path: Path, expected: Expected) -> Proof:
    stream = find_video(container, path)
    damage = Damage()
    frames, first, last, increasing = 0, None, None, True
    sizes = set()
    for frame in decode(container, stream, damage):
        frames += 1
        sizes.add((frame.width, frame.height))
        damage.corrupt += frame.is_corrupt
        time = frame.pts * time_base(stream) if frame.pts is not None else None
        increasing = increasing and time is not None and (last is None or time > last)
        first = time if first is None else first
        last = time
    tolerance = max(MILLISECOND, time_base(stream))
    end = _video_end(container, stream)
    checks = {
        "frames": Check(expected.frames, frames, frames == expected.frames),
        "size": Check(
            [expected.width, expected.height], sorted(sizes), sizes == {(expected.width, expected.height)}
        ),
        "start": _near(expected.start, first, tolerance),
        "end": _near(expected.end, end, expected.frame_duration / 2),
        "increasing times": Check(True, increasing, increasing),
        "decoding problems": Check([], damage.problems(None), not damage.problems(None)),
        "audio streams": Check(
            len(expected.audio),
            len(container.streams.audio),
            len(expected.audio) == len(container.streams.audio),
        ),
    }
    for number, (wanted, audio) in enumerate(zip(expected.audio, container.streams.audio)):
        checks |= _prove_audio(path, number, wanted, audio, expected.start, first)
    return Proof(checks)


def _prove_audio(
    path: Path,
    number: int,
    expected: ExpectedAudio,
    audio: Any,
    video_start: Fraction,
    found_start: Fraction | None,
) -> dict[str, Check]:
    digest, packets, first = hashlib.sha256(), 0, None
    with open_container(path) as container:
        for packet in container.demux(container.streams[audio.index]):
            if packet.size:
                packets += 1
                digest.update(payload(packet, "audio"))
                if first is None and packet.pts is not None:
                    first = packet.pts * time_base(audio)
    offset = None if first is None or found_start is None else first - found_start
    tolerance = max(MILLISECOND, time_base(audio))
    return {
        f"audio {number} packets": Check(expected.packets, packets, packets == expected.packets),
        f"audio {number} bytes": Check(
            expected.digest, digest.hexdigest(), digest.hexdigest() == expected.digest
        ),
        f"audio {number} offset": _near(expected.first - video_start, offset, tolerance),
    }


def _video_end(container: InputContainer, stream: av.VideoStream) -> Fraction | None:
    """When the last frame stops being shown, as far as the container stores it."""
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
