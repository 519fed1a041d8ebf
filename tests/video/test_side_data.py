"""What frames and files carry beside pixels: it is carried on, or named before work."""

import dataclasses
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from safa.video.codecs import choose_codec
from safa.video.colour import LOST, NEWER, Mastering, lost_kinds, side_data
from safa.video.container_patches import open_mastered
from safa.video.file_source import VideoReader
from safa.video.folder_source import FolderReader
from safa.video.streams import plan_streams
from safa.video.verify import verify
from tests.video.making import convert, make_video, picture, write_frames
from tests.video.test_matrix import master, turned

CAPTIONS = b"\xb5\x00\x31GA94\x03\x41\xff\xfc\x94\x2c\xff"  # CTA-708 in ITU-T T.35: one pair of bytes
FULL = [(".mp4", "h264"), (".mp4", "h265"), (".mp4", "av1"), (".mp4", "vp9"), (".mov", "prores"), (".mov", "h264")]
FULL += [(".mkv", "h264"), (".mkv", "vp9"), (".mkv", "ffv1"), (".webm", "vp9"), (".webm", "av1")]
PRIMARIES = tuple((Fraction(x, 1000), Fraction(y, 1000)) for x, y in ((680, 320), (265, 690), (150, 60), (313, 329)))


def settings_for(output: Path, codec: str | None, bits: int = 8) -> dict[str, str]:
    choice = choose_codec(output, codec, bits)
    return {"codec": choice.codec, "pixel_format": choice.pixel_format}


def warnings_for(source: Path, suffix: str) -> list[str]:
    """What the plan for an output says, before any work."""
    output = source.parent / f"out{suffix}"
    *_, plan, _ = write_frames(source, output, **settings_for(output, None))
    return list(plan.warnings)


def hdr10_plus() -> bytes:
    """SMPTE ST 2094-40 in ITU-T T.35: one window, no distribution, no curves."""
    fields = [(1, 8), (1, 2), (1000, 27), (0, 1), *[(100, 17)] * 3, (50, 17), (0, 4), (0, 10), (0, 3)]
    bits = "".join(format(value, f"0{width}b") for value, width in fields)
    bits += "0" * (-len(bits) % 8)
    return b"\xb5\x00\x3c\x00\x01\x04" + int(bits, 2).to_bytes(len(bits) // 8, "big")


def with_message(path: Path, payload: bytes, first: int = 0) -> Path:
    """A bare H.264 or H.265 stream (by the path's suffix) with `payload` (ITU-T T.35) in front of every frame from the
    one numbered `first` on.
    """
    h264 = path.suffix == ".h264"
    options = {"bf": "0"} if h264 else {"x265-params": "log-level=none"}
    plain = make_video(path.with_suffix(".mp4"), range(6), codec="libx264" if h264 else "libx265", options=options)
    escaped = payload.replace(b"\0\0\1", b"\0\0\3\1").replace(b"\0\0\0", b"\0\0\3\0")
    message = b"\0\0\0\1" + (b"\x06" if h264 else b"\x4e\x01") + bytes([4, len(payload)]) + escaped + b"\x80"
    with av.open(str(plain)) as full:
        name = f"{'h264' if h264 else 'hevc'}_mp4toannexb"
        annex_b = av.bitstream.BitStreamFilterContext(name, full.streams.video[0])
        packets = [part for packet in full.demux(video=0) for part in annex_b.filter(packet if packet.size else None)]
        parts = (bytes(packet) if number < first else message + bytes(packet) for number, packet in enumerate(packets))
        path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize(("suffix", "codec"), FULL)
def test_hdr10_mastering_data_reaches_every_codec_and_container(tmp_path, suffix, codec):
    source, output = master(tmp_path), tmp_path / f"out{suffix}"
    expected = convert(source, output, **settings_for(output, codec, 10))
    assert verify(output, expected).ok
    with VideoReader(source) as reader:
        wanted = reader.info.mastering
    with VideoReader(output) as reader:
        found = reader.info.mastering
    assert found.light == wanted.light == (1000, 400)
    for ours, theirs in zip((*found.primaries, found.luminance), (*wanted.primaries, wanted.luminance), strict=True):
        assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < Fraction(1, 4000)  # AV1 counts in 1/16384
    elements = (b"mdcv", b"clli") if suffix in (".mp4", ".mov") else (b"\x55\xd0", b"\x55\xbc", b"\x55\xbd")
    assert all(element in output.read_bytes() for element in elements)  # the container says it, too


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
def test_hdr10_mastering_data_is_in_the_pictures_where_the_codec_has_a_place(tmp_path, codec):
    output = tmp_path / "out.mp4"
    journal, *_ = write_frames(master(tmp_path), output, **settings_for(output, codec, 10))
    for segment in journal.segments:
        with VideoReader(segment.path) as reader:  # its header says nothing
            assert reader.info.mastering.light == (1000, 400)
            assert reader.info.mastering.has_display


@pytest.mark.parametrize(
    "mastering",
    [
        Mastering(light=(4000, 250)),
        Mastering(primaries=PRIMARIES),
        Mastering(luminance=(Fraction(1, 200), Fraction(4000))),
        Mastering(),
    ],
)
def test_what_the_source_does_not_say_is_not_made_up(tmp_path, mastering):
    make_video(tmp_path / "plain.mkv", codec="ffv1", pixel_format="yuv444p")
    with open_mastered(tmp_path / "plain.mkv", mastering) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 12
    found = Mastering.of(frames[0])
    assert found.light == mastering.light
    assert found.primaries == mastering.primaries
    assert found.luminance == mastering.luminance


@pytest.mark.parametrize("suffix", [".gif", ".webp", "/%06d.png"])
def test_pictures_without_mastering_data_are_named(tmp_path, suffix):
    (warning,) = [text for text in warnings_for(master(tmp_path), suffix) if "mastering" in text]
    assert "left out" in warning


def test_half_of_the_mastering_data_is_named(tmp_path, clip):
    with VideoReader(clip) as reader:
        info = reader.info
    *_, spec, _, _ = write_frames(clip, tmp_path / "out.mp4")
    for mastering, count in ((Mastering(primaries=PRIMARIES), 1), (Mastering(light=(4000, 0)), 1), (Mastering(), 0)):
        plan = plan_streams(dataclasses.replace(info, mastering=mastering), spec, Fraction(0))
        assert len(plan.warnings) == count


@pytest.mark.parametrize(
    ("name", "payload", "word"),
    [
        ("news.h264", CAPTIONS, "closed captions"),
        ("news.hevc", CAPTIONS, "closed captions"),
        ("film.hevc", hdr10_plus(), "HDR10+"),
    ],
    ids=["captions in H.264", "captions in H.265", "HDR10+"],
)
def test_what_only_the_source_frames_carry_is_named_before_work(tmp_path, name, payload, word):
    source = with_message(tmp_path / name, payload)
    for suffix in (".mp4", ".mkv", ".gif"):
        assert [word in text for text in warnings_for(source, suffix)] == [True]
    with VideoReader(make_video(tmp_path / "plain.mp4")) as reader:
        assert reader.info.not_carried == ()


def test_what_later_frames_carry_is_named_once_they_were_read(tmp_path):
    with VideoReader(with_message(tmp_path / "news.h264", CAPTIONS, first=3)) as reader:
        assert reader.info.not_carried == ()
        times = [frame.time for frame in reader.frames()]
    expected = f"frames from {float(times[3]):.3f} s on carry closed captions"
    assert [expected in problem for problem in reader.problems].count(True) == 1


@pytest.mark.parametrize("kind", LOST)
def test_every_kind_that_is_lost_has_words(kind):
    exif = b"II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\0\0\0\0"
    data = exif if kind == "EXIF" else b"\1" * 24
    entry = type("Entry", (bytes,), {"type": SimpleNamespace(name=kind)})(data)
    assert lost_kinds(SimpleNamespace(side_data=[entry])) == (LOST[kind],)


def test_what_every_mpeg_2_stream_carries_is_nothing(tmp_path):
    make_video(tmp_path / "plain.mpg", codec="mpeg2video", time_base=Fraction(1, 24))
    with VideoReader(tmp_path / "plain.mpg") as reader:
        assert reader.info.not_carried == ()


def test_exif_of_photographs(tmp_path):
    """PyAV has no name for it, and gave none of a frame's side data."""
    folders = {suffix: tmp_path / suffix for suffix in ("jpg", "png", "webp", "tif")}
    for suffix, folder in folders.items():
        folder.mkdir()
        photograph = Image.fromarray(picture(0))
        exif = photograph.getexif()
        exif[0x112] = 6  # a quarter turn
        photograph.save(folder / f"1.{suffix}", exif=exif)
        with FolderReader(folder, Fraction(24)) as reader:
            assert (reader.info.rotation, reader.info.not_carried) == (-90, ())
    exif.get_ifd(0x8825)[29] = "2024:01:31"  # GPS
    Image.fromarray(picture(0)).save(folders["jpg"] / "1.jpg", exif=exif)
    with FolderReader(folders["jpg"], Fraction(24)) as reader:
        assert reader.info.not_carried == ("Exif data",)


def test_plain_tiff_files_are_read(tmp_path):
    Image.fromarray(picture(3)).save(tmp_path / "1.tif")
    with FolderReader(tmp_path, Fraction(24)) as reader:
        (frame,) = reader.frames()
    assert np.array_equal(frame.image, picture(3))


def test_side_data_of_a_kind_that_is_not_known_yet(tmp_path):
    """All that can be read stays readable."""
    from av.sidedata.sidedata import Type

    assert [Type(number).name for number in NEWER] == list(NEWER.values())
    assert Type(250).name == "KIND_250"
    with av.open(str(master(tmp_path))) as container:
        frame = next(container.decode(video=0))
    assert "CONTENT_LIGHT_LEVEL" in dict(side_data(frame))


def test_a_turned_video_as_pictures_is_named(tmp_path):
    source = make_video(tmp_path / "phone.mp4", range(4), configure=turned)
    assert [["turn" in text for text in warnings_for(source, suffix)] for suffix in (".gif", ".mkv")] == [[True], []]


def test_wide_pixels_as_pictures_are_named(tmp_path):
    def widen(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)

    source = make_video(tmp_path / "wide.mp4", range(4), configure=widen)
    assert [["4/3" in text for text in warnings_for(source, suffix)] for suffix in (".gif", ".mkv")] == [[True], []]
