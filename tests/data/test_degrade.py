"""Degraded inputs: deterministic, consistent over time, and damaged by real codecs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.data_fixtures import texture

from safa.data.codec import encode_packets, pass_codec
from safa.data.degrade import Degradation, blur_kernel, degrade, sharpen
from safa.data.scene import reduce_quarter
from safa.errors import SafaError

CLEAN = Degradation(blur=0, resize=0, noise=0, jpeg=0, codec=0)
PICTURE = texture(1, 256, 128)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(int) - b).mean())


def test_the_generator_decides_everything() -> None:
    frames = [PICTURE[:, k : k + 128] for k in (0, 4)]
    first, again, other = (degrade(frames, Degradation(), np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert {frame.shape for frame in first} == {(32, 32, 3)}


@pytest.mark.parametrize("part", ["blur", "resize", "noise", "jpeg", "codec"])
def test_every_part_does_its_damage(part: str) -> None:
    frames = [PICTURE[:, :128]] * 2
    clean, damaged = (
        degrade(frames, settings, np.random.default_rng(4))[1]
        for settings in (CLEAN, dataclasses.replace(CLEAN, **{part: 1.0}))
    )
    assert distance(clean, damaged) > 0.3


def test_only_noise_differs_between_equal_frames() -> None:
    frames = [PICTURE[:, :128]] * 2
    for seed in range(5):
        steady = degrade(frames, Degradation(noise=0, codec=0), np.random.default_rng(seed))
        assert np.array_equal(*steady)
        noisy = degrade(frames, dataclasses.replace(CLEAN, noise=1.0), np.random.default_rng(seed))
        assert not np.array_equal(*noisy)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2", "vp9"])
def test_codecs_damage_more_at_lower_quality(codec: str) -> None:
    frames = [PICTURE[:64, 2 * k : 2 * k + 65] for k in range(3)]  # an odd width, too
    worse, better = (pass_codec(frames, codec, quality) for quality in (0.0, 1.0))  # type: ignore[arg-type]
    assert [frame.shape for frame in worse] == [(64, 65, 3)] * 3
    assert 0 < distance(better[2], frames[2]) < distance(worse[2], frames[2]) < 40


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2", "vp9"])
def test_encoders_do_the_same_each_time(codec: str) -> None:
    """Whatever was in memory before: training samples are made again after a restart."""
    rng = np.random.default_rng(0)
    noise = rng.normal(scale=12, size=(6, 64, 64, 3))
    frames = [(PICTURE[:64, 3 * k : 3 * k + 64] + noise[k]).clip(0, 255).astype(np.uint8) for k in range(6)]
    options = {
        "h264": {"crf": "19", "preset": "medium", "refs": "1", "bf": "3", "g": "12"},
        "hevc": {"x265-params": "log-level=none:pools=none:frame-threads=1:sao=0"},
    }.get(codec, {})
    made, dirt = set(), []
    for _ in range({"h264": 60, "hevc": 30}.get(codec, 10)):
        dirt = [*dirt[-20:], rng.integers(0, 256, rng.integers(1000, 300_000), dtype=np.uint8)]
        made.add(b"".join(encode_packets(frames, codec, options, "420")))  # type: ignore[arg-type]
    assert len(made) == 1


def test_codec_artefacts_depend_on_the_frame_before() -> None:
    last = PICTURE[:64, :64]
    after = [pass_codec([first, last], "h264", 0.2)[1] for first in (PICTURE[:64, 2:66], PICTURE[64:, 100:164])]
    assert not np.array_equal(*after)


def test_kernels_neither_darken_nor_shift() -> None:
    for seed in range(30):
        kernel = blur_kernel(np.random.default_rng(seed), 0.4, 2.0)
        axis = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        assert abs((kernel * axis).sum()) < 0.02
        assert abs((kernel * axis[:, None]).sum()) < 0.02


def test_sharpening_raises_contrast_and_leaves_flat_places() -> None:
    step = np.full((64, 64, 3), 80, np.uint8)
    step[:, 32:] = 160
    sharper = sharpen(step, 0.5)
    assert sharper[32, 33, 0] > 160
    assert sharper[32, 30, 0] < 80
    assert np.array_equal(sharpen(np.full((64, 64, 3), 90, np.uint8), 0.5), np.full((64, 64, 3), 90, np.uint8))


@pytest.mark.parametrize(("values", "message"), [({"blur": 2}, "probability"), ({"codecs": ["av2"]}, "h264, hevc")])
def test_wrong_settings_are_one_sentence(values: dict[str, object], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        Degradation.from_dict(values)


def test_clean_scenes_are_only_reduced() -> None:
    frames = [PICTURE[:64, k : k + 64] for k in range(0, 12, 2)]
    settings = Degradation(clean=1.0)
    expected = [reduce_quarter(frame) for frame in frames]
    for made, wanted in zip(degrade(frames, settings, np.random.default_rng(1)), expected, strict=True):
        assert np.array_equal(made, wanted)


def test_windows_go_through_codecs_in_many_ways() -> None:
    frames = [np.ascontiguousarray(PICTURE[:64, k : k + 64]) for k in range(0, 14, 2)]
    settings = Degradation(
        rounds=1, blur=0, resize=0, noise=0, jpeg=0, codec=1, codecs=("h264",), again=0.5, unsharp=0.5
    )
    made = [degrade(frames, settings, np.random.default_rng(seed)) for seed in range(6)]
    assert all(len(one) == len(frames) and one[0].shape == (16, 16, 3) for one in made)
    again = degrade(frames, settings, np.random.default_rng(3))
    assert all(np.array_equal(a, b) for a, b in zip(again, made[3], strict=True))
    assert len({one[0].tobytes() for one in made}) == 6
    for level in (0.0, 1.0):
        ways = {pass_codec(frames, "h264", level, np.random.default_rng(seed))[3].tobytes() for seed in range(8)}
        assert len(ways) > 2


def test_rounds_are_one_or_two() -> None:
    with pytest.raises(SafaError, match="must be 1 or 2"):
        Degradation(rounds=3)


def chroma_shift(frame: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """How far colours of ``frame`` lie right of and below those of ``truth``, in pixels, by their first derivatives."""
    blue, wanted = (picture[8:-8, 8:-8].astype(float) @ np.array([-0.169, -0.331, 0.5]) for picture in (frame, truth))
    gradients = np.stack([np.gradient(wanted, axis=axis).ravel() for axis in (1, 0)], axis=1)
    shift = np.linalg.lstsq(gradients, (wanted - blue).ravel(), rcond=None)[0]
    return float(shift[0]), float(shift[1])


def test_a_shift_of_colours_is_measured_in_pixels() -> None:
    wide = texture(3, 160, 160)
    assert chroma_shift(wide[:128, 1:129], wide[:128, :128]) == pytest.approx((-1, 0), abs=0.15)
    assert chroma_shift(wide[1:129, :128], wide[:128, :128]) == pytest.approx((0, -1), abs=0.15)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2", "vp9"])
def test_codecs_leave_colours_where_they_are(codec: str) -> None:
    frame = texture(3, 128, 128)
    (coded,) = pass_codec([frame], codec, 1.0)  # type: ignore[arg-type]
    assert chroma_shift(coded, frame) == pytest.approx((0, 0), abs=0.05)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2", "vp9"])
def test_codecs_leave_brightness_as_it_is(codec: str) -> None:
    frame = np.full((64, 64, 3), (200, 90, 40), np.uint8)
    (coded,) = pass_codec([frame], codec, 1.0)  # type: ignore[arg-type]
    assert np.abs(coded.reshape(-1, 3).mean(axis=0) - (200, 90, 40)).max() < 3
