"""Models of a user's own as two-frame methods: TorchScript for real, ONNX by a stand-in for its package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from safa.errors import SafaError
from safa.evaluation.methods import blend, model_method


class Mix(nn.Module):
    """A frame interpolator of the input's size, with one trained value that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(7))

    def forward(self, frame0: Tensor, frame1: Tensor, time: Tensor) -> Tensor:
        assert frame0.shape[-1] % 32 == 0
        return (1 - time) * frame0 + time * frame1


class LargeMix(nn.Module):
    """Space and time at once, the time a number, two outputs."""

    def forward(self, frame0: Tensor, frame1: Tensor, time: float) -> tuple[Tensor, Tensor]:
        mixed = (1 - time) * frame0 + time * frame1
        return nn.functional.interpolate(mixed, scale_factor=4.0, mode="nearest"), mixed


class Middle(nn.Module):
    """Knows the middle only."""

    def forward(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        return (frame0 + frame1) / 2


class StateOnly(nn.Module):
    """One frame in."""

    def forward(self, frame: Tensor) -> Tensor:
        return frame


def saved(model: nn.Module, path: Path) -> Path:
    torch.jit.script(model).save(str(path))
    return path


@pytest.fixture
def frames() -> tuple[Tensor, Tensor]:
    """Smooth, so that padding cannot be seen inside."""
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(28.0), indexing="ij")
    frame = ((x + y) / 50).expand(1, 3, -1, -1)
    return frame, 1 - frame


def test_an_interpolator_is_padded_enlarged_and_cropped(tmp_path: Path, frames: tuple[Tensor, Tensor]) -> None:
    method = model_method(saved(Mix(), tmp_path / "mix.pt"))
    (picture,) = method.interpolate(*frames, [0.25])
    (expected,) = blend(*frames, [0.25])
    assert (method.name, method.parameters) == ("mix", 7)
    assert torch.allclose(picture[..., 8:-8, 8:-8], expected[..., 8:-8, 8:-8], atol=1e-5)


def test_a_model_may_enlarge_and_take_the_time_as_a_number(tmp_path: Path, frames: tuple[Tensor, Tensor]) -> None:
    method = model_method(saved(LargeMix(), tmp_path / "large.ts"))
    (picture,) = method.interpolate(*frames, [0.25])
    expected = torch.lerp(*frames, 0.25).repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert torch.allclose(picture, expected, atol=1e-5)


def test_a_model_without_time_gives_the_middle_only(tmp_path: Path, frames: tuple[Tensor, Tensor]) -> None:
    interpolate = model_method(saved(Middle(), tmp_path / "middle.pt")).interpolate
    for picture, expected in zip(interpolate(*frames, [0, 0.5]), blend(*frames, [0, 0.5]), strict=True):
        assert torch.allclose(picture[..., 8:-8, 8:-8], expected[..., 8:-8, 8:-8], atol=1e-5)
    with pytest.raises(SafaError, match="time factor of 2 only"):
        list(interpolate(*frames, [0.25]))


@pytest.mark.parametrize(
    ("shape", "fed"),
    [([1], (1,)), ([], ()), ([1, 1, 1, 1], (1, 1, 1, 1)), ([1, 1, "h", "w"], (1, 1, 32, 32))],
)
def test_onnx_models_get_the_time_in_their_own_shape(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frames: tuple[Tensor, Tensor],
    shape: list[object],
    fed: tuple[int, ...],
) -> None:
    seen = {}

    class Session:
        def __init__(self, path: str, providers: list[str]) -> None:
            self.inputs = [SimpleNamespace(name=name, shape=s) for name, s in (("a", []), ("b", []), ("t", shape))]

        def get_inputs(self) -> list[SimpleNamespace]:
            return self.inputs

        def run(self, _: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            seen.update(feed)
            return [0.75 * feed["a"] + 0.25 * feed["b"]]

    stand_in = SimpleNamespace(InferenceSession=Session, __spec__=object())
    monkeypatch.setitem(sys.modules, "onnxruntime", stand_in)  # type: ignore[arg-type]
    (tmp_path / "mine.onnx").touch()
    (picture,) = model_method(tmp_path / "mine.onnx").interpolate(*frames, [0.25])
    (expected,) = blend(*frames, [0.25])
    assert torch.allclose(picture[..., 8:-8, 8:-8], expected[..., 8:-8, 8:-8], atol=1e-5)
    assert seen["t"].shape == fed
    assert seen["t"].dtype == np.float32
    assert (seen["t"] == 0.25).all()


def test_what_cannot_be_run_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SafaError, match="There is no model"):
        model_method(tmp_path / "none.pt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(SafaError, match="not a TorchScript model"):
        model_method(tmp_path / "state.pt")
    with pytest.raises(SafaError, match="has the inputs frame; it must have two"):
        model_method(saved(StateOnly(), tmp_path / "one.pt"))
    (tmp_path / "model.h5").touch()
    with pytest.raises(SafaError, match="not a model this can run"):
        model_method(tmp_path / "model.h5")
    (tmp_path / "model.onnx").touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SafaError, match="needs the package onnxruntime"):
        model_method(tmp_path / "model.onnx")
