"""The engine on ONNX Runtime, by its provider for processors, beside the native engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import safa
from safa.checkpoint import load_checkpoint, shipped_names
from safa.cli import app
from safa.engine import onnx
from safa.engine.onnx import OnnxEngine
from safa.errors import SafaError
from safa.export.graphs import graphs_of
from safa.network.config import SafaConfig
from tests.conftest import tiny_network
from tests.media import write_video


def clip(count: int, height: int, width: int, white: int = 255) -> list[NDArray[Any]]:
    """Return frames of a soft texture that moves."""
    generator = np.random.default_rng(0)
    texture = cv2.GaussianBlur(generator.random((height + 16, width + 32, 3), dtype=np.float32), (0, 0), 1.5)
    texture = (texture - texture.min()) / np.ptp(texture)
    kind = {255: np.uint8, 65535: np.uint16, 1: np.float32}[white]
    moved = [texture[k : k + height, 2 * k : 2 * k + width] * white for k in range(count)]
    return [np.ascontiguousarray(np.rint(frame) if white > 1 else frame).astype(kind) for frame in moved]


def both(weights: str, frames: Sequence[NDArray[Any]], **options: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the pictures that the native engine and this one make of a stream, twice as many."""
    native = safa.load(weights, engine="native", precision="float32").stream(frames, 2)
    own = safa.load(weights, engine="onnx", **options).stream(frames, 2)
    return tuple(np.stack(list(pictures)).astype(np.float64) for pictures in (native, own))  # type: ignore[return-value]


@pytest.mark.parametrize("weights", ["fast", "real@0.5", "vivid", "best"])
def test_pictures_are_those_of_the_native_engine(weights: str) -> None:
    native, own = both(weights, clip(3, 24, 32))
    difference = np.abs(native - own)
    assert difference.max() <= 3
    assert (difference <= 1).mean() >= 0.999


@pytest.mark.parametrize(("white", "limit"), [(65535, 32), (1, 5e-4)], ids=["16 bits", "float"])
def test_frames_of_other_types_and_odd_sizes(white: int, limit: float) -> None:
    native, own = both("fast", clip(2, 21, 29, white))
    assert native.shape == own.shape == (3, 84, 116, 3)
    assert np.abs(native - own).max() <= limit


def test_details_and_forced_scales() -> None:
    frames = clip(2, 24, 32)
    for scale in (0, (2, None, 1)):
        results = []
        for engine in ("native", "onnx"):
            upscaler = safa.load("fast", engine=engine, precision="float32")
            results.append(upscaler.details(upscaler.pair(*map(upscaler.encode, frames)), 0.25, scale))
        native, own = results
        assert own.choice.scales == native.choice.scales
        assert [len(logits) for logits in own.choice.logits] == [len(logits) for logits in native.choice.logits]
        np.testing.assert_allclose(own.choice.logits[1], native.choice.logits[1], atol=1e-3)
        np.testing.assert_allclose(own.flow, native.flow, atol=2e-3)
        np.testing.assert_allclose(own.mask, native.mask, atol=2e-3)
        np.testing.assert_allclose(own.image, native.image, atol=2e-3)


def test_little_is_copied_to_and_from_the_device() -> None:
    upscaler = safa.load("fast", engine="onnx")
    engine = upscaler.engine
    assert isinstance(engine, OnnxEngine)
    frames = clip(2, 24, 32)
    pictures = list(upscaler.stream(frames, 2))
    pixels = 24 * 32
    frames_up, flow_up = 2 * 4 * pixels, (2 + 3) * 2 * 4 * pixels  # both ways, and motion of three fields
    assert frames_up + flow_up <= engine.bytes_up <= frames_up + flow_up + 1000
    pictures_down = sum(picture.nbytes for picture in pictures)
    assert pictures_down <= engine.bytes_down <= pictures_down + 100  # and the selector's logits


def test_a_job_runs_and_names_the_engine(tmp_path: Path) -> None:
    source, output = write_video(tmp_path / "in.mp4", clip(3, 48, 64)), tmp_path / "out.mkv"
    arguments = ["upscale", str(source), "-o", str(output), "--engine", "onnx", "--weights", "fast", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert output.is_file()


def test_what_cannot_be_run_is_one_sentence() -> None:
    fast = load_checkpoint("fast")
    with pytest.raises(SafaError, match="cannot use the device 'dml'"):
        OnnxEngine(fast.config, fast.tensors, "dml")
    with pytest.raises(SafaError, match="shipped networks' layouts only"):
        OnnxEngine(tiny_network().config, {})
    with pytest.raises(SafaError, match="computes in float32"):
        safa.load("fast", engine="onnx", precision="float16")


@pytest.mark.parametrize("name", sorted(path.parent.name for path in onnx.GRAPHS.glob("*/layout.json")))
def test_graphs_are_in_step_with_the_network(name: str) -> None:
    """Compare two of them, exported anew; the others, which take long, are compared by the pictures that they make."""
    folder = onnx.GRAPHS / name
    layout = json.loads((folder / "layout.json").read_text())
    config = SafaConfig.from_dict(layout["config"])
    graphs = dict(graphs_of(config, ("pair", "finish")))
    for part, graph in graphs.items():
        assert (folder / f"{part}.onnx").read_bytes() == graph.model.SerializeToString(deterministic=True), part
        assert layout["tensors"][part] == {key: list(value) for key, value in graph.tensors.items()}, part


def test_every_shipped_network_has_graphs() -> None:
    assert all(onnx.find_layout(load_checkpoint(name).config).is_dir() for name in shipped_names())


@pytest.mark.parametrize(("fault", "works"), [(0.0, True), (0.1, False)])
def test_a_device_that_computes_wrongly_is_not_used(monkeypatch: pytest.MonkeyPatch, fault: float, works: bool) -> None:
    class Device(OnnxEngine):
        """The processor under another name, with a fault."""

        def __init__(self, config: SafaConfig, tensors: Any, device: str, threads: int | None) -> None:
            super().__init__(config, tensors, "cpu", threads)
            self.device = device

        def array(self, image: Any) -> NDArray[np.float32]:
            return super().array(image) + np.float32(fault)

    monkeypatch.setattr("safa.engine.select.OnnxEngine", Device)
    if works:
        assert safa.load("fast", device="webgpu").engine.name == "onnx"
    else:
        with pytest.raises(SafaError, match="computes wrongly"):
            safa.load("fast", device="webgpu")


def test_pictures_by_webgpu() -> None:
    if not onnx.plugin_devices("webgpu"):
        pytest.skip("there is no GPU that onnxruntime-ep-webgpu can use")
    native, own = both("fast", clip(3, 24, 24), device="webgpu")
    assert np.abs(native - own).max() <= 3
