"""What a size that is asked for means for a source."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa.errors import SafaError
from safa.upscaler.size import Shape, box_of, checked_scale, checked_size, output_size

SCALES = [Fraction(text) for text in ("1", "1.25", "1.5", "2", "2.25", "3", "10/3", "4")]
MULTIPLES = [(1, 1), (2, 1), (2, 2)]


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    scale=st.sampled_from([*SCALES, None]),
    multiples=st.sampled_from(MULTIPLES),
)
def test_scales_are_met_within_a_pixel(width: int, height: int, scale: Fraction, multiples: tuple[int, int]) -> None:
    made = output_size(Shape(width, height), scale, None, multiples)
    assert made.aspect == 1
    for side, source, multiple in ((made.width, width, multiples[0]), (made.height, height, multiples[1])):
        assert side % multiple == 0
        assert source <= side <= 4 * source
        if scale is not None:
            assert abs(side - scale * source) <= multiple
        elif width * height <= 960 * 540:
            assert side == 4 * source
    if scale is None:
        assert made.reduced == (16 * width * height > 3840 * 2160)


@given(
    width=st.integers(1, 4000),
    height=st.integers(1, 4000),
    name=st.sampled_from(["720p", "1080p", "1440p", "4k", "4320p"]),
)
def test_named_sizes_fit_their_box(width: int, height: int, name: str) -> None:
    try:
        made = output_size(Shape(width, height), None, name, (2, 2))
    except SafaError:
        return
    box = box_of(name)
    assert box is not None
    long, short = sorted(box, reverse=True)
    sides = sorted((made.width, made.height), reverse=True)
    assert sides[0] <= long + 2
    assert sides[1] <= short + 2
    assert sides[0] == long or sides[1] == short


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        (Shape(1920, 1080), None, (3840, 2160, 1)),
        (Shape(1080, 1920), None, (2160, 3840, 1)),
        (Shape(960, 540), None, (3840, 2160, 1)),
        (Shape(1280, 720), "1080p", (1920, 1080, 1)),
        (Shape(640, 480), "1080p", (1440, 1080, 1)),
        (Shape(1920, 800), "4k", (3840, 1600, 1)),
        (Shape(426, 240), "480p", (852, 480, 1)),
        (Shape(320, 240), "576p", (768, 576, 1)),
        (Shape(1920, 1080), "4320p", (7680, 4320, 1)),
        (Shape(720, 1280), "1080p", (1080, 1920, 1)),
        (Shape(1280, 720, turned=True), "1080p", (1920, 1080, 1)),
        (Shape(1280, 720, turned=True), "1440x2560", (2560, 1440, 1)),
        (Shape(1280, 720, turned=True), "-1x1920", (1920, 1080, 1)),
        (Shape(720, 576, Fraction(64, 45)), "1080p", (1350, 1080, Fraction(64, 45))),
        (Shape(720, 576, Fraction(64, 45)), "1920x1080", (1920, 1080, 1)),
        (Shape(720, 576, Fraction(64, 45)), None, (2880, 2304, Fraction(64, 45))),
        (Shape(640, 480), "1920x1080", (1920, 1080, Fraction(3, 4))),
        (Shape(853, 480), "1920x-1", (1920, 1080, 1)),
        (Shape(5000, 3000), None, (5000, 3000, 1)),
    ],
    ids=str,
)
def test_sizes(shape: Shape, size: str | None, expected: tuple[int, int, Fraction]) -> None:
    made = output_size(shape, None, size, (2, 2))
    assert (made.width, made.height, made.aspect) == expected


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("4k", "4k is more than 4 times the source's 320x180; give --size 1280x720"),
        ("1281x-1", r"even sides, and 1281x-1 has an odd one; give --size 1282x-1"),
        ("2000x720", "more than 4 times the source's 320x180; 1280x720 is the largest"),
        ("320x100", "smaller than the source's 320x180"),
    ],
)
def test_sizes_out_of_reach_are_one_sentence(size: str, message: str) -> None:
    with pytest.raises(SafaError, match=message):
        output_size(Shape(320, 180), None, size, (2, 2))


def test_a_named_size_below_the_source() -> None:
    with pytest.raises(SafaError, match="1080p is smaller than the source's 2160x3840"):
        output_size(Shape(3840, 2160, turned=True), None, "1080p")


def test_words_are_read() -> None:
    assert [checked_scale(word) for word in ("1.5", "9/4", 2.2)] == [Fraction(3, 2), Fraction(9, 4), Fraction(11, 5)]
    assert [checked_size(word) for word in (" 4K", "1920X1080")] == ["4k", "1920x1080"]
