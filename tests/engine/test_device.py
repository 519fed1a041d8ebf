"""What is asked of GPUs through PyTorch, which stands in for them here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from safa.engine import device
from safa.engine.device import peak_bytes
from safa.upscaler.memory_budget import FREE_SHARE, Budget

GIBIBYTE = 2**30


def fake_gpu(calls: list[tuple[object, ...]], **more: object) -> SimpleNamespace:
    def record(name: str) -> object:
        return lambda *arguments: calls.append((name, *arguments))

    functions = {name: record(name) for name in ("synchronize", "empty_cache", "reset_peak_memory_stats")}
    return SimpleNamespace(**functions, is_available=lambda: True, **more)


@pytest.mark.parametrize(
    ("name", "arguments"), [("cuda:1", ("cuda:1",)), ("xpu", ("xpu",)), ("xpu:2", ("xpu:2",)), ("mps", ())]
)
def test_every_kind_of_gpu_is_waited_for(
    name: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(torch, name.partition(":")[0], fake_gpu(calls))
    device.synchronize(name)
    device.release_cache(name)
    assert calls == [("synchronize", *arguments), ("empty_cache",)]


def test_a_processor_is_not_waited_for() -> None:
    device.synchronize("cpu")
    device.release_cache("cpu")
    assert device.free_bytes("cpu") is None


def test_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = fake_gpu([], mem_get_info=lambda _: (3 * GIBIBYTE, 8 * GIBIBYTE), memory_allocated=lambda _: 0)
    older = fake_gpu(
        [],
        memory_allocated=lambda _: GIBIBYTE,
        get_device_properties=lambda _: SimpleNamespace(total_memory=8 * GIBIBYTE),
    )
    for gpu, free in ((newer, 3 * GIBIBYTE), (older, 7 * GIBIBYTE)):
        monkeypatch.setattr(torch, "xpu", gpu)
        assert device.free_bytes("xpu") == free
        assert Budget(None, "xpu").tile_budget(64).memory == int(FREE_SHARE * free)
    monkeypatch.setattr(torch, "mps", fake_gpu([]))
    assert device.free_bytes("mps") is None


def test_peak_memory_is_asked_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[object, ...]] = []
    allocated = iter((100, 100))
    gpu = fake_gpu(calls, memory_allocated=lambda _: next(allocated), max_memory_allocated=lambda _: 350)
    monkeypatch.setattr(torch, "xpu", gpu)
    assert peak_bytes(lambda: calls.append(("the call",)), "xpu") == 250
    assert calls == [("reset_peak_memory_stats", "xpu"), ("the call",), ("synchronize", "xpu")]


@pytest.mark.parametrize(
    ("available", "files", "build", "best"),
    [
        (("xpu",), (), "2.13.0+xpu", "xpu"),
        (("xpu",), (), "2.13.0+cpu", "cpu"),
        (("cuda", "mps"), ("/dev/kfd",), "2.13.0", "cuda"),
        ((), ("/dev/nvidiactl",), "2.13.0", "cpu"),
    ],
)
def test_the_best_device_is_looked_for_where_it_can_be(
    available: tuple[str, ...], files: tuple[str, ...], build: str, best: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device.sys, "platform", "linux")
    monkeypatch.setattr(device.os.path, "exists", files.__contains__)
    monkeypatch.setattr(device, "version", lambda _: build)
    for kind in device.GPU_KINDS:
        monkeypatch.setattr(torch, kind, SimpleNamespace(is_available=lambda kind=kind: kind in available))
    assert device._best() == best
