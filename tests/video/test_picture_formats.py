"""Pictures of all kinds of sources: gray, deep, transparent, cropped, interlaced late, of several sizes and streams."""

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from safa.errors import MediaError
from safa.video import folder_source
from safa.video.animation import measure_webp
from safa.video.codecs import choose_codec
from safa.video.colour import Colour, ToRgb
from safa.video.containers import find_video, open_container
from safa.video.file_source import VideoReader
from safa.video.folder_source import FolderReader, content_digest, open_reader
from safa.video.verify import verify
from tests.media import write_video
from tests.video.making import convert, make_video, picture

FPS = Fraction(25)
WIDTH, HEIGHT = 64, 48
RED = (200, 40, 40)


def base() -> np.ndarray:
    """Dark gray with a red block."""
    image = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    image[10:30, 10:40] = RED
    return image


def save(folder: Path, number: int, image: np.ndarray, mode: str | None = None, suffix: str = ".png") -> None:
    folder.mkdir(exist_ok=True)
    found = Image.fromarray(image)
    (found if mode is None else found.convert(mode)).save(folder / f"{number:03}{suffix}")


def save_deep(folder: Path, number: int, image: np.ndarray) -> None:
    """A PNG with 16 bits a colour."""
    folder.mkdir(exist_ok=True)
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, HEIGHT, "rgb48be", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(image.astype(np.uint16) * 257, format="rgb48le").reformat(format="rgb48be")
    (packet,) = [*encoder.encode(frame), *encoder.encode(None)]
    (folder / f"{number:03}.png").write_bytes(bytes(packet))


def images(reader) -> list[np.ndarray]:
    return [frame.image for frame in reader.frames()]


@pytest.mark.parametrize("mode", ["L", "1", "LA", "P", "CMYK"])
def test_a_folder_whose_first_picture_is_of_another_kind_keeps_its_colours(tmp_path, mode):
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    save(tmp_path / "in", 0, black, mode, ".jpg" if mode == "CMYK" else ".png")
    save(tmp_path / "in", 1, base())
    with FolderReader(tmp_path / "in", FPS) as reader:
        first, second = images(reader)
        assert reader.info.is_rgb
    assert np.abs(first[..., :3].astype(int)).max() < 4
    assert np.array_equal(second[..., :3], base())


def test_a_folder_has_the_most_bits_and_the_transparency_of_all_its_pictures(tmp_path):
    folder = tmp_path / "in"
    save(folder, 0, base())
    save(folder, 1, np.dstack([base(), np.full((HEIGHT, WIDTH), 128, np.uint8)]))
    save_deep(folder, 2, base())
    save(folder, 3, base(), "LA")
    Image.fromarray(base()).quantize(16).save(folder / "004.png")
    with FolderReader(folder, FPS) as reader:
        assert (reader.info.bit_depth, reader.info.has_alpha, reader.info.is_rgb) == (16, True, True)
        found = images(reader)
    assert all(image.dtype == np.uint16 and image.shape == (HEIGHT, WIDTH, 4) for image in found)
    deep = base().astype(int) * 257
    for number in (0, 1, 2, 4):
        assert np.array_equal(found[number][..., :3], deep)
    assert [image[0, 0, 3] for image in found] == [65535, 128 * 257, 65535, 65535, 65535]


def test_palettes_and_print_colours_are_opaque_unless_they_say_otherwise(tmp_path):
    palette = Image.fromarray(base()).quantize(16)
    for name, options in (("opaque", {}), ("clear", {"transparency": 0})):
        (tmp_path / name).mkdir()
        palette.save(tmp_path / name / "0.png", **options)
    save(tmp_path / "print", 0, base(), "CMYK", ".jpg")
    kinds = {}
    for name in ("opaque", "clear", "print"):
        with FolderReader(tmp_path / name, FPS) as reader:
            kinds[name] = reader.info.has_alpha
    assert kinds == {"opaque": False, "clear": True, "print": False}


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_few_bits_are_no_reason_for_another_codec(bits):
    choice = choose_codec(Path("x.mp4"), None, bits)
    assert (choice.codec, choice.pixel_format, choice.warnings) == ("h264", "yuv420p", ())


def test_bits_that_are_lost_are_told():
    assert choose_codec(Path("x.mkv"), None, 12).warnings == (
        "h265 is written with 10 bits; the source's 12 are rounded.",
    )
    assert choose_codec(Path("x.mp4"), "h265", 10).warnings == ()


def test_deep_sources_too_small_for_the_usual_codec_get_another():
    choice = choose_codec(Path("x.mp4"), None, 10, side=48)
    assert choice.codec not in ("h265", "av1")


def gray_frame(values: tuple[int, ...], pixel_format: str, colour_range: int) -> av.VideoFrame:
    """Stripes of luma."""
    frame = av.VideoFrame(32 * len(values), HEIGHT, pixel_format)
    kind = np.dtype(np.uint8 if pixel_format == "gray" else "<u2")
    plane = frame.planes[0]
    rows = np.zeros((HEIGHT, plane.line_size // kind.itemsize), kind)
    rows[:, : plane.width] = np.repeat(values, 32)
    plane.update(rows.tobytes())
    frame.color_range = colour_range
    return frame


@pytest.mark.parametrize(
    ("pixel_format", "colour_range", "values"),
    [
        ("gray", 1, (16, 126, 235)),
        ("gray", 2, (0, 128, 255)),
        ("gray10le", 1, (64, 504, 940)),
        ("gray10le", 2, (0, 514, 1023)),
        ("gray16le", 2, (0, 128 * 257, 65535)),
    ],
)
def test_gray_has_the_range_that_it_says(pixel_format, colour_range, values):
    depth = 8 if pixel_format == "gray" else 16
    to_rgb = ToRgb(Colour().resolved(HEIGHT), bit_depth=depth, alpha=False)
    found = to_rgb(gray_frame(values, pixel_format, colour_range))[5, 16::32] / (1 if depth == 8 else 257)
    assert found.shape == (3, 3)
    assert np.abs(found - np.array([[0], [128], [255]])).max() < 0.6


def test_limited_gray_video_keeps_its_black_and_white(tmp_path):
    source = tmp_path / "in.mkv"

    def tag(stream):
        stream.codec_context.color_range = 1

    frames = [gray_frame((16, 126, 235), "gray", 1) for _ in range(2)]
    write_video(source, frames, codec="ffv1", pixel_format="gray", configure=tag)
    convert(source, tmp_path / "out.mkv", rate=1, codec="ffv1", pixel_format="yuv444p")
    with av.open(str(tmp_path / "out.mkv")) as container:
        frame = next(container.decode(video=0))
    luma = np.frombuffer(bytes(frame.planes[0]), np.uint8).reshape(HEIGHT, -1)[5, 16:96:32]
    assert (luma.tolist(), int(frame.color_range)) == ([16, 126, 235], 1)


def test_mono_y4m_is_limited(tmp_path):
    rows = bytes([16] * 32 + [235] * 32) * HEIGHT
    (tmp_path / "x.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 Cmono\nFRAME\n" + rows)
    with VideoReader(tmp_path / "x.y4m") as reader:
        (image,) = images(reader)
    assert image[0, [0, 63]].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_range_and_matrix_are_each_frames_own():
    to_rgb = ToRgb(Colour(1, 1, 1, 1), bit_depth=8, alpha=False)
    found = {}
    for colour_range, matrix in ((1, 1), (2, 1), (1, 6), (1, 1)):
        frame = av.VideoFrame(WIDTH, HEIGHT, "yuv444p")
        for plane, value in zip(frame.planes, (39, 128, 160), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.color_range, frame.colorspace = colour_range, matrix
        found[colour_range, matrix] = to_rgb(frame)[0, 0].tolist()
    # By ITU-T H.273: red is Y + 2 (1 - Kr) Cr.
    assert found[1, 1][0] == pytest.approx(255 * (23 / 219 + 1.5748 * 32 / 224), abs=1)
    assert found[2, 1][0] == pytest.approx(39 + 1.5748 * 32, abs=1)
    assert found[1, 6][0] == pytest.approx(255 * (23 / 219 + 1.402 * 32 / 224), abs=1)


def test_a_camera_that_switches_from_gray_to_colour(tmp_path):
    def jpeg(coloured: bool) -> bytes:
        image, file = Image.fromarray(base()), io.BytesIO()
        (image if coloured else image.convert("L")).save(file, "JPEG", quality=98)
        return file.getvalue()

    with av.open(str(tmp_path / "in.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        for number in range(4):
            packet = av.Packet(jpeg(number >= 2))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    with VideoReader(tmp_path / "in.avi") as reader:
        found = images(reader)
    assert np.abs(found[0][2, 2].astype(int) - 60).max() <= 2
    assert np.abs(found[3][20, 25].astype(int) - RED).max() <= 5


@pytest.mark.parametrize("colour_range", [1, 2])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p", "yuv444p10le"])
def test_ycgco_becomes_bt709(tmp_path, colour_range, pixel_format):
    red, green, blue = (16 + value * 219 / 255 if colour_range == 1 else value for value in (200, 80, 40))
    planes = (red + 2 * green + blue) / 4, (2 * green - red - blue) / 4 + 128, (red - blue) / 2 + 128
    frame = av.VideoFrame(WIDTH, HEIGHT, pixel_format)
    deep = pixel_format.endswith("10le")
    for plane, value in zip(frame.planes, planes, strict=True):
        data = np.full(
            plane.buffer_size // (2 if deep else 1), round(value * (4 if deep else 1)), "<u2" if deep else "u1"
        )
        plane.update(data.tobytes())
    frame.colorspace, frame.color_range = 8, colour_range
    colour = Colour(matrix=8, range=colour_range).resolved(HEIGHT)
    assert colour == Colour(1, 1, 1, 1)
    image = ToRgb(colour, bit_depth=10 if deep else 8, alpha=False)(frame)
    assert np.abs(image[5, 5] / (257 if deep else 1) - (200, 80, 40)).max() <= 3


def interlaced(path: Path, order: tuple[tuple[bool, int], ...]) -> Path:
    """MPEG-2 of parts that are interlaced or not, frame by frame: the second field is two pixels further right."""
    data, total = b"", 0
    for number, (is_interlaced, count) in enumerate(order):
        graph = av.filter.Graph()
        source = graph.add_buffer(width=96, height=64, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 25))
        tag, sink = graph.add("setfield", "tff" if is_interlaced else "prog"), graph.add("buffersink")
        source.link_to(tag)
        tag.link_to(sink)
        graph.configure()
        frames = []
        for k in range(count):
            image = np.full((64, 96, 3), 60, np.uint8)
            for row in range(64):
                left = 4 * (total + k) % 80 + 2 * (row % 2) * is_interlaced
                image[row, left : left + 12] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            graph.push(frame)
            frames.append(graph.pull())
        part = write_video(
            path.with_suffix(f".{number}.ts"),
            frames,
            range(total, total + count),
            codec="mpeg2video",
            options={"flags": "+ildct+ilme", "qscale": "2"} if is_interlaced else {"qscale": "2"},
        )
        data += part.read_bytes()
        total += count
    path.write_bytes(data)
    return path


def comb(image: np.ndarray) -> float:
    """Mean difference of neighbouring rows less that of rows two apart."""
    luma = image[8:-8, :, 0].astype(int)
    return float(np.abs(np.diff(luma, axis=0)).mean() - np.abs(luma[2:] - luma[:-2]).mean())


@pytest.mark.parametrize(
    "order", [((False, 6), (True, 6)), ((True, 6), (False, 6)), ((False, 3), (True, 4), (False, 3))]
)
def test_interlaced_frames_are_found_wherever_they_are(tmp_path, order):
    source = interlaced(tmp_path / "in.ts", order)
    with VideoReader(source) as reader:
        frames = list(reader.frames())
    with VideoReader(source, deinterlace=False) as reader:
        plain = list(reader.frames())
    assert [frame.time for frame in frames] == [frame.time for frame in plain]
    marks = [is_interlaced for is_interlaced, count in order for _ in range(count)]
    assert len(frames) == len(marks)
    for mark, frame, other in zip(marks, frames, plain, strict=True):
        if mark:
            assert comb(other.image) > 5
            assert comb(frame.image) < 1
        else:
            assert np.array_equal(frame.image, other.image)


def alpha_frames(count: int = 4, opaque: int = 0) -> list[av.VideoFrame]:
    """A block on nothing; the first ``opaque`` ones on black."""
    frames = []
    for number in range(count):
        image = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        image[..., 3] = 255 if number < opaque else 0
        image[10:30, 10 + number : 40 + number] = (200, 80, 40, 255)
        frames.append(av.VideoFrame.from_ndarray(image, format="rgba"))
    return frames


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparency_of_webm_is_read(tmp_path, codec):
    source = tmp_path / "in.webm"

    def mark(stream):
        stream.metadata["alpha_mode"] = "1"

    options = {"auto-alt-ref": "0", "crf": "10", "b": "1M"}
    frames = [frame.reformat(format="yuva420p") for frame in alpha_frames()]
    write_video(source, frames, codec=codec, pixel_format="yuva420p", options=options, configure=mark)
    with VideoReader(source) as reader:
        assert reader.info.has_alpha
        found = images(reader)
    assert [image[20, [2, 30], 3].tolist() for image in found] == [[0, 255]] * 4
    convert(source, tmp_path / "out.mkv", rate=1)
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert not {name for name in container.streams.video[0].metadata if name.lower() == "alpha_mode"}


def test_an_opaque_alpha_channel_is_no_transparency(tmp_path):
    for number in range(40):
        alpha = 255 if number != 37 else 128  # not among those that are decoded beforehand
        Image.fromarray(np.full((16, 16, 4), alpha, np.uint8)).save(tmp_path / f"{number}.png")
    with FolderReader(tmp_path, Fraction(25)) as reader:
        assert not reader.info.has_alpha
        assert {frame.image.shape for frame in reader.frames()} == {(16, 16, 3)}
        assert reader.problems == ["pictures from 37.png on are partly transparent, which is not kept."]
    Image.fromarray(np.full((16, 16, 4), 128, np.uint8)).save(tmp_path / "39.png")
    with FolderReader(tmp_path, Fraction(25)) as reader:
        assert reader.info.has_alpha


@pytest.mark.parametrize("changed", [0, 90_000, 199_999])
def test_a_digest_of_blocks_of_a_file_changes_with_it(tmp_path, monkeypatch, changed):
    monkeypatch.setattr(folder_source, "DIGEST_BYTES", 64_000)
    contents = np.random.default_rng(1).integers(0, 256, 200_000, dtype=np.uint8)
    film = tmp_path / "film.mp4"
    film.write_bytes(contents.tobytes())
    before = content_digest(film)
    contents[changed:] ^= 1
    film.write_bytes(contents.tobytes())
    after = content_digest(film)
    film.write_bytes(contents[:-1].tobytes())
    assert len({before, after, content_digest(film)}) == 3


def test_transparency_that_begins_later_is_found(tmp_path):
    for number, frame in enumerate(alpha_frames(4, opaque=2)):
        save(tmp_path / "in", number, frame.to_ndarray(), "RGB" if number < 2 else None)
    settings = {"codec": "rgb", "pixel_format": "bgra", "source_fps": Fraction(10)}
    convert(tmp_path / "in", tmp_path / "in.gif", rate=1, **settings)
    for source, reader in (
        ("in.gif", VideoReader(tmp_path / "in.gif")),
        ("in", FolderReader(tmp_path / "in", FPS)),
    ):
        with reader:
            assert reader.info.has_alpha, source
            found = images(reader)
        assert [image[2, 2, 3] for image in found] == [255, 255, 0, 0], source


def test_prores_whose_first_frame_is_opaque(tmp_path):
    """The encoder has one kind for all frames, so two files are joined: the index of one, the packets of both."""
    parts = []
    for name, pixel_format in (("opaque", "yuv444p10le"), ("clear", "yuva444p10le")):
        frames = [frame.reformat(format=pixel_format) for frame in alpha_frames(2)]
        parts.append(write_video(tmp_path / f"{name}.mov", frames, codec="prores_ks", pixel_format=pixel_format))
    with av.open(str(parts[1])) as clear, av.open(str(tmp_path / "in.mov"), "w") as container:
        stream = container.add_stream_from_template(clear.streams.video[0], opaque=True)
        tick = 0
        for part in parts:
            with av.open(str(part)) as source:
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.pts = packet.dts = tick
                        packet.time_base, packet.stream, tick = Fraction(1, 25), stream, tick + 1
                        container.mux(packet)
    with VideoReader(tmp_path / "in.mov") as reader:
        assert reader.info.has_alpha
        found = images(reader)
    assert [image[2, 2, 3] > 60000 for image in found] == [True, True, False, False]


def test_the_film_is_read_not_the_still_before_it(tmp_path):
    film = make_video(tmp_path / "film.mp4", audio=0.5)
    for suffix, default in ((".mp4", True), (".mkv", True), (".mkv", False)):
        source = tmp_path / f"in{default}{suffix}"
        with av.open(str(film)) as original, av.open(str(source), "w") as container:
            still = container.add_stream("mjpeg", rate=1)
            still.width, still.height, still.pix_fmt, still.disposition = 32, 24, "yuvj420p", 0
            streams = {s.index: container.add_stream_from_template(s) for s in original.streams}
            if default:
                streams[0].disposition = av.stream.Disposition.default
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 0, Fraction(1)
            container.mux([*still.encode(frame), *still.encode(None)])
            for packet in original.demux():
                if packet.size:
                    packet.stream = streams[packet.stream.index]
                    container.mux(packet)
        with VideoReader(source) as reader:
            assert (reader.info.width, len(images(reader))) == (64, 12)


def test_the_default_of_two_films_is_read(tmp_path):
    for chosen in (0, 1):
        source = tmp_path / f"{chosen}.mkv"
        with av.open(str(source), "w") as container:
            streams = []
            for number, size in enumerate((32, 48)):
                stream = container.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = size, 32, "yuv420p"
                stream.disposition = av.stream.Disposition.default if number == chosen else 0
                streams.append(stream)
            for stream in streams:
                for number in range(3):
                    frame = av.VideoFrame.from_ndarray(picture(number, stream.width, 32), format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        with open_container(source) as container:
            assert find_video(container, source).width == (32, 48)[chosen]


def test_all_pictures_of_an_animated_avif_are_read(tmp_path):
    frames = [Image.fromarray(picture(number)) for number in range(4)]
    frames[0].save(tmp_path / "in.avif", save_all=True, append_images=frames[1:], duration=100)
    with VideoReader(tmp_path / "in.avif") as reader:
        assert [frame.time * 10 for frame in reader.frames()] == [0, 1, 2, 3]


def bordered(path: Path, **options) -> Path:
    """Green with 8 black rows above and below."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[8:56] = (60, 120, 60)
    return write_video(path, [image] * 3, options={"crf": "5"}, **options)


def element(name: str, content: bytes) -> bytes:
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def test_edges_that_matroska_hides_are_cut_off(tmp_path):
    """The track's entry is written anew, with the crop and the size of the rest."""
    from safa.video.container_patches import CLUSTER, SEGMENT, TRACK_ENTRY, TRACKS, VIDEO, elements

    data = bordered(tmp_path / "in.mkv", container_options={"write_crc32": "0"}).read_bytes()
    begin, body = next((at, body) for name, at, body, _ in elements(data, 0, len(data)) if name == SEGMENT)
    made = b""
    for name, at, inside, stop in elements(data, body, len(data)):
        part = data[at:stop]
        if name == TRACKS:
            entry = next((i, s) for n, _, i, s in elements(data, inside, stop) if n == TRACK_ENTRY)
            children = b""
            for child, start, within, end in elements(data, *entry):
                content = data[start:end]
                if child == VIDEO:
                    kept = [data[a:e] for n, a, _, e in elements(data, within, end) if n[0] != 0x54]
                    crop = element("54AA", b"\x08") + element("54BB", b"\x08")
                    shown = element("54B0", b"\x60") + element("54BA", b"\x30")
                    content = element("E0", b"".join(kept) + crop + shown)
                children += content
            part = element("1654AE6B", element("AE", children))
        if name in (TRACKS, CLUSTER) or name == bytes.fromhex("1549A966"):
            made += part
    (tmp_path / "in.mkv").write_bytes(data[:begin] + SEGMENT + b"\x01" + b"\xff" * 7 + made)
    with VideoReader(tmp_path / "in.mkv") as reader:
        assert (reader.info.width, reader.info.height, reader.info.sample_aspect_ratio) == (96, 48, 1)
        (image, *_) = images(reader)
    assert image.shape == (48, 96, 3)
    assert np.abs(image.astype(int) - (60, 120, 60)).max() < 12
    verification = verify(tmp_path / "out.mp4", convert(tmp_path / "in.mkv", tmp_path / "out.mp4", rate=1))
    assert verification.ok, verification.failures()


def test_edges_that_mp4_hides_are_cut_off(tmp_path):
    source = bordered(tmp_path / "in.mp4")

    def boxes(data):
        at = 0
        while at < len(data):
            (size,) = struct.unpack(">I", data[at : at + 4])
            yield data[at + 4 : at + 8], data[at + 8 : at + size]
            at += size

    def box(name, content):
        return struct.pack(">I", len(content) + 8) + name + content

    def walk(data):
        made = b""
        for name, content in boxes(data):
            inner = content
            if name in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
                inner = walk(content)
            if name == b"stsd":
                kind, entry = next(boxes(content[8:]))
                clap = box(b"clap", struct.pack(">IIIIiIiI", 96, 1, 48, 1, 0, 1, 0, 1))
                inner = content[:8] + box(kind, entry + clap)
            made += box(name, inner)
        return made

    data = source.read_bytes()
    at = data.index(b"moov") - 4  # behind the pictures, so their places stay
    source.write_bytes(data[:at] + walk(data[at:]))
    with VideoReader(source) as reader:
        assert (reader.info.width, reader.info.height) == (96, 48)
        (image, *_) = images(reader)
    assert np.abs(image.astype(int) - (60, 120, 60)).max() < 12


def test_frames_of_another_size_are_scaled_to_the_first(tmp_path):
    data = b""
    for number, size in enumerate(((64, 48), (96, 72))):
        path = make_video(
            tmp_path / f"{number}.ts",
            range(number * 6, number * 6 + 6),
            Fraction(1, 25),
            size=size,
            options={"bf": "0"},
        )
        data += path.read_bytes()
    (tmp_path / "in.ts").write_bytes(data)
    with VideoReader(tmp_path / "in.ts") as reader:
        found = images(reader)
        (problem,) = reader.problems
    assert [image.shape for image in found] == [(48, 64, 3)] * 12
    small = np.asarray(Image.fromarray(picture(5, 96, 72)).resize((64, 48), Image.Resampling.BICUBIC))
    assert np.abs(found[11].astype(int) - small).mean() < 8
    assert problem.startswith("the picture size changes from 64x48 to 96x72 at 0.2")


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("alpha", [False, True])
def test_webp_of_a_still_keeps_its_length(tmp_path, count, alpha):
    image = base() if not alpha else np.dstack([base(), np.full((HEIGHT, WIDTH), 90, np.uint8)])
    for number in range(count):
        save(tmp_path / "in", number, image)
    output = tmp_path / "out.webp"
    settings = {"codec": "rgb", "pixel_format": "bgra" if alpha else "bgr0"}
    expected = convert(tmp_path / "in", output, rate=1, source_fps=Fraction(5), **settings)
    verification = verify(output, expected)
    assert verification.ok, verification.failures()
    assert measure_webp(output) == (1, {(WIDTH, HEIGHT)}, Fraction(count, 5))
    with Image.open(output) as found:
        pixels = np.asarray(found.convert("RGBA")).astype(int)
    assert np.abs(pixels[40, 50] - (60, 60, 60, 90 if alpha else 255)).max() <= 6


@pytest.mark.parametrize("loop", [None, 0, 2])
def test_animations_are_shown_as_often_as_the_source(tmp_path, loop):
    frames = [Image.fromarray(picture(number)) for number in range(3)]
    options = {} if loop is None else {"loop": loop}
    frames[0].save(tmp_path / "in.gif", save_all=True, append_images=frames[1:], duration=100, **options)
    plays = {None: 1, 0: 0, 2: 3}[loop]
    with VideoReader(tmp_path / "in.gif") as reader:
        assert reader.info.plays == plays
    for suffix in (".gif", ".webp"):
        convert(tmp_path / "in.gif", tmp_path / f"out{suffix}", rate=1, codec="rgb", pixel_format="bgr0", plays=plays)
        with Image.open(tmp_path / f"out{suffix}") as found:
            assert found.info.get("loop") == (loop if suffix == ".gif" else plays)


@pytest.mark.parametrize("missing", [0, 1, 2000])
def test_y4m_that_ends_in_the_middle_of_a_frame_says_so(tmp_path, missing):
    header = b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 C420mpeg2\n"
    data = header + (b"FRAME\n" + bytes(64 * 48 * 3 // 2)) * 3
    (tmp_path / "in.y4m").write_bytes(data[: len(data) - missing])
    with VideoReader(tmp_path / "in.y4m") as reader:
        assert len(images(reader)) == (2 if missing else 3)
        told = ["the source ends in the middle of a frame, which is left out."]
        assert reader.problems == (told if missing else [])


def test_what_is_usual_is_not_called_damage(tmp_path):
    def gop(stream):
        stream.codec_context.gop_size = 6

    disc = write_video(tmp_path / "disc.mpg", map(picture, range(30)), codec="mpeg2video", configure=gop)
    bare = write_video(tmp_path / "bare.h264", map(picture, range(10)), time_base=Fraction(1, 50))
    for source in (disc, bare):
        with VideoReader(source) as reader:
            assert len(images(reader)) in (30, 10)
            assert reader.problems == []


def test_a_named_pipe_is_refused(tmp_path):
    import os

    os.mkfifo(tmp_path / "in.mp4")
    with pytest.raises(MediaError, match="is a pipe or a device"):
        open_reader(tmp_path / "in.mp4")
