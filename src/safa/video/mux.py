"""Joins the finished segments and the source's other streams into the output file."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.stream import Disposition

from safa.errors import OutputError
from safa.video.animation import write_animation, write_pictures
from safa.video.codecs import codec_entry
from safa.video.container_patches import open_mastered
from safa.video.encoder import OutputSpec
from safa.video.files import ENCODER, disk_errors, for_ffmpeg, unfinished
from safa.video.journal import Segment
from safa.video.partial_output import Joinable
from safa.video.segments import FRAME_MS
from safa.video.streams import CopiedStream, StreamCopier, StreamPlan, TimedPacket, kept_metadata
from safa.video.verify import Expected, ExpectedStream


def mux(journal: Joinable, spec: OutputSpec, plan: StreamPlan, replace: bool = False) -> Expected:
    """Write `spec.path` from a journal whose `end` is known, copying the streams of `plan`; return what it
    must hold.

    Video packets get their exact times back and decoding times that increase over the whole stream. Packets
    of the other streams keep their bytes; their timestamps are only moved by the plan's origin. The file is
    written under a temporary name and appears by one rename (`replace`: see `Journal.publish`); the caller
    removes the journal once it is satisfied. Raises OutputError when the disk is full, the segments do not fit
    together, or a file of another origin has the name.
    """
    if journal.end is None or not journal.segments:
        raise ValueError("the journal is not complete")
    copied: list[CopiedStream] = []
    first, end = journal.segments[0].first * spec.time_base, journal.end
    start = first
    if spec.container in ("gif", "webp", "png"):
        start = Fraction(0)  # no clock but their own
    else:
        end = _end(journal, spec) * spec.time_base
    if spec.container == "png":
        write_pictures(journal, spec)
    elif spec.container in ("gif", "webp"):
        write_animation(journal, spec, replace)
    else:
        copied = _write_film(journal, spec, plan, replace)
    return Expected(
        frames=journal.frames,
        start=start,
        end=end - first + start,
        frame_duration=(end - first) / journal.frames,
        width=spec.width,
        height=spec.height,
        streams=tuple(
            ExpectedStream(stream.kind, stream.first, stream.packets, stream.digest.hexdigest(), stream.has_packets)
            for stream in copied
            if stream.kind in ("audio", "subtitle")
        ),
    )


def _write_film(journal: Joinable, spec: OutputSpec, plan: StreamPlan, replace: bool) -> list[CopiedStream]:
    temporary = unfinished(spec.path)
    try:
        with disk_errors(spec.path.parent, journal.kept):
            copied = _write(temporary, journal, spec, plan)
            journal.publish(temporary, spec.path, replace)
    except (av.error.FFmpegError, ValueError) as error:
        if isinstance(error, OSError):
            raise
        raise OutputError(
            f"{spec.path} cannot be written: {spec.container} does not take what {plan.source} holds beside the video "
            f"({getattr(error, 'strerror', None) or error}); try without sound, or write .mkv; {journal.kept()}."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return copied


def _write(path: Path, journal: Joinable, spec: OutputSpec, plan: StreamPlan) -> list[CopiedStream]:
    assert journal.end is not None
    options = _container_options(spec, plan)
    with av.open(for_ffmpeg(path), "w", format=spec.container, container_options=options) as container:
        container.metadata.update(kept_metadata(spec.metadata))
        video = _add_video(container, journal.segments, spec)
        video.metadata.update(plan.video_metadata)
        video.metadata["encoder"] = ENCODER
        video.disposition = Disposition(plan.video_disposition)
        copier = None if plan.is_empty else StreamCopier(container, plan, journal.end)
        beside = copier.packets() if copier else iter(())
        for _, packet in heapq.merge(_video_packets(journal, spec, video), beside, key=lambda timed: timed[0]):
            container.mux(packet)
    return copier.copied if copier else []


def _container_options(spec: OutputSpec, plan: StreamPlan) -> dict[str, str]:
    if spec.container not in ("mp4", "mov"):
        return {}
    # The movie's clock is what edit lists, and so the start of each track, are rounded to; the default is 1
    # ms. It is a multiple of the tracks' own clocks, as many as fit, the video's first.
    ticks = spec.time_base.denominator
    for clock in plan.clocks:
        both = math.lcm(ticks, clock)
        ticks = both if both < 2**31 else ticks
    ticks *= -(-1000 // ticks)
    return {
        "movflags": "+faststart",
        "movie_timescale": str(ticks),
        "video_track_timescale": _track_timescale(spec),
    }


def _track_timescale(spec: OutputSpec) -> str:
    """Ticks a second of the video track: a multiple of the time base, at least 10000 as some players expect."""
    ticks = spec.time_base.denominator
    return str(ticks * -(-10_000 // ticks))


def _add_video(container: OutputContainer, segments: list[Segment], spec: OutputSpec) -> av.VideoStream:
    with open_mastered(segments[0].path, spec.mastering) as first:
        stream = container.add_stream_from_template(first.streams.video[0], opaque=True)
    stream.time_base = spec.time_base
    stream.codec_context.framerate = spec.rate
    tag = codec_entry(spec.codec).tag
    if tag and spec.container in ("mp4", "mov"):
        stream.codec_context.codec_tag = tag
    if spec.display_matrix is not None:
        stream.set_display_matrix(spec.display_matrix)
    return stream


def _video_packets(journal: Joinable, spec: OutputSpec, stream: av.VideoStream) -> Iterator[TimedPacket]:
    """Yield the packets of all segments in decoding order, with exact times.

    Decoding time of packet i is the presentation time of the frame `reorder` places before it in the order
    shown: it increases, and never passes its own frame. The first `reorder` packets, which have no such frame,
    are spread over the `_lead` before the first frame is shown. Segments share no frames, so this holds across
    their borders.
    """
    tick = spec.time_base
    reorder = max(segment.reorder for segment in journal.segments)
    first, lead = journal.segments[0].first, _lead(journal, reorder)
    # Presentation ticks that are still to serve as decoding times.
    shown = deque(first - lead + lead * number // reorder for number in range(reorder))
    decoded, total = 0, journal.frames
    for times, following, packets in _segments(journal, spec):
        shown.extend(times)
        for packet in packets:
            assert packet.pts is not None
            number = packet.pts // FRAME_MS
            packet.stream = stream
            packet.time_base = tick
            packet.pts = times[number]
            packet.dts = shown.popleft()
            packet.duration = (times[number + 1] if number + 1 < len(times) else following) - packet.pts
            decoded += 1
            if decoded == total and spec.container in ("mp4", "mov"):
                # Here a sample lasts until the next one is *decoded*, and the track as long as all samples
                # together: with this, and with `_lead`, exactly until the last frame stops being shown.
                packet.duration = following - times[-1]
            yield packet.dts * tick, packet


def _lead(journal: Joinable, reorder: int) -> int:
    """Ticks by which the first decoding time lies before the first frame: those of the last `reorder` intervals.

    MP4 and MOV have two lengths of a track, from its decoding and from its presentation times. They agree where the
    first frame is as long on its way as the last one, whatever the intervals between them.
    """
    times: list[int] = []
    for segment in reversed(journal.segments):
        times = segment.times() + times
        if len(times) > reorder:
            break
    return times[-1] - times[-1 - reorder]


def _end(journal: Joinable, spec: OutputSpec) -> int:
    """Return the tick at which the last frame ends: at least one after its start, however coarse the ticks are."""
    assert journal.end is not None
    return max(round(journal.end / spec.time_base), journal.segments[-1].last + 1)


def _segments(journal: Joinable, spec: OutputSpec) -> Iterator[tuple[list[int], int, Iterator[Any]]]:
    """(ticks of its frames, tick of the next segment's first frame or of the end, packets) of each segment."""
    extradata: bytes | None = None
    segments = journal.segments
    for number, segment in enumerate(segments):
        last = number + 1 == len(segments)
        following = _end(journal, spec) if last else segments[number + 1].first
        with av.open(for_ffmpeg(segment.path)) as container:
            stream = container.streams.video[0]
            if number and stream.codec_context.extradata != extradata:
                raise OutputError(f"{segment.path} was encoded differently from those before it; give --restart.")
            extradata = stream.codec_context.extradata
            yield segment.times(), following, _coded(container, stream)


def _coded(container: Any, stream: av.VideoStream) -> Iterator[Any]:
    return (packet for packet in container.demux(stream) if packet.size)
