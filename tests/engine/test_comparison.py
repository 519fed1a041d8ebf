"""The choice between the CPU and GPUs that ONNX Runtime can use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.engine import comparison
from safa.engine.base import Engine
from safa.engine.comparison import DeviceChoice, choose_device
from safa.engine.native import NativeEngine
from safa.errors import SafaError
from safa.upscaler import upscaler
from safa.upscaler.upscaler import Upscaler
from tests.conftest import tiny_network
from tests.engine.nets import builds

pytestmark = pytest.mark.skipif(not builds(), reason="the native engine was not built here")
Machine = Callable[..., Checkpoint]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with a GPU, for which the native engine stands in, that takes ``seconds`` where the CPU takes 1 s."""

    def set_up(seconds: float = 1.0, error: float = 0.0, failure: str = "", version: str = "1") -> Checkpoint:
        class Gpu(NativeEngine):
            def array(self, image: object) -> np.ndarray:
                return super().array(image) + np.float32(error)

        def gpu(config: object, tensors: object, device: str) -> Engine:
            if failure:
                raise SafaError(failure)
            engine = Gpu(config, tensors)
            engine.device = device
            return engine

        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
        monkeypatch.setattr(comparison, "_cache_file", lambda: tmp_path / "safa" / "devices.json")
        monkeypatch.setattr(comparison, "usable_devices", lambda: ["cpu", "webgpu"])
        monkeypatch.setattr(comparison, "device_products", lambda device: [f"{device} with driver {version}"])
        monkeypatch.setattr(comparison, "find_layout", lambda config: Path("tiny"))
        monkeypatch.setattr(comparison, "OnnxEngine", gpu)
        times = {"cpu": 1.0, "webgpu": seconds}
        monkeypatch.setattr(comparison, "_seconds", lambda engine, size: times[engine.device])
        return Checkpoint.of(tiny_network(grid="input", flow_prior="dis", propagation=1), "tiny")

    return set_up


def test_the_faster_device_is_chosen(machine: Machine) -> None:
    choice = choose_device(machine(0.25))
    assert choice == DeviceChoice("webgpu", "webgpu: the processor needs 1 s a frame of 320x184, webgpu 0.25 s a frame")
    assert choose_device(machine(1.5, version="2")) == DeviceChoice(
        "cpu", "cpu: the processor needs 1 s a frame of 320x184, webgpu 1.5 s a frame"
    )


def test_a_far_slower_device_is_timed_at_the_smallest_size_only(machine: Machine) -> None:
    choice = choose_device(machine(40))
    assert choice is not None
    assert choice.reason == "cpu: the processor needs 1 s a frame of 320x184, webgpu 40 times the processor's time"


def test_a_choice_is_remembered_until_the_driver_changes(machine: Machine) -> None:
    first = choose_device(machine(0.25))
    assert choose_device(machine(4)) == first
    changed = choose_device(machine(3, version="2"))
    assert changed is not None
    assert changed.device == "cpu"


@pytest.mark.parametrize("content", ["", "[]", "{", '{"key": 1}'])
def test_a_damaged_file_of_choices_is_replaced(content: str, machine: Machine) -> None:
    checkpoint = machine(0.25)
    file = comparison._cache_file()
    file.parent.mkdir()
    file.write_text(content)
    choice = choose_device(checkpoint)
    assert choice is not None
    assert choice.device == "webgpu"
    assert {"device": "webgpu", "reason": choice.reason} in json.loads(file.read_text()).values()


def test_a_device_that_computes_wrongly_or_fails_is_not_used(machine: Machine) -> None:
    wrong = choose_device(machine(0.25, error=0.05))
    assert wrong is not None
    assert wrong.device == "cpu"
    assert "webgpu is not used: The device 'webgpu' computes wrongly" in wrong.reason
    failing = choose_device(machine(0.25, failure="The driver is too old.", version="2"))
    assert failing is not None
    assert failing.reason.endswith("; webgpu is not used: The driver is too old.")


def test_nothing_is_compared_without_such_a_device(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = machine(0.25)
    monkeypatch.setattr(comparison, "usable_devices", lambda: ["cpu"])
    assert choose_device(checkpoint) is None


def test_only_auto_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.of(tiny_network(), "tiny")
    calls: list[Checkpoint] = []

    def choose(checkpoint: Checkpoint, threads: int | None) -> DeviceChoice:
        calls.append(checkpoint)
        return DeviceChoice("cpu", "cpu: it is faster")

    monkeypatch.setattr(upscaler, "choose_device", choose)
    monkeypatch.setattr(upscaler, "pick_device", lambda name: "cpu")
    assert Upscaler(checkpoint, "cpu").device_reason == ""
    assert Upscaler(checkpoint, engine="native").device_reason == ""
    assert not calls
    assert Upscaler(checkpoint).device_reason == "cpu: it is faster"
    assert calls == [checkpoint]
