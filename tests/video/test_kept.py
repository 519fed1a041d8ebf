"""Cover pictures and tags: they are carried on, or named before work."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from safa.video.verify import verify
from tests.video.making import convert, make_video
from tests.video.test_side_data import warnings_for


def with_cover(path: Path, codec: str = "mjpeg") -> Path:
    """A Matroska file with a cover of 16x16 pixels, coded in `codec`."""
    plain = make_video(path.with_suffix(".mp4"), audio=0.5)
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.time_base = 16, 16, Fraction(1, 25)
    encoder.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24", "gif": "rgb8"}[codec]
    data = b"".join(bytes(p) for p in [*encoder.encode(av.VideoFrame(16, 16, encoder.pix_fmt)), *encoder.encode(None)])
    with av.open(str(path), "w") as container, av.open(str(plain)) as old:
        streams = [container.add_stream_from_template(stream, opaque=True) for stream in old.streams]
        container.add_attachment("front.image", {"mjpeg": "image/jpeg"}.get(codec, f"image/{codec}"), data)
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
    return path


def covers(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        attached = [s for s in container.streams.video if s.disposition & s.disposition.attached_pic]
        return [next(bytes(packet) for packet in container.demux(stream) if packet.size) for stream in attached]


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_covers_are_kept(tmp_path, suffix, codec):
    source, output = with_cover(tmp_path / "cover.mkv", codec), tmp_path / f"out{suffix}"
    expected = convert(source, output)
    assert verify(output, expected).ok
    assert covers(output) == covers(source)
    assert len(covers(source)) == 1
    again = tmp_path / "again.mkv"
    convert(output, again)
    assert covers(again) == covers(source)


@pytest.mark.parametrize(("suffix", "codec"), [(".mov", "mjpeg"), (".webm", "png"), (".mp4", "gif"), (".mkv", "gif")])
def test_covers_that_do_not_fit_are_named(tmp_path, suffix, codec):
    warnings = warnings_for(with_cover(tmp_path / "cover.mkv", codec), suffix)
    assert [text for text in warnings if "cover picture" in text and codec in text and suffix in text]


def with_tags(path: Path, tags: dict[str, str]) -> Path:
    """A Matroska file with tags of its own and a title of its video track."""
    plain = make_video(path.with_suffix(".mp4"), range(4))
    with av.open(str(path), "w") as container, av.open(str(plain)) as old:
        container.metadata.update(tags)
        stream = container.add_stream_from_template(old.streams.video[0], opaque=True)
        stream.metadata["title"] = "main view"
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return path


@pytest.mark.parametrize(
    ("suffix", "lost"), [(".mp4", "MOOD"), (".mov", "MOOD"), (".mkv", ""), (".webm", ""), (".gif", "MOOD, title")]
)
def test_tags_that_do_not_fit_are_named(tmp_path, suffix, lost):
    source = with_tags(tmp_path / "tagged.mkv", {"title": "A title", "MOOD": "calm"})
    wanted = [f"{suffix} cannot hold the source's tags {lost}; they are left out."] if lost else []
    assert warnings_for(source, suffix) == wanted


def test_the_title_of_a_track_survives_mp4_twice(tmp_path):
    source = with_tags(tmp_path / "tagged.mkv", {})
    convert(source, tmp_path / "once.mp4")
    convert(tmp_path / "once.mp4", tmp_path / "twice.mp4")
    convert(tmp_path / "twice.mp4", tmp_path / "back.mkv")
    with av.open(str(tmp_path / "back.mkv")) as container:
        assert container.streams.video[0].metadata["title"] == "main view"
