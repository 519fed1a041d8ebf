"""Requested sizes, and the filter that reduces the network's picture to them, whole and in tiles."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from safa.checkpoint import Checkpoint
from safa.engine import ENGINES
from safa.errors import SafaError
from safa.upscaler.resize import (
    Reduction,
    Shape,
    axis_filter,
    named_box,
    output_size,
    parse_scale,
    parse_size,
)
from safa.upscaler.upscaler import Upscaler
from tests.conftest import tiny_network

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
    box = named_box(name)
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
        ("2000x720", "more than 4 times the source's 320x180; the largest possible size is 1280x720"),
        ("320x100", "smaller than the source's 320x180"),
    ],
)
def test_sizes_out_of_range_are_one_sentence(size: str, message: str) -> None:
    with pytest.raises(SafaError, match=message):
        output_size(Shape(320, 180), None, size, (2, 2))


def test_a_named_size_below_the_source() -> None:
    with pytest.raises(SafaError, match="1080p is smaller than the source's 2160x3840"):
        output_size(Shape(3840, 2160, turned=True), None, "1080p")


def test_sizes_and_scales_are_parsed() -> None:
    assert [parse_scale(word) for word in ("1.5", "9/4", 2.2)] == [Fraction(3, 2), Fraction(9, 4), Fraction(11, 5)]
    assert [parse_size(word) for word in (" 4K", "1920X1080")] == ["4k", "1920x1080"]


def tiny_upscaler(engine: str = "auto") -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis")
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu", precision="float32", engine=engine)


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return tiny_upscaler()


def picture(seed: int, height: int = 17, width: int = 13, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def reduced(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = (side // 4 for side in image.shape[:2])
    result = np.empty((*size, image.shape[2]), np.float32)
    Reduction(height, width, size).store(image, (0, 0), result, (slice(0, size[0]), slice(0, size[1])))
    return result


@pytest.mark.parametrize(("size", "mode"), [((14, 22), "area"), ((28, 22), "area"), ((28, 44), "area"), ((21, 31), "")])
def test_the_filter_equals_pytorch_s(size: tuple[int, int], mode: str) -> None:
    image = torch.rand(1, 3, 56, 88, generator=torch.Generator().manual_seed(0))
    if mode:
        expected = F.interpolate(image, size=size, mode=mode)
    else:
        expected = F.interpolate(image, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    assert np.abs(reduced(image[0].permute(1, 2, 0).numpy(), size) - expected[0].permute(1, 2, 0).numpy()).max() < 2e-5


@given(side=st.integers(1, 300), data=st.data())
def test_even_areas_stay_even_and_every_pixel_belongs_to_one_part(side: int, data: st.DataObject) -> None:
    line = axis_filter(4 * side, data.draw(st.integers(side, 4 * side)))
    assert np.allclose(line.weights.sum(1), 1, atol=1e-5)
    edges = sorted({0, *data.draw(st.lists(st.integers(0, 4 * side), max_size=5)), 4 * side + 12})
    parts = [line.owned(span) for span in itertools.pairwise(edges)]
    assert (parts[0][0], parts[-1][1]) == (0, line.size)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(parts))


@settings(max_examples=25)
@given(height=st.integers(1, 40), width=st.integers(1, 40), data=st.data())
def test_any_size_from_any_size(upscaler: Upscaler, height: int, width: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(width, 4 * width)), data.draw(st.integers(height, 4 * height))
    channels = data.draw(st.sampled_from([3, 4]))
    frames = [picture(seed, height, width, channels) for seed in (0, 1)]
    (result,) = upscaler.between(*frames, [0.5], size=f"{size[0]}x{size[1]}")
    assert result.shape == (size[1], size[0], channels)
    assert result.dtype == np.uint8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_half_of_four_times_is_the_mean_of_four_pixels(upscaler: Upscaler, dtype: type) -> None:
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    frames = [(picture(seed, channels=4) / 255 * white).astype(dtype) for seed in (0, 1)]
    exact = [(frame / white).astype(np.float32) for frame in frames]
    (large,) = upscaler.between(*exact, [0.4])
    (result,) = upscaler.between(*frames, [0.4], scale=2)
    mean = large.astype(np.float64).reshape(34, 2, 26, 2, 4).mean((1, 3))
    assert result.dtype == dtype
    assert np.abs(result / white - mean).max() <= 0.51 / white + 1e-4 * (white == 1) + 2e-5


def test_four_times_is_the_default(upscaler: Upscaler) -> None:
    frames = picture(0), picture(1)
    (plain,) = upscaler.between(*frames, [0.3])
    for asked in ({"scale": 4}, {"size": "52x68"}, {"size": "52x-1"}):
        (result,) = upscaler.between(*frames, [0.3], **asked)  # type: ignore[arg-type]
        assert np.array_equal(result, plain)


def test_a_stream_has_the_size_of_its_pairs(upscaler: Upscaler) -> None:
    frames = [picture(seed) for seed in range(3)]
    result = list(upscaler.stream(frames, rate=2, scale=1.5))
    expected = upscaler.between(*frames[:2], [0, 0.5], scale=1.5)
    expected += upscaler.between(*frames[1:], [0, 0.5, 1], scale=1.5)
    assert result[0].shape == (26, 20, 3)
    assert all(np.array_equal(a, b) for a, b in zip(result, expected, strict=True))


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ("auto", "onnx")])
@pytest.mark.parametrize("size", [(83, 117), (166, 234), (125, 176), (249, 468), (332, 300)])
def test_no_seams_at_any_size(engine: str, size: tuple[int, int]) -> None:
    upscaler = tiny_upscaler(engine)
    coarse = np.random.default_rng(0).integers(0, 250, (16, 24, 4))
    soft = np.kron(coarse, np.ones((6, 6, 1), int)).astype(np.uint8)

    def pictures() -> list[np.ndarray]:
        frames = [upscaler.encode(np.ascontiguousarray(soft[:83, shift : shift + 117])) for shift in (0, 3)]
        return list(upscaler.pictures(upscaler.pair(*frames), [(0, 0.0), (0, 0.4)], size=size))

    whole = pictures()
    upscaler.budget.shrink(2 * 100 * 100)
    assert len(upscaler.tiles(83, 117)) > 1
    tiled = pictures()
    assert all(a.shape == (*size, 4) for a in tiled)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in zip(whole, tiled, strict=True))


def test_tiles_of_one_picture_are_joined_without_a_difference() -> None:
    """The result is equal to the last bit."""
    height, width, size = 40, 56, (97, 131)
    image = np.random.default_rng(0).random((4 * height, 4 * width, 3), np.float32)
    whole, joined = reduced(image, size), np.full((*size, 3), np.nan, np.float32)
    reduction = Reduction(height, width, size)
    for top in (0, 64):
        for left in (0, 88):
            core = slice(top, 160 if top else 64), slice(left, 224 if left else 88)
            start = max(0, top - 32), max(0, left - 32)
            padded = image[start[0] : core[0].stop + 32, start[1] : core[1].stop + 32].copy()
            region = reduction.output_region(core)
            reduction.store(padded, start, joined[region], region)
    assert np.array_equal(whole, joined)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"scale": 5}, "from 1 to 4"),
        ({"scale": 0.5}, "from 1 to 4"),
        ({"scale": "wide"}, "from 1 to 4"),
        ({"scale": float("nan")}, "from 1 to 4"),
        ({"size": "huge"}, "must be 4k or look like"),
        ({"size": "-1x-1"}, "must be 4k or look like"),
        ({"size": "10x10"}, "smaller than"),
        ({"size": "53x68"}, "more than 4 times"),
        ({"size": "4k"}, "more than 4 times"),
        ({"size": "26x34", "scale": 2}, "choose one"),
    ],
)
def test_impossible_sizes_are_refused(upscaler: Upscaler, asked: dict[str, object], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        upscaler.between(picture(0), picture(1), [0.5], **asked)  # type: ignore[arg-type]
