"""Folders of pictures, GIF, WebP and YUV4MPEG2: in and out."""

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from safa.errors import MediaError, OutputError
from safa.video.codecs import choose_codec
from safa.video.colour import Colour
from safa.video.encoder import OutputSpec, check_output
from safa.video.file_source import VideoReader
from safa.video.folder_source import FolderReader, open_reader
from safa.video.info import ReadOptions
from safa.video.journal import work_folder
from safa.video.schedule import OutputTime
from safa.video.verify import verify
from safa.video.y4m import Y4mWriter
from tests.video.making import convert, make_video, picture, write_frames

FPS = Fraction(24)


def make_folder(folder: Path, numbers, suffix=".png", **size) -> Path:
    folder.mkdir()
    for number in numbers:
        Image.fromarray(picture(number, **size)).save(folder / f"shot_{number}{suffix}")
    return folder


def test_numbers_not_names_give_the_order(tmp_path):
    folder = make_folder(tmp_path / "in", [8, 9, 10, 11])
    with FolderReader(folder, FPS) as reader:
        frames = list(reader.frames())
    assert [frame.time for frame in frames] == [Fraction(k, 24) for k in range(4)]
    assert [frame.duration for frame in frames] == [Fraction(1, 24)] * 4
    assert all(np.array_equal(frame.image, picture(k)) for k, frame in enumerate(frames, 8))
    assert (reader.info.frames, reader.info.duration, reader.problems) == (4, Fraction(4, 24), [])


def test_gaps_keep_their_time_and_are_told(tmp_path):
    folder = make_folder(tmp_path / "in", [1, 2, 5])
    (folder / "shot_3.png").write_text("not a picture")
    with FolderReader(folder, FPS) as reader:
        frames = list(reader.frames())
        assert [frame.time * 24 for frame in frames] == [0, 1, 4]
        assert [frame.duration * 24 for frame in frames] == [1, 3, 1]
        assert ["shot_3" in reader.problems[0], "1 numbers are missing" in reader.problems[1]] == [True, True]


def test_part_of_a_folder(tmp_path):
    folder = make_folder(tmp_path / "in", range(12))
    with FolderReader(folder, FPS, start=Fraction(1, 8), end=Fraction(1, 4)) as reader:
        frames = list(reader.frames())
    assert reader.is_cut
    assert [frame.time * 24 for frame in frames] == [0, 1, 2]
    assert np.array_equal(frames[0].image, picture(3))


@pytest.mark.parametrize(
    ("numbers", "options", "message"),
    [
        ([], ReadOptions(FPS), "without pictures"),
        ([1], ReadOptions(), "give its frames per second"),
        ([1], ReadOptions(FPS, Fraction(9)), "no picture in the chosen range"),
    ],
)
def test_unusable_folders(tmp_path, numbers, options, message):
    folder = make_folder(tmp_path / "in", numbers)
    with pytest.raises(MediaError, match=message):
        open_reader(folder, options)


def test_pictures_of_two_sizes_are_refused(tmp_path):
    folder = make_folder(tmp_path / "in", [1])
    Image.fromarray(picture(2, 32, 32)).save(folder / "shot_2.png")
    with pytest.raises(MediaError, match="must have one size"):  # before any work
        FolderReader(folder, FPS)


@pytest.mark.parametrize(("depth", "alpha"), [(8, False), (8, True), (16, False), (16, True)])
def test_folder_to_folder_is_lossless(tmp_path, depth, alpha):
    """Depth and transparency in are depth and transparency out, to the bit."""
    name = {(8, False): "rgb24", (8, True): "rgba", (16, False): "rgb48be", (16, True): "rgba64be"}[depth, alpha]
    rng = np.random.default_rng(0)
    kind = np.uint8 if depth == 8 else np.uint16
    images = rng.integers(0, 2**depth, (3, 48, 64, 4 if alpha else 3)).astype(kind)
    (tmp_path / "in").mkdir()
    for number, image in enumerate(images):
        with av.open(str(tmp_path / "in" / f"{number}.png"), "w", format="image2", options={"update": "1"}) as file:
            stream = file.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, name
            plain = av.VideoFrame.from_ndarray(image, format=name.replace("be", "le"))
            file.mux([*stream.encode(plain.reformat(format=name)), *stream.encode(None)])
    output = tmp_path / "out" / "%03d.png"
    choice = choose_codec(output, None, depth, alpha)
    settings = {"codec": choice.codec, "pixel_format": choice.pixel_format, "rate": 1, "source_fps": FPS}
    expected = convert(tmp_path / "in", output, **settings)
    assert verify(output, expected).ok
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["001.png", "002.png", "003.png"]
    with FolderReader(tmp_path / "out", FPS) as reader:
        assert np.array_equal([frame.image for frame in reader.frames()], images)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_keep_their_delays(tmp_path, suffix):
    ticks = [0, 5, 12, 18, 40]
    source = make_video(tmp_path / "in.mp4", ticks, Fraction(1, 100), last_duration=7, options={"bf": "0"})
    output = tmp_path / f"out{suffix}"
    expected = convert(source, output, rate=1, codec="rgb", pixel_format="bgr0")
    verification = verify(output, expected)
    assert verification.ok, verification.failures()
    with Image.open(output) as image:
        assert image.n_frames == 5
        assert image.info.get("loop") == 0
        delays = []
        for number in range(5):
            image.seek(number)
            image.load()
            delays.append(image.info["duration"])
    assert delays == [50, 70, 60, 220, 70]


def test_gif_in_has_its_true_delays_and_no_false_alpha(tmp_path):
    source = make_video(tmp_path / "in.mp4", [0, 5, 12, 40], Fraction(1, 100), last_duration=7, options={"bf": "0"})
    convert(source, tmp_path / "in.gif", rate=1, codec="rgb", pixel_format="bgr0")
    with VideoReader(tmp_path / "in.gif") as reader:
        frames = list(reader.frames())
    assert not reader.info.has_alpha
    assert [frame.time * 100 for frame in frames] == [0, 5, 12, 40]
    assert [frame.duration * 100 for frame in frames] == [5, 7, 28, 7]


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "frames/%06d.png"])
def test_picture_outputs_resume_and_appear_whole(tmp_path, clip, name):
    output = tmp_path / name
    settings = {"codec": "rgb", "pixel_format": "bgr0"}
    assert write_frames(clip, output, stop_after=10, **settings) is None
    assert not output.exists()
    assert work_folder(output).parent == tmp_path
    journal, *_, kept = write_frames(clip, output, **settings)
    assert (kept, journal.frames) == (8, 23)


def test_sound_that_pictures_cannot_have_is_named(tmp_path, clip):
    *_, plan, _ = write_frames(clip, tmp_path / "x.gif", codec="rgb", pixel_format="bgr0")
    assert plan.warnings == ("audio stream 1 (aac) cannot be copied into .gif and is left out.",)


def test_pictures_need_numbers_and_an_empty_folder(tmp_path, clip):
    with pytest.raises(OutputError, match="need a number"):
        check_output(tmp_path / "out.png", clip)
    make_folder(tmp_path / "full", [1])
    with pytest.raises(OutputError, match="is not empty"):
        check_output(tmp_path / "full" / "%06d.png", clip)
    check_output(tmp_path / "new" / "%06d.png", clip)


def y4m(pixel_format="yuv420p", count=3, rate=Fraction(24000, 1001)):
    stream = io.BytesIO()
    colour = Colour().resolved(48)
    aspect = {"sample_aspect_ratio": Fraction(4, 3)}
    spec = OutputSpec(Path("-"), 62, 46, 1 / rate, rate, colour, "y4m", pixel_format, **aspect)
    with Y4mWriter(stream, spec) as writer:
        for number in range(count):
            writer.write(picture(number, 62, 46), OutputTime(number, number, Fraction(0), number / rate))
        writer.finish(count / rate)
    return stream.getvalue()


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_y4m_out_is_read_back(pixel_format):
    with av.open(io.BytesIO(y4m(pixel_format)), format="yuv4mpegpipe") as container:
        stream = container.streams.video[0]
        frames = list(container.decode(video=0))
        assert (stream.average_rate, stream.sample_aspect_ratio) == (Fraction(24000, 1001), Fraction(4, 3))
    assert [frame.format.name for frame in frames] == [pixel_format] * 3
    assert abs(frames[1].to_ndarray(format="rgb24").astype(int) - picture(1, 62, 46)).mean() < 4


def test_y4m_in_comes_from_a_pipe():
    script = (
        "from safa.video.folder_source import open_reader\n"
        "with open_reader('-') as reader:\n"
        "    print([str(frame.time) for frame in reader.frames()], reader.info.width, reader.problems)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], input=y4m(), capture_output=True, check=True)
    assert run.stdout.decode().strip() == "['0', '1001/24000', '1001/12000'] 62 []"


def test_other_things_on_a_pipe_are_refused():
    script = "from safa.video.folder_source import open_reader; open_reader('-')"
    run = subprocess.run([sys.executable, "-c", script], input=b"hello", capture_output=True, check=False)
    assert b"standard input is not YUV4MPEG2" in run.stderr


def test_closed_pipe_is_one_sentence(tmp_path):
    class Closed(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    spec = OutputSpec(Path("-"), 64, 48, 1 / FPS, FPS, Colour().resolved(48), "y4m")
    with pytest.raises(OutputError, match="has closed it"):
        Y4mWriter(Closed(), spec)
