"""The native engine against PyTorch, as a whole."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from safa.engine.torch import TorchEngine
from safa.errors import SafaError
from safa.network.released import import_released
from safa.network.safa import Safa
from tests.engine.nets import builds, compare, lively_network, native_engine, psnr, random_pair

FIXTURE = Path(__file__).parents[1] / "fixtures" / "released_layout_c16_b3.safetensors"
INPUT = {"grid": "input", "blend_prior": True, "flow_prior": "dis"}
JOINED = {**INPUT, "propagation": 1, "joined_passes": True, "enlarger_channels": 12}
GRIDS = {"paper": {"grid": "paper"}, "input": INPUT, "window": {**INPUT, "propagation": 1}, "joined": JOINED}

pytestmark = pytest.mark.skipif(not builds(), reason="the native engine was not built here")


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("build", builds())
def test_every_build_equals_torch(build: str, grid: str) -> None:
    compare(lively_network(**GRIDS[grid]), 24, 40, build)


@pytest.mark.parametrize(
    "layout",
    [
        {"extractor": "stem"},
        {"extractor": "stage1", "fusion": "image"},
        {"extractor": "stage3", "grid": "input", "channels": 18, "stem_channels": 6},
        {"extractor": "bottleneck", "stem_channels": 8},
        {"fusion": "feature", "decoder_blocks": 0, "blocks": 1},
        {"scales": (1.0, 0.5, 0.25, 0.125), "shared_branches": False},
        {"scales": (0.5,)},
        {"scales": (1.0, 0.25), "fixed_scale": 1, "grid": "input"},
        {"flow_prior": "dis", "blend_prior": True},
        {**INPUT, "propagation": 2, "channels": 18, "decoder_blocks": 0},
        {**INPUT, "propagation": 2, "channels": 18, "joined_passes": True, "enlarger_channels": 6},
        {**INPUT, "propagation": 1, "scales": (0.5, 0.25), "fixed_scale": 1, "extractor": "stem"},
    ],
    ids=str,
)
def test_every_setting_equals_torch(layout: dict[str, object]) -> None:
    compare(lively_network(**layout), 16, 24, times=(0.4,))


def test_released_layout_equals_torch(tmp_path: Path) -> None:
    tensors = {k.replace("weights.", "module."): v for k, v in load_file(FIXTURE).items() if k.startswith("weights.")}
    torch.save(tensors, tmp_path / "flownet.pkl")
    compare(import_released(tmp_path / "flownet.pkl"), 24, 32)


@pytest.mark.parametrize("grid", GRIDS)
def test_flow_far_out_of_the_picture(grid: str) -> None:
    compare(lively_network(**{**GRIDS[grid], "flow_prior": "dis", "blend_prior": True}), 16, 32, reach=50.0)


@settings(max_examples=8)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(4, 48).map(lambda half: 2 * half),
    st.integers(1, 12).map(lambda half: 2 * half),
    st.sampled_from(sorted(GRIDS)),
    st.integers(1, 3),
)
def test_any_size_and_width(rows: int, columns: int, channels: int, stem: int, grid: str, threads: int) -> None:
    network = lively_network(channels=channels, stem_channels=stem, blocks=1, extractor="stage1", **GRIDS[grid])
    compare(network, 8 * rows, 8 * columns, threads=threads, seed=rows, times=(0.5,))


def test_edges_of_the_smallest_frame_without_a_flow_prior() -> None:
    compare(lively_network(grid="input", scales=(1.0, 0.125), blend_prior=True), 8, 8)


def test_result_depends_neither_on_threads_nor_on_what_ran_before() -> None:
    network = lively_network()
    single, several = native_engine(network, 1), native_engine(network, 3)
    images = []
    for engine in (single, several, single):
        for size in (40, 16, 48):  # the workspace grows and is used for smaller frames too
            frame0, frame1, _ = random_pair(size, 32)
            pair = engine.encode_pair(engine.encode_frame(frame0), engine.encode_frame(frame1))
            images.append(engine.synthesize(pair, 0.5).image)
    for first, second, third in zip(images[:3], images[3:6], images[6:], strict=True):
        assert np.array_equal(first, second)
        assert np.array_equal(first, third)


@pytest.mark.parametrize("build", builds())
def test_window_depends_neither_on_threads_nor_on_what_ran_before(build: str) -> None:
    network = lively_network(**GRIDS["window"])
    single, several = native_engine(network, 1, build), native_engine(network, 3, build)
    frame0, frame1, prior = random_pair(40, 24)
    results = []
    for engine in (single, several, single):
        window = engine.encode_window([frame0, frame1, frame1], [prior, prior])
        first, second, _ = (engine.finish_frame(frame) for frame in window)
        pair = engine.encode_pair(first, second, prior)
        results.append((first.picture, *(engine.synthesize(pair, t).image for t in (0.25, 1 / 3, 0.5))))
    for others in results[1:]:
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(results[0], others, strict=True))


def test_window_of_one_frame() -> None:
    network = lively_network(**GRIDS["window"])
    frame = random_pair(16, 24)[0]
    pictures = []
    for engine in (native_engine(network, 2), TorchEngine(network)):
        (state,) = engine.encode_window([frame], [])  # type: ignore[attr-defined]
        pictures.append(engine.array(engine.picture(engine.finish_frame(state))))  # type: ignore[attr-defined]
    np.testing.assert_allclose(*pictures, atol=1e-4, rtol=0)
    assert pictures[0].min() >= 0
    assert pictures[0].max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_pictures_are_stored_as_pytorch_stores_them(dtype: type, channels: int) -> None:
    image = np.random.default_rng(0).random((40, 56, 3), np.float32)
    image[0, :4, 0] = np.array([0.5, 1.5, 2.5, 254.5]) / 255  # halves go to the even number
    ours, theirs = (np.zeros((30, 50, channels), dtype) for _ in range(2))
    kept = slice(3, 33), slice(2, 48)
    native_engine(lively_network(), 2).store(image, kept, ours[:, 4:, :3])
    TorchEngine(lively_network()).store(torch.from_numpy(image).permute(2, 0, 1)[None], kept, theirs[:, 4:, :3])
    assert np.array_equal(ours, theirs)
    assert not ours[:, :4].any()


def test_workspace_settles_and_can_be_released() -> None:
    engine = native_engine(lively_network(), 2)
    frame0, frame1, _ = random_pair(16, 16)
    sizes = []
    for _ in range(2):
        pair = engine.encode_pair(engine.encode_frame(frame0), engine.encode_frame(frame1))
        engine.synthesize(pair, 0.5)
        sizes.append(engine.workspace_bytes)
    assert sizes[0] == sizes[1] > 0
    engine.release()
    assert engine.workspace_bytes == 0
    engine.synthesize(pair, 0.5)


def test_frame_in_any_memory_layout() -> None:
    engine = native_engine(lively_network(), 1)
    frame = random_pair(16, 24)[0]
    plain = engine.encode_frame(frame)
    for other in (np.asfortranarray(frame), np.ascontiguousarray(frame.transpose(2, 0, 1)).transpose(1, 2, 0)):
        assert np.array_equal(plain.features, engine.encode_frame(other).features)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_works_in_a_forked_child() -> None:
    engine = native_engine(lively_network(), 3)
    frame = random_pair(16, 16)[0]
    expected = engine.encode_frame(frame).features
    for threads in (None, 3, 2, None, None):  # by the last child the parent's threads are asleep for certain
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(30)  # a child that hangs is killed
                if threads is not None:
                    engine.set_threads(threads)
                code = 0 if np.array_equal(engine.encode_frame(frame).features, expected) else 2
                engine._close()  # as its end would
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    assert np.array_equal(engine.encode_frame(frame).features, expected)


def test_says_what_it_cannot_take() -> None:
    engine = native_engine(lively_network(flow_prior="dis"), 1)
    frame, larger = random_pair(16, 16)[0], random_pair(16, 24)[0]
    with pytest.raises(SafaError, match="multiples of 8"):
        engine.encode_frame(random_pair(12, 16)[0])
    with pytest.raises(SafaError, match="height,width,3"):
        engine.encode_frame(np.zeros((16, 16, 4), np.float32))
    with pytest.raises(SafaError, match="differ in size"):
        engine.encode_pair(engine.encode_frame(frame), engine.encode_frame(larger))
    with pytest.raises(SafaError, match="classical flow"):
        engine.encode_pair(engine.encode_frame(frame), engine.encode_frame(frame))
    prior = (np.zeros((16, 16, 2), np.float32),) * 2
    pair = engine.encode_pair(engine.encode_frame(frame), engine.encode_frame(frame), prior)
    with pytest.raises(SafaError, match="index into"):
        engine.synthesize(pair, 0.5, 3)
    with pytest.raises(SafaError, match="two frames only"):
        engine.encode_window([frame, frame], [prior])


def test_network_of_another_shape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively_network()
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("flow_head")}
    monkeypatch.setattr(Safa, "state_dict", lambda self: state)
    with pytest.raises(SafaError, match=r"no parameter flow_head\.0\.weight"):
        native_engine(network, 1)


@pytest.mark.parametrize("settings", [{}, {"propagation": 2}], ids=["two frames", "stream"])
def test_layers_run_in_bands_and_strips_give_the_same(settings: dict[str, object]) -> None:
    # So high and wide that several bands and strips are needed.
    network = lively_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, scales=(1.0,), **settings)
    frame0, frame1, prior = random_pair(64, 1600)
    made = []
    for precision in ("float32", "bfloat16"):  # the former runs a whole layer at a time
        engine = native_engine(network, 2, precision=precision)
        if network.config.propagation:
            window = engine.encode_window([frame0, frame1], [prior])
            first, second = (engine.finish_frame(frame) for frame in window)
        else:
            first, second = engine.encode_frame(frame0), engine.encode_frame(frame1)
        made.append(engine.synthesize(engine.encode_pair(first, second, prior), 0.3).image)
    exact, rounded = made
    # A line or column at the wrong time would be off by much more than rounding is.
    assert psnr(exact, rounded) > 40
    assert np.abs(exact - rounded).mean(axis=(1, 2)).max() < 0.02
    assert np.abs(exact - rounded).mean(axis=(0, 2)).max() < 0.02


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_builds_of_one_arithmetic_give_the_same(precision: str) -> None:
    network = lively_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1)
    frame0, frame1, prior = random_pair(24, 40)
    made: dict[str, np.ndarray] = {}
    for build in builds():
        engine = native_engine(network, 1, build, precision)
        pair = engine.encode_pair(engine.encode_frame(frame0), engine.encode_frame(frame1), prior)
        image = engine.synthesize(pair, 0.4).image
        assert np.array_equal(image, made.setdefault(engine.arithmetic, image))


@pytest.mark.parametrize("build", builds())
def test_bfloat16_is_near_float32(build: str) -> None:
    network = lively_network(grid="input", blend_prior=True, flow_prior="dis", blocks=1, propagation=1)
    frame0, frame1, prior = random_pair(40, 24)
    made = []
    for precision in ("float32", "bfloat16"):
        engine = native_engine(network, build=build, precision=precision)
        window = engine.encode_window([frame0, frame1, frame0], [prior, prior[::-1]])
        first, second, _ = (engine.finish_frame(frame) for frame in window)
        made.append(engine.synthesize(engine.encode_pair(first, second, prior), 0.4, 0))
    exact, rounded = made
    assert 35 < psnr(exact.image, rounded.image) < 90
    np.testing.assert_allclose(exact.flow, rounded.flow, atol=0.2)
