"""Decoding one video stream to the end, damage and all, and keeping count of the damage."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from safa.video.pipes import raise_interrupt
from safa.video.timestamps import PacketClock

MOST_PIXELS = 200_000_000

# Codecs that WebM has transparency of, in a second picture beside each packet, and FFmpeg's decoders that read it.
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass
class Damage:
    """Faults found while a stream was read. Times are file times in seconds."""

    undecodable: int = 0
    corrupt: int = 0
    first: Fraction | None = None
    packets: int = 0
    content: int = 0
    """Bytes of the packets."""
    stopped: str | None = None

    def note(self, time: Fraction | None) -> None:
        """Remember where the first damage was seen."""
        if self.first is None and time is not None:
            self.first = time

    def problems(self, claimed: int | None) -> list[str]:
        """One sentence for each kind of damage; `claimed` is the packet count of a file that states it exactly."""
        found = []
        where = f" (the first near {float(self.first):.3f} s)" if self.first is not None else ""
        if self.undecodable:
            found.append(f"{self.undecodable} packets could not be decoded and were skipped{where}.")
        if self.corrupt:
            found.append(f"{self.corrupt} frames were decoded with errors{where}.")
        if self.stopped:
            found.append(f"reading stopped early: {self.stopped}.")
        if claimed and self.packets < claimed:
            found.append(f"the file ends early: it holds {self.packets} of the {claimed} frames it claims.")
        return found


def has_alpha_beside(stream: av.VideoStream) -> bool:
    """Return whether a stream's transparency is coded apart from its pictures, as WebM has it."""
    named = {name.lower(): value for name, value in stream.metadata.items()}
    return named.get("alpha_mode") == "1" and stream.codec_context.codec.canonical_name in WITH_ALPHA


def decode_frames(
    container: InputContainer,
    stream: av.VideoStream,
    damage: Damage,
    decoding: deque[int] | None = None,
    clock: PacketClock | None = None,
) -> Iterator[av.VideoFrame]:
    """Every frame of `stream` that can be decoded, in the order shown, from where the container stands to its
    end.

    Errors do not end the stream as long as there are packets to read; they are counted in `damage`. The decoding times
    of the packets that could be decoded are appended to `decoding`. The times of all packets are corrected by `clock`.
    """
    decoder: Any = stream.codec_context
    if has_alpha_beside(stream):
        decoder = av.CodecContext.create(WITH_ALPHA[stream.codec_context.codec.canonical_name], "r")
    decoder.thread_type = "AUTO"
    # Every thread holds a frame, so large frames get fewer threads.
    pixels = max(1, stream.codec_context.width * stream.codec_context.height)
    decoder.thread_count = min(os.cpu_count() or 1, 16, max(1, MOST_PIXELS // pixels))
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            raise_interrupt()
            break
        except (av.error.FFmpegError, OSError) as error:
            damage.stopped = (getattr(error, "strerror", None) or str(error)).lower()
            break
        if not packet.size:
            continue  # demux ends with an empty packet to flush; it is done below, also after an error
        damage.packets += 1
        damage.content += packet.size
        if clock is not None:
            packet = clock.correct(packet)
        time = packet.pts * packet.time_base if packet.pts is not None else None
        if decoding is not None and packet.dts is not None:
            decoding.append(packet.dts)
        try:
            frames = decoder.decode(packet)
        except (av.error.FFmpegError, ValueError):
            damage.undecodable += 1
            damage.note(time)
            if decoding:
                decoding.pop()
            continue
        yield from frames
    try:
        yield from decoder.decode(None)
    except av.error.FFmpegError:
        damage.undecodable += 1
