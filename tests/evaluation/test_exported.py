"""Exported folders as methods, and what of them cannot be measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import safa
from safa.checkpoint import load_checkpoint
from safa.errors import SafaError
from safa.evaluation.methods import exported_methods, model_method, network_method, stream_method
from tests.cli.test_cli import Shell
from tests.media import write_clip


def inputs(count: int) -> list[torch.Tensor]:
    """Smooth frames whose sides are multiples of the network's."""
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    return [torch.sin((x + 2 * y + 3 * k) / 6).mul(0.5).add(0.5).expand(1, 3, -1, -1) for k in range(count)]


def test_a_folder_is_measured_from_the_stream_and_from_two_frames(exported_stream: Path) -> None:
    along, alone = exported_methods(exported_stream)
    assert (along.name, alone.name) == ("stream", "stream, 2 frames")
    upscaler = safa.load(exported_stream.with_suffix(".safetensors"), "cpu", engine="torch")
    theirs = stream_method(upscaler, "x")
    frames, times = inputs(4), [0.0, 0.4, 1.0]
    assert along.stream is not None
    assert theirs.stream is not None
    for made, expected in zip(along.stream(frames, 1, times), theirs.stream(frames, 1, times), strict=True):
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    pairs = network_method(upscaler.checkpoint.network, "x")
    for made, expected in zip(
        alone.interpolate(*frames[:2], times), pairs.interpolate(*frames[:2], times), strict=True
    ):
        torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    assert alone.stream is None


def test_a_folder_of_a_network_of_two_frames_is_one_method(exported_onnx: Path) -> None:
    (method,) = exported_methods(exported_onnx)
    network = load_checkpoint(exported_onnx.with_suffix(".safetensors")).network
    (made,), (expected,) = (list(one.interpolate(*inputs(2), [0.4])) for one in (method, network_method(network, "x")))
    assert (method.name, method.stream) == ("tiny", None)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)


def test_evaluate_takes_an_exported_folder(
    exported_stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3, sound=False, size=(64, 64))
    code, output, error = Shell(monkeypatch, capsys)(
        "evaluate", exported_stream, "--on", clip, "--no-baselines", "--html", tmp_path / "page.html"
    )
    assert (code, error) == (0, "")
    assert "stream, 2 frames" in output
    assert "stream, 2 frames" in (tmp_path / "page.html").read_text()


def changed(folder: Path, to: Path, **values: Any) -> Path:
    """A copy of an exported folder that says something else of itself; None takes a value away."""
    shutil.copytree(folder, to)
    card = {**json.loads((to / "model.json").read_text()), **values}
    (to / "model.json").write_text(json.dumps({name: value for name, value in card.items() if value is not None}))
    return to


def test_what_cannot_be_measured_is_explained(exported_stream: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"kind": "torch"}, "holds torch.export archives"),
        ({"format": "safa-export/9"}, "has the format safa-export/9"),
        ({"format": "other"}, "was not made by 'safa export'"),
        ({"window": None}, "is damaged"),
        ({"multiple": None}, "is damaged"),
        ({"config": {"propagation": "many"}}, "propagation is 'many'"),
    ]
    for number, (values, message) in enumerate(cases):
        with pytest.raises(SafaError, match=message):
            exported_methods(changed(exported_stream, tmp_path / str(number), **values))
    folder = changed(exported_stream, tmp_path / "damaged")
    (folder / "finish.onnx").write_bytes(b"no graph")
    with pytest.raises(SafaError, match=r"finish\.onnx cannot be run here"):
        list(exported_methods(folder)[1].interpolate(*inputs(2), [0.0]))
    (folder / "finish.onnx").unlink()
    with pytest.raises(SafaError, match=r"has no finish\.onnx"):
        exported_methods(folder)


def test_what_needs_something_else_than_a_folder_or_its_parts_says_so(exported_stream: Path) -> None:
    with pytest.raises(SafaError, match="is one part of an exported network; give the folder"):
        model_method(exported_stream / "pair.onnx")
    with pytest.raises(SafaError, match=r"is an exported network.*give the weights it was made from"):
        load_checkpoint(exported_stream)
