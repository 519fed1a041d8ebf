import av
import pytest

from safa.errors import MediaError
from safa.video.file_source import VideoReader
from tests.video.making import make_video, tone


def text(path):
    path.write_text("this is a shopping list\n" * 50)


def without_index(path):
    make_video(path, range(24))
    path.write_bytes(path.read_bytes()[:-400])  # the index is at the end


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for packet in tone(stream, 0.2):
            container.mux(packet)


def cover_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 16, 16, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame(16, 16, "yuvj420p")
        for packet in [*cover.encode(frame), *cover.encode(None), *tone(stream, 0.2)]:
            container.mux(packet)


def unknown_codec(path):
    make_video(path, range(4))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9").replace(b"avcC", b"zzzC"))


def no_pictures(path):
    make_video(path, range(24), container_options={"movflags": "+faststart"})
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(len(data) - start))


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda path: None, "missing.mp4", "no such file"),
        (lambda path: path.mkdir(), "folder", "is a folder"),
        (lambda path: path.touch(), "empty.mp4", "is empty"),
        (text, "text.mp4", "is not a video file"),
        (text, "text.txt", "is not a video file"),
        (without_index, "cut.mp4", "moov"),
        (sound_only, "sound.m4a", "holds only audio"),
        (cover_only, "album.mp4", "has no video stream"),
        (unknown_codec, "odd.mp4", "codec is not supported"),
        (no_pictures, "zeros.mp4", "can be decoded"),
    ],
)
def test_one_clear_sentence(tmp_path, make, name, message):
    path = tmp_path / name
    make(path)
    with pytest.raises(MediaError, match=message) as caught:
        VideoReader(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_selection_outside_the_file(tmp_path):
    path = make_video(tmp_path / "short.mp4", range(12))
    with pytest.raises(MediaError, match="earlier start"):
        VideoReader(path, start=av.time_base)
    with pytest.raises(MediaError, match="later end"):
        VideoReader(path, end=0)
