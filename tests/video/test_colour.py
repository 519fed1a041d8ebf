"""Colours through the whole pipe: decode, enlarge, encode."""

from fractions import Fraction

import av
import numpy as np
import pytest

from safa.video.colour import Colour, FromRgb, Mastering, ToRgb
from safa.video.file_source import VideoReader
from tests.media import write_video
from tests.video.making import convert

# SMPTE bars at 75 %, white, black, and colours off the corners of the cube: R, G, B of 0..255.
BARS = np.array(
    [
        *[(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)],
        *[(255, 255, 255), (0, 0, 0), (128, 64, 200), (7, 7, 7), (250, 128, 3)],
    ]
)
BAR, HEIGHT = 16, 32
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}  # Kr, Kb by matrix
SPACES = [(1, 1), (1, 2), (6, 1), (6, 2), (9, 1), (9, 2)]


def yuv_of(matrix: int, colour_range: int, bits: int) -> np.ndarray:
    """BARS by the book (ITU-T H.273, 8.3), as code values: bars x (Y, Cb, Cr)."""
    red, blue = LUMA[matrix]
    r, g, b = (BARS / 255).T
    y = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))]
    unit, top = 2 ** (bits - 8), 2**bits - 1
    if colour_range == 2:
        planes = [y * top, *[c * top + 128 * unit for c in chroma]]
    else:
        planes = [(219 * y + 16) * unit, *[(224 * c + 128) * unit for c in chroma]]
    return np.clip(np.rint(planes), 0, top).astype(int).T


def chart(yuv: np.ndarray, pixel_format: str, bits: int) -> av.VideoFrame:
    """A frame of flat vertical bars."""
    frame = av.VideoFrame(BAR * len(BARS), HEIGHT, pixel_format)
    kind = np.dtype(np.uint8 if bits == 8 else "<u2")
    for plane, values in zip(frame.planes, yuv.T, strict=True):
        rows = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        rows[:, : plane.width] = np.repeat(values, plane.width // len(BARS))
        plane.update(rows.tobytes())
    return frame


def middles(frame: av.VideoFrame, bits: int) -> np.ndarray:
    """Code values in the middle of each bar: bars x planes."""
    columns = []
    for plane in frame.planes:
        kind = np.dtype(np.uint8 if bits == 8 else "<u2")
        rows = np.frombuffer(bytes(plane), kind).reshape(plane.height, plane.line_size // kind.itemsize)
        width = plane.width // len(BARS)
        columns.append(rows[plane.height // 2, width // 2 : plane.width : width].astype(int))
    return np.stack(columns, -1)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"])
@pytest.mark.parametrize(("matrix", "colour_range"), SPACES)
def test_conversion_is_by_the_book_both_ways(matrix, colour_range, pixel_format):
    bits = av.VideoFormat(pixel_format).components[0].bits
    yuv = yuv_of(matrix, colour_range, bits)
    colour = Colour(1, 1, matrix, colour_range)
    image = ToRgb(colour, bit_depth=bits, alpha=False)(chart(yuv, pixel_format, bits))
    found = image[HEIGHT // 2, BAR // 2 :: BAR] / (1 if bits == 8 else 257)
    # rounding of the code values themselves: one step of Y, Cb and Cr is up to 2.2 steps of R, G or B
    assert abs(found - BARS).max() < (3 if bits == 8 else 0.8)
    back = middles(FromRgb(colour, pixel_format)(image), bits)
    assert abs(back - yuv).max() <= 1


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize(("matrix", "colour_range"), SPACES)
def test_flat_areas_of_the_chart_survive_the_whole_pipe(tmp_path, matrix, colour_range, bits):
    """Within one 8-bit code value of the source's own planes, enlarged: what a plain bicubic resize leaves there."""
    pixel_format = "yuv420p" if bits == 8 else "yuv420p10le"
    yuv = yuv_of(matrix, colour_range, bits)
    source = tmp_path / "chart.mkv"

    def tag(stream):
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = 1, 1, matrix, colour_range

    frames = [chart(yuv, pixel_format, bits) for _ in range(3)]
    write_video(source, frames, time_base=Fraction(1, 24), codec="ffv1", pixel_format=pixel_format, configure=tag)
    codec = {"codec": "h265" if bits == 10 else "h264", "pixel_format": pixel_format}
    convert(source, tmp_path / "out.mp4", scale=4, **codec)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = list(container.decode(video=0))
    assert (frames[0].colorspace, frames[0].color_range) == (matrix, colour_range)
    for frame in frames:
        assert abs(middles(frame, bits) - yuv).max() <= 2 ** (bits - 8)


@pytest.mark.parametrize(
    ("tags", "height", "expected"),
    [
        (Colour(), 480, Colour(6, 6, 6, 1)),
        (Colour(), 576, Colour(5, 6, 5, 1)),
        (Colour(), 720, Colour(1, 1, 1, 1)),
        (Colour(range=2), 1080, Colour(1, 1, 1, 2)),
        (Colour(matrix=1), 480, Colour(1, 1, 1, 1)),
        (Colour(matrix=9), 480, Colour(9, 1, 9, 1)),
        (Colour(9, 16, 9, 1), 2160, Colour(9, 16, 9, 1)),
        (Colour(0, 0, 0, 0), 480, Colour(6, 6, 6, 1)),
    ],
)
def test_untagged_video_means_what_players_take_it_for(tags, height, expected):
    assert tags.resolved(height) == expected


def test_rgb_sources_become_bt709_limited():
    assert Colour(2, 13, 0, 2).resolved(480, rgb=True) == Colour(1, 13, 1, 1)


def test_untagged_output_is_tagged_with_what_the_source_meant(tmp_path, clip):
    convert(clip, tmp_path / "out.mp4", scale=4)
    with VideoReader(clip) as source, VideoReader(tmp_path / "out.mp4") as output:
        assert source.info.colour == Colour()
        assert output.info.colour == Colour(6, 6, 6, 1)


def test_mastering_metadata_in_the_encoders_units():
    display = [(Fraction(68, 100), Fraction(32, 100)), (Fraction(265, 1000), Fraction(69, 100))]
    display += [(Fraction(15, 100), Fraction(6, 100)), (Fraction(3127, 10000), Fraction(329, 1000))]
    mastering = Mastering(tuple(display), (Fraction(5, 1000), Fraction(1000)), (1000, 400))
    assert mastering.x265() == [
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)",
        "max-cll=1000,400",
    ]
    assert mastering.svt_av1()[1] == "content-light=1000,400"
    assert Mastering().x265() == Mastering().svt_av1() == []


def test_wrong_arrays_are_refused():
    with pytest.raises(ValueError, match="H,W,3"):
        FromRgb(Colour().resolved(48), "yuv420p")(np.zeros((4, 4), np.uint8))


def ramp(width: int, height: int) -> np.ndarray:
    """Code values of Cb that grow by one a column; Y and Cr are flat."""
    return np.tile(np.arange(64, 64 + width), (height, 1))


def test_colour_samples_are_written_at_the_left(tmp_path) -> None:
    colour, width, height = Colour(6, 6, 6, 1), 128, 16
    blue = (ramp(width, height) - 128) * 255 / 224
    grey = np.full_like(blue, 110 * 255 / 219)
    image = np.stack([grey, grey - 0.344136 * blue, grey + 1.772 * blue], -1)
    frame = FromRgb(colour, "yuv420p")(np.rint(image).clip(0, 255).astype(np.uint8))
    plane = frame.planes[1]
    found = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)[3, 10:50].astype(int)
    assert abs((found - ramp(width, height)[0, 20:100:2]).mean()) < 0.1
    assert frame.pts is None


@pytest.mark.parametrize(
    ("codec", "options"),
    [("libx264", {"crf": "1"}), ("mpeg2video", {"qscale": "1"}), ("ffv1", {}), ("libvpx-vp9", {"crf": "1", "b": "0"})],
)
def test_colours_stay_where_they_are(tmp_path, codec, options) -> None:
    width, height = 128, 64
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, (126, ramp(width // 2, 1)[0] * 2 - 64, 128), strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    write_video(tmp_path / "in.mkv", [frame], codec=codec, options=options)
    with VideoReader(tmp_path / "in.mkv") as reader:
        (read,) = reader.frames()
    line = read.image[20, 20:100].astype(float)
    found = (line[:, 2] - line[:, 0]) / 1.772 * 224 / 255 + 128
    assert abs((found - ramp(width, 1)[0, 20:100]).mean()) < 0.25
