"""Memory: measurements, ceilings, and its distribution."""

from __future__ import annotations

import gc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safa.engine import memory as memory
from safa.engine.memory import GIB, MIB, readable
from safa.network.safa import Safa
from safa.options import parse_memory
from safa.upscaler.memory_budget import BASE, plan_memory
from safa.video.codecs import CODECS
from safa.video.colour import Colour
from safa.video.encoder import MOST_ECONOMY, OutputSpec, encoder_memory
from tests.engine.nets import builds, lively_network, native_engine, random_pair


def spec(width: int, height: int, codec: str = "h264") -> OutputSpec:
    return OutputSpec(Path("out.mkv"), width, height, Fraction(1, 1000), Fraction(30), Colour(), codec)


def test_memory_of_the_machine_is_measured() -> None:
    assert 0 < memory.available() <= memory.total()
    gc.collect()  # or what earlier tests left could be given back in between
    held = memory.resident()
    block = np.ones(64 * MIB, np.uint8)
    assert memory.resident() - held > 0.9 * block.nbytes


@pytest.mark.parametrize(
    ("line", "folder", "names", "unlimited"),
    [
        ("0::/job/part", "", ("memory.max", "memory.current"), "max"),
        ("4:cpu,memory:/job/part", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), str(2**63 - 4096)),
    ],
    ids=["version 2", "version 1"],
)
def test_a_container_s_limit_counts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    folder: str,
    names: tuple[str, str],
    unlimited: str,
) -> None:
    limits = {"job": str(GIB), "job/part": unlimited}
    for place, limit in limits.items():
        group = tmp_path / folder / place
        group.mkdir(parents=True)
        for name, value in zip((*names, "memory.stat"), (limit, str(300 * MIB), f"inactive_file {MIB}\n"), strict=True):
            (group / name).write_text(value)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text(f"1:name=systemd:/\n{line}\n")
    machine = SimpleNamespace(total=8 * GIB, available=4 * GIB)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(memory, "PROC", tmp_path)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.total() == GIB
    assert memory.available() == GIB - 299 * MIB


@given(st.integers(MIB, 1 << 40))
def test_printed_amounts_are_sufficient_as_options(count: int) -> None:
    assert count <= parse_memory(readable(count)) <= 1.11 * count + MIB


@pytest.mark.skipif(not builds(), reason="the native engine was not built here")
@pytest.mark.parametrize(
    "layout",
    [
        {"grid": "input", "channels": 32, "stem_channels": 32},
        {"grid": "paper", "channels": 32, "stem_channels": 16},
        {"grid": "input", "channels": 24, "stem_channels": 8, "extractor": "stage3"},
        {"grid": "input", "extractor": "bottleneck", "stem_channels": 16, "fusion": "feature"},
        {"grid": "paper", "fusion": "image", "extractor": "stem"},
    ],
    ids=str,
)
def test_the_native_engine_uses_the_estimated_memory(layout: dict[str, object]) -> None:
    network: Safa = lively_network(**layout)
    taken = []
    for side in (64, 192):  # the difference leaves out what does not grow with the frame
        engine = native_engine(network, 1)
        frame0, frame1, _ = random_pair(side, side)
        frames = engine.encode_frame(frame0), engine.encode_frame(frame1)
        pair = engine.encode_pair(*frames)
        result = engine.synthesize(pair, 0.5, 0)
        states = [tensor for frame in frames for tensor in (frame.picture, frame.features)]
        tensors = [*states, pair.hidden, result.image, result.flow, result.mask, frame0, frame1]
        taken.append(engine.workspace_bytes + sum(tensor.nbytes for tensor in tensors))
    exact = (taken[1] - taken[0]) / (192**2 - 64**2)
    assert exact <= engine.bytes_per_pixel() <= 1.3 * exact


@given(
    ceiling=st.integers(600 * MIB, 16 * GIB),
    width=st.integers(16, 8000),
    height=st.integers(16, 5000),
    codec=st.sampled_from(sorted(CODECS)),
)
def test_a_lower_ceiling_never_needs_more_memory(ceiling: int, width: int, height: int, codec: str) -> None:
    source = width * height // 16
    plan = plan_memory(ceiling, spec(width, height, codec), 3, source)
    assert plan == plan_memory(ceiling, spec(width, height, codec), 3, source)
    smaller = plan_memory(ceiling // 2, spec(width, height, codec), 3, source)
    assert smaller.economy >= plan.economy >= 1
    assert smaller.reserved <= plan.reserved
    if plan.economy < MOST_ECONOMY:
        assert BASE + plan.reserved < ceiling


def test_encoders_are_only_reduced_on_small_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total", lambda: 64 * GIB)
    assert plan_memory(None, spec(7680, 4320), 3, 2073600).economy == 0
    monkeypatch.setattr(memory, "total", lambda: 8 * GIB)
    assert plan_memory(None, spec(1920, 1080), 3, 129600).economy == 0
    assert plan_memory(None, spec(7680, 4320), 3, 2073600).economy > 0


def test_each_economy_level_needs_less_memory() -> None:
    for codec in CODECS.values():
        needs = [encoder_memory(codec.encoder, codec.formats[0], "medium", 10**6, k) for k in range(MOST_ECONOMY + 1)]
        assert needs == sorted(needs, reverse=True)
