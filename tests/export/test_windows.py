"""Exported networks that look along a window of frames, run by the file that lies beside their graphs."""

from __future__ import annotations

import logging
import runpy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import safa
from safa.checkpoint import save_checkpoint
from safa.export import export_model
from safa.export.standalone_runtime import Archives, Steps
from safa.export.subgraphs import parts_of
from tests.conftest import small_stream
from tests.export.test_export import documented
from tests.test_examples import picture

ASKS = ((0, 0.0), (2, 0.0), (1, 1.0), (1, 0.3), (0, 0.7))


@pytest.fixture(scope="module")
def stream_archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder "stream" with the archives of "stream.safetensors" beside it."""
    home = tmp_path_factory.mktemp("archives")
    save_checkpoint(small_stream(), home / "stream.safetensors")
    return export_model(home / "stream.safetensors", home / "stream", "torch").folder


def network_in(folder: Path) -> Any:
    """What a user has who has the folder alone."""
    return runpy.run_path(str(folder / "run.py"))["Network"]()


@pytest.mark.parametrize("kind", ["exported_stream", "stream_archives", "exported_onnx"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_window_gives_the_pictures_of_safa(kind: str, dtype: type, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    frames = [picture(k) if dtype == np.uint8 else (picture(k) / 255).astype(dtype) for k in range(3)]
    upscaler = safa.load(folder.with_suffix(".safetensors"), "cpu", engine="torch")
    theirs = upscaler.window([upscaler.encode(frame) for frame in frames])
    ours = network_in(folder).window(frames)
    for place, t in ASKS:
        expected, made = upscaler.at(theirs, t, pair=place), ours.at(place, t)
        assert (made.shape, made.dtype) == (expected.shape, expected.dtype)
        assert np.abs(made.astype(float) - expected).max() <= (1 if dtype == np.uint8 else 1e-4)


def test_two_frames_are_a_window_of_two(exported_stream: Path) -> None:
    network, frames = network_in(exported_stream), [picture(k) for k in range(3)]
    alone, among = network.window(frames[:2]).at(0, 0.5), network.window(frames).at(0, 0.5)
    (between,) = network.between(*frames[:2], [0.5])
    assert np.array_equal(between, alone)
    assert not np.array_equal(between, among)
    assert network.window(frames[:1]).at(0).shape == between.shape


def test_archives_of_a_window_move_to_a_device_whole(stream_archives: Path) -> None:
    # "meta" stands for the GPU that is not here: nothing may be left behind on the CPU.
    frame, flow = torch.rand(1, 3, 16, 8, device="meta"), torch.rand(1, 2, 16, 8, device="meta")
    config = small_stream().config.to_dict()
    steps = Steps(
        Archives(stream_archives, "meta"), config, [frame] * 3, lambda place: (flow, flow), lambda place: (flow,) * 3
    )
    image, _ = steps.between(1, torch.tensor([0.5], device="meta"), scales=[0])
    assert (image.shape, image.device.type) == ((1, 3, 64, 32), "meta")


def test_the_documented_way_through_a_stream(
    exported_stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(exported_stream, tmp_path / "fast-onnx")
    monkeypatch.chdir(tmp_path)
    frames = [picture(k, 8, 16) for k in range(20)]
    names: dict[str, Any] = {"frames": frames}
    exec(documented("def pictures"), names)
    upscaler = safa.load(exported_stream.with_suffix(".safetensors"), "cpu", engine="torch")
    expected, made = list(upscaler.stream(frames, rate=2)), list(names["pictures"](frames, 2))
    assert len(made) == len(expected) == 39
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(made, expected, strict=True)) <= 1


def test_what_a_window_cannot_be_made_of_is_told(exported_stream: Path) -> None:
    network = network_in(exported_stream)
    for frames, message in (
        ([], "at least one"),
        ([np.zeros((4, 4))], "height,width,3"),
        ([np.zeros((4, 4, 3), np.int32)], "height,width,3"),
        ([picture(0), picture(0, 8, 8)], "one size and type"),
        ([np.full((8, 8, 3), np.nan, np.float32)], "infinite or no numbers"),
        ([np.zeros((2, 32767, 3), np.uint8)], "at most 32766 pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            network.window(frames)
    for place, t in ((1, 0), (0, 1.5)):
        with pytest.raises(ValueError, match="not in a window of 1 frames"):
            network.window([picture(0)]).at(place, t)


def test_the_exporter_is_quiet_about_a_fixed_scale(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    onnx = pytest.importorskip("safa.export.export", reason="the export extra is not installed")
    network = small_stream()
    (selector,) = (part for part in parts_of(network) if part.name == "selector")
    with caplog.at_level(logging.WARNING):
        onnx.OnnxWriter().write(selector, network.config, tmp_path / "selector.onnx", {"safa": "0"})
    assert not caplog.records
