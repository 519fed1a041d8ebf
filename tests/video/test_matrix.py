"""Kinds of source files x what must hold for any of them, in two containers and with two plans."""

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from safa.video.codecs import choose_codec
from safa.video.file_source import VideoReader
from safa.video.verify import verify
from tests.video.making import convert, make_interlaced, make_rich, make_video

RATES = (24, 25, 30, 60)
MS = Fraction(1, 1000)
JITTER = np.cumsum(np.random.default_rng(1).integers(1, 4, 16)) * 14
PHONE = [k * 33 + (k > 7) * 400 + k % 3 for k in range(16)]  # 30 a second with jitter and one long pause
WIDE = Fraction(4, 3)
QUARTER_TURN = [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30]


@dataclass(frozen=True)
class Row:
    """A kind of file: how to make it, and what of it must be found in the output."""

    name: str
    make: Callable[[Path], Path]
    frames: int
    size: tuple[int, int] = (64, 48)
    audio: int = 0
    subtitles: int = 0
    tags: dict[str, Any] = field(default_factory=dict)


def video(name: str, *arguments: Any, **settings: Any) -> Callable[[Path], Path]:
    return lambda folder: make_video(folder / name, *arguments, **settings)


def tagged(**tags: Any) -> Callable[[Any], None]:
    def configure(stream: Any) -> None:
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)

    return configure


def coloured(primaries: int, transfer: int, matrix: int, colour_range: int) -> Callable[[Any], None]:
    return tagged(color_primaries=primaries, color_trc=transfer, colorspace=matrix, color_range=colour_range)


def turned(stream: Any) -> None:
    stream.set_display_matrix(QUARTER_TURN)


def without_timestamps(folder: Path) -> Path:
    """A bare H.264 stream: no container, no times."""
    path = folder / "bare.h264"
    with av.open(str(make_video(folder / "full.mp4", range(12)))) as full, av.open(str(path), "w") as bare:
        stream = bare.add_stream_from_template(full.streams.video[0], opaque=True)
        annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", full.streams.video[0])
        for packet in full.demux(video=0):
            for part in annex_b.filter(packet if packet.size else None):
                part.stream = stream
                bare.mux(part)
    return path


def master(folder: Path) -> Path:
    parameters = (
        "log-level=none:hdr10=1:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    )
    return make_video(
        folder / "pq.mp4",
        size=(64, 64),
        codec="libx265",
        pixel_format="yuv420p10le",
        options={"x265-params": parameters},
        configure=coloured(9, 16, 9, 1),
    )


DEEP: dict[str, Any] = {"codec": "ffv1", "pixel_format": "yuv420p10le"}
ROWS = [
    *[Row(f"{rate} fps", video("a.mp4", time_base=Fraction(1, rate), audio=0.3), 12, audio=1) for rate in RATES],
    Row("23.976 fps", video("a.mp4", range(12), Fraction(1001, 24000), audio=0.4), 12, audio=1),
    Row("jitter", video("a.mkv", [int(t) for t in JITTER], MS, audio=0.5), 16, audio=1),
    Row("phone", video("a.mp4", PHONE, MS, audio=0.9), 16, audio=1),
    Row("late start", video("a.mp4", range(48, 60), audio=0.5, audio_start=2.1), 12, audio=1),
    Row("negative DTS, B-frames", video("a.mov", range(24), options={"bf": "3"}), 24),
    Row("no timestamps", without_timestamps, 12),
    Row("edit list", video("a.mp4", range(-6, 12), options={"bf": "0", "g": "6"}, audio=0.5), 12, audio=1),
    Row("rotated", video("a.mp4", configure=turned), 12, tags={"rotation": -90}),
    Row("wide pixels", video("a.mp4", configure=tagged(sample_aspect_ratio=WIDE)), 12, tags={"aspect": WIDE}),
    Row("10 bit", video("a.mkv", **DEEP), 12, tags={"bits": 10}),
    Row("PQ", master, 12, (64, 64), tags={"bits": 10, "colour": (9, 16, 9, 1), "light": (1000, 400)}),
    Row("HLG", video("a.mkv", **DEEP, configure=coloured(9, 18, 9, 1)), 12, tags={"bits": 10, "colour": (9, 18, 9, 1)}),
    Row("full range", video("a.mp4", configure=coloured(5, 6, 5, 2)), 12, tags={"colour": (5, 6, 5, 2)}),
    Row("interlaced", lambda folder: make_interlaced(folder / "fields.mpg"), 12),
    Row("grey", video("a.mkv", codec="ffv1", pixel_format="gray"), 12),
    Row("4:4:4", video("a.mp4", pixel_format="yuv444p"), 12),
    Row("transparent", video("a.mov", codec="png", pixel_format="rgba"), 12),
    Row("odd size", video("a.mkv", codec="ffv1", pixel_format="yuv444p", size=(17, 13)), 12, size=(17, 13)),
    Row("1 frame", video("a.mp4", (0,)), 1),
    Row("2 frames", video("a.mp4", (0, 1)), 2),
    Row("audio longer", video("a.mp4", audio=1.5), 12, audio=1),
    Row("video longer", video("a.mp4", range(24), audio=0.2), 24, audio=1),
    Row("rich", lambda folder: make_rich(folder / "rich.mkv", seconds=1), 24, audio=2, subtitles=2),
]


@pytest.mark.parametrize(("suffix", "plan"), [(".mp4", {"rate": 2}), (".mkv", {"rate": None, "fps": Fraction(30)})])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_invariants(tmp_path, row, suffix, plan):
    source, output = row.make(tmp_path), tmp_path / f"out{suffix}"
    with VideoReader(source) as reader:
        info = reader.info
        frames = list(reader.frames())
    start, end = frames[0].time, frames[-1].time + frames[-1].duration
    assert len(frames) == row.frames
    choice = choose_codec(output, bit_depth=info.bit_depth)
    expected = convert(source, output, scale=4, codec=choice.codec, pixel_format=choice.pixel_format, **plan)
    verification = verify(output, expected)
    assert verification.ok, verification.failures()
    assert (expected.start, expected.end) == (start, end)
    assert (expected.width, expected.height) == (row.size[0] * 4, row.size[1] * 4)
    if plan.get("rate"):
        assert expected.frames == 2 * row.frames - 1
    else:
        assert abs(expected.frames - (end - start) * 30) <= Fraction(3, 2)
    with VideoReader(output) as reader:
        check_tags(reader.info, info, row)
        kinds = [stream.kind for stream in reader.info.streams]
        assert kinds.count("audio") == row.audio
        assert kinds.count("subtitle") == (row.subtitles if suffix == ".mkv" else 0)
        assert reader.problems == []


def check_tags(found, source, row):
    assert found.rotation == source.rotation == row.tags.get("rotation", 0)
    assert found.sample_aspect_ratio == source.sample_aspect_ratio == row.tags.get("aspect", 1)
    assert found.bit_depth == row.tags.get("bits", 8)
    colour = (found.colour.primaries, found.colour.transfer, found.colour.matrix, found.colour.range)
    assert colour == row.tags.get("colour", colour)
    assert 2 not in colour[:3]  # never left to a player's guess from the new size
    assert found.mastering.light == row.tags.get("light")
    if "light" in row.tags:
        assert found.mastering == source.mastering
