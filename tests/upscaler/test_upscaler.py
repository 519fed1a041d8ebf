"""The upscaler: arrays in, arrays out."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safa.checkpoint import Checkpoint
from safa.errors import SafaError
from safa.network.safa import Safa
from safa.upscaler.upscaler import Upscaler
from safa.video.windows import Span
from tests.conftest import streaming_network, tiny_network


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    network = tiny_network(grid="input", blend_prior=True, flow_prior="dis")
    return Upscaler(Checkpoint.of(network, "tiny"), device="cpu")


def picture(seed: int, height: int = 17, width: int = 13, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def with_value(value: float, dtype: type = np.float32) -> np.ndarray:
    """Return a picture with one value replaced."""
    frame = np.full((9, 9, 3), 0.5, dtype)
    frame[4, 4, 1] = value
    return frame


@settings(max_examples=15)
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_size_comes_out_four_times_larger(upscaler: Upscaler, height: int, width: int) -> None:
    (result,) = upscaler.between(picture(0, height, width), picture(1, height, width), [0.5])
    assert result.shape == (4 * height, 4 * width, 3)
    assert result.dtype == np.uint8


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_number_type_is_kept(upscaler: Upscaler, dtype: type, peak: int) -> None:
    frames = [picture(seed).astype(np.float64) / 255 for seed in (0, 1)]
    reference = upscaler.between(*(frame.astype(np.float32) for frame in frames), [0.25])[0]
    (result,) = upscaler.between(
        *((frame * peak).round().astype(dtype) if peak > 1 else frame.astype(dtype) for frame in frames), [0.25]
    )
    assert result.dtype == dtype
    assert np.abs(result / peak - reference).max() <= 0.51 / min(peak, 65535) + 1e-4


def test_results_are_rounded_not_truncated(upscaler: Upscaler) -> None:
    white = np.full((8, 8, 3), 254, np.uint8)
    pair = upscaler.pair(upscaler.encode(white), upscaler.encode(white))
    exact = upscaler.details(pair, 0.0).image * np.float32(255)
    assert np.array_equal(upscaler.at(pair, 0.0), np.rint(exact).astype(np.uint8))


def test_alpha_is_enlarged_and_blended(upscaler: Upscaler) -> None:
    clear, solid = picture(0, channels=4), picture(1, channels=4)
    clear[:, :, 3], solid[:, :, 3] = 0, 255
    result = upscaler.between(clear, solid, [0.0, 0.5, 1.0])
    assert [int(r[:, :, 3].mean()) for r in result] == [0, 128, 255]


def test_stream_equals_pairs_and_encodes_each_frame_once(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [picture(seed) for seed in range(4)]
    expected = [
        image for a, b in itertools.pairwise(frames) for image in upscaler.between(a, b, [0, 1 / 3, 2 / 3])
    ] + upscaler.between(frames[2], frames[3], [1.0])
    encoded, joined, synthesised = [], [], []
    engine = upscaler.engine
    encode, join, synthesize = engine.encode_frame, engine.encode_pair, engine.synthesize
    monkeypatch.setattr(upscaler.engine, "encode_frame", lambda frame: encoded.append(1) or encode(frame))
    monkeypatch.setattr(upscaler.engine, "encode_pair", lambda *all: joined.append(1) or join(*all))
    monkeypatch.setattr(upscaler.engine, "synthesize", lambda *all: synthesised.append(1) or synthesize(*all))
    result = list(upscaler.stream(iter(frames), rate=3))
    assert (len(encoded), len(joined)) == (4, 3)
    assert len(synthesised) == len(result) == 10
    assert all(np.array_equal(a, b) for a, b in zip(result, expected, strict=True))


def test_streams_are_processed_in_windows_at_any_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safa.upscaler.upscaler.WINDOW", Span(2, 1))
    looking = Upscaler(Checkpoint.of(streaming_network(), "tiny"), device="cpu")
    frames = [picture(seed) for seed in range(5)]
    windows = {0: range(4), 1: range(1, 5), 2: range(3, 5)}
    expected = []
    for pair in range(4):
        window = looking.window([looking.encode(frames[k]) for k in windows[pair // 2]])
        times = [0.0, 0.5] if pair < 3 else [0.0, 0.5, 1.0]
        expected += looking.at_times(window, times, pair=pair - windows[pair // 2][0])
    asked = []
    encode_window = looking.engine.encode_window
    monkeypatch.setattr(looking.engine, "encode_window", lambda *all: asked.append(len(all[0])) or encode_window(*all))
    result = list(looking.stream(iter(frames), rate=2))
    assert asked == [4, 4]
    assert len(result) == len(expected) == 9
    assert all(np.array_equal(a, b) for a, b in zip(result, expected, strict=True))
    assert not np.array_equal(result[2], looking.between(frames[1], frames[2], [0.0])[0])


@pytest.mark.parametrize("make", [tiny_network, streaming_network])
def test_frames_can_be_given_to_two_upscalers(make: Callable[..., Safa]) -> None:
    """Each upscaler computes its own states."""
    one, other = (Upscaler(Checkpoint.of(make(channels=channels), "tiny"), device="cpu") for channels in (8, 16))
    pair = one.pair(one.encode(picture(0)), one.encode(picture(1)))
    first, second = one.at(pair, 0.5), other.at(pair, 0.5)
    assert np.array_equal(second, other.between(picture(0), picture(1), [0.5])[0])
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("propagation", [0, 1])
def test_states_are_freed_with_their_frames(propagation: int) -> None:
    network = streaming_network(propagation=propagation)
    upscaler = Upscaler(Checkpoint.of(network, "tiny"), device="cpu")
    frames = [upscaler.encode(picture(seed)) for seed in (0, 1, 2)]
    for pair in itertools.pairwise(frames):
        upscaler.at(upscaler.pair(*pair), 0.5)
    cache = upscaler._cache
    assert (len(cache._windows), len(cache._frames), len(cache._flows)) == (0, 0 if propagation else 3, 2)
    del frames[:2], pair
    assert (len(cache._frames), len(cache._flows)) == (0 if propagation else 1, 0)


def test_stream_is_lazy(upscaler: Upscaler) -> None:
    taken = []
    endless = (taken.append(k) or picture(k) for k in itertools.count())
    list(itertools.islice(upscaler.stream(endless, rate=2), 3))
    assert len(taken) == 3


def test_an_array_may_be_used_again_for_the_next_frame(upscaler: Upscaler) -> None:
    frames = [picture(k) for k in range(4)]

    def in_one_array() -> Iterator[np.ndarray]:
        array = np.empty_like(frames[0])
        for frame in frames:
            array[:] = frame
            yield array

    made, expected = upscaler.stream(in_one_array()), upscaler.stream(frames)
    assert all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True))


def test_numbers_of_any_type_are_accepted(upscaler: Upscaler) -> None:
    frames = [picture(k).astype(np.uint16) << 8 for k in range(2)]
    (expected,) = upscaler.between(*frames, [0.5], scale=2.5)
    (made,) = upscaler.between(*(frame.astype(">u2") for frame in frames), np.array([0.5]), scale=np.float32(2.5))
    assert np.array_equal(made, expected)
    assert made.dtype == np.uint16
    assert len(list(upscaler.stream(frames, rate=np.int64(3)))) == 4


def test_stream_of_one_frame_gives_one(upscaler: Upscaler) -> None:
    assert [r.shape for r in upscaler.stream([picture(0, 1, 1)])] == [(4, 4, 3)]


def test_padding_is_the_edge_repeated(upscaler: Upscaler) -> None:
    # A picture whose sides fit needs no padding; with its own edge repeated it is what the smaller one is padded to.
    whole = picture(0, 32, 32)
    whole[24:] = whole[23]
    whole[:, 24:] = whole[:, 23:24]
    small, large = (upscaler.between(p, p, [0.0])[0] for p in (whole[:25, :25], whole))
    assert np.array_equal(small, large[:100, :100])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u: u.between(picture(0), picture(1, 9, 9), [0.5]), "one size"),
        (lambda u: u.between(picture(0), picture(1), [1.5]), "outside"),
        (lambda u: u.between(picture(0), picture(1, channels=4), [0.5]), "RGB uint8 and 13x17 RGBA"),
        (lambda u: u.between(picture(0).tolist(), picture(1), [0.5]), "is a list"),
        (lambda u: u.encode(255 * np.ones((4, 4, 3), np.float32)), "up to 255"),
        (lambda u: u.encode(with_value(np.nan)), "infinite or NaN"),
        (lambda u: u.encode(with_value(np.inf)), "infinite or NaN"),
        (lambda u: u.encode(with_value(-np.inf)), "infinite or NaN"),
        (lambda u: u.between(with_value(0.5, np.float16), with_value(np.nan, np.float16), [0.5]), "NaN"),
        (
            lambda u: u.between(np.zeros((2, 32767, 3), np.uint8), np.zeros((2, 32767, 3), np.uint8), [0]),
            "at most 32766",
        ),
        (lambda u: u.tiles(60000, 2), "2x60000; this network takes at most 32766 pixels a side"),
        (lambda u: u.window([]), "no frames"),
        (lambda u: u.window([u.encode(picture(0)), u.encode(picture(1))], [Fraction(1), Fraction(1)]), "must rise"),
        (lambda u: u.window([u.encode(picture(0)), u.encode(picture(1))], [Fraction(1)]), "one for each"),
        (lambda u: u.at(u.pair(u.encode(picture(0)), u.encode(picture(1))), 1.5), "outside"),
        (lambda u: u.at(u.pair(u.encode(picture(0)), u.encode(picture(1))), float("nan")), "outside"),
        (lambda u: u.at(u.pair(u.encode(picture(0)), u.encode(picture(1))), 0.5, pair=2), "no pair 2"),
        (lambda u: u.details(u.pair(u.encode(picture(0)), u.encode(picture(1))), 0.5, pair=-1), "no pair -1"),
        (lambda u: list(u.stream([picture(0), "no picture"])), "is a str"),
        (lambda u: u.encode(np.zeros((4, 4), np.uint8)), "height,width,3"),
        (lambda u: u.encode(np.zeros((4, 4, 3), np.int64)), "uint8, uint16"),
        (lambda u: list(u.stream([picture(0)], rate=0)), "at least 1"),
        (lambda u: Upscaler(u.checkpoint, device="cuda:99"), "not available"),
        (lambda u: Upscaler(u.checkpoint, device="cpu", precision="int3"), "no precision"),
    ],
)
def test_bad_input_is_one_clear_sentence(upscaler: Upscaler, call: object, message: str) -> None:
    with pytest.raises(SafaError, match=message):
        call(upscaler)  # type: ignore[operator]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("engine", ["native", "torch"])
def test_works_in_a_forked_child(upscaler: Upscaler, engine: str) -> None:
    upscaler = Upscaler(upscaler.checkpoint, "cpu", engine=engine, threads=1 if engine == "native" else None)
    frames = picture(0), picture(1)
    (expected,) = upscaler.between(*frames, [0.5])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(120)  # a child that hangs is killed
            code = 0 if np.array_equal(upscaler.between(*frames, [0.5])[0], expected) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(upscaler.between(*frames, [0.5])[0], expected)


def test_bfloat16_stays_near_float32(upscaler: Upscaler) -> None:
    frames = picture(0, 24, 24), picture(1, 24, 24)
    for engine in ("torch", "auto"):
        exact, coarse = (
            Upscaler(upscaler.checkpoint, "cpu", precision, engine).between(*frames, [0.5])[0].astype(float)
            for precision in ("float32", "bfloat16")
        )
        assert 0 < np.abs(exact - coarse).mean() < 3


def test_engines_agree(upscaler: Upscaler) -> None:
    frames = picture(0, 24, 24), picture(1, 24, 24)
    results = [
        Upscaler(upscaler.checkpoint, "cpu", "float32", name).between(*frames, [0.3])[0].astype(int)
        for name in ("torch", "auto")
    ]
    assert np.abs(results[0] - results[1]).max() <= 1


def test_motion_that_only_seems_uneven_because_frames_are_missing_is_even() -> None:
    """A longer distance in a longer time at constant speed is not an acceleration."""
    upscaler = Upscaler(Checkpoint.of(streaming_network(), "tiny"), device="cpu")
    whole = cv2.resize(np.random.default_rng(0).random((12, 30, 3), np.float32), None, fx=8, fy=8)
    places = [0, 1, 4, 10]
    frames = [upscaler.encode((255 * whole[:, 2 * place : 2 * place + 160]).astype(np.uint8)) for place in places]

    def found(times: list[int] | None) -> float:
        window = upscaler.window(frames, None if times is None else [Fraction(time, 7) for time in times])
        return float(np.median(upscaler._cache.motion(window, 1)[2][20:-20, 40:-40, 0]))

    assert abs(found(places)) < 0.1
    assert found([0, 1, 2, 3]) == found(None) < -3


def test_acceleration_follows_from_neighbouring_frames() -> None:
    upscaler = Upscaler(Checkpoint.of(streaming_network(), "tiny"), device="cpu")
    whole = cv2.resize(np.random.default_rng(1).random((12, 30, 3), np.float32), None, fx=8, fy=8)
    seen = [upscaler.encode((255 * whole[:, place : place + 160]).astype(np.uint8)) for place in (0, 2, 6, 12)]
    window = upscaler.window(seen)
    motion = upscaler._cache.motion(window, 1)
    assert upscaler._cache.motion(window, 1) is motion
    assert motion[2].any()
    assert not upscaler._cache.motion(upscaler.window(seen[:2]), 0)[2].any()
    assert not upscaler._cache.motion(upscaler.window(seen[:1]), 0)[2].any()
