"""Which engine is picked, and what is said where there is only one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from safa.engine import availability, library, pick_engine
from safa.errors import SafaError
from tests.conftest import tiny_network
from tests.engine.nets import CPU, builds


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation without compiled engine."""
    monkeypatch.setattr(library, "find", lambda build: None)
    library.load.cache_clear()
    library.usable_builds.cache_clear()
    yield
    library.load.cache_clear()
    library.usable_builds.cache_clear()


@pytest.mark.skipif(not builds(), reason="the native engine was not built here")
def test_auto_is_native_where_it_can_run() -> None:
    network = tiny_network()
    assert pick_engine("auto", network, CPU).name == "native"
    assert pick_engine("torch", network, CPU).name == "torch"
    assert pick_engine("auto", network, CPU, torch.bfloat16).name == "torch"
    assert availability() == f"torch, native ({builds()[0]})"


def test_native_says_why_not() -> None:
    network = tiny_network()
    with pytest.raises(SafaError, match="computes in float32, not in bfloat16"):
        pick_engine("native", network, CPU, torch.bfloat16)
    with pytest.raises(SafaError, match="runs on the CPU, not on 'meta'"):
        pick_engine("native", network, torch.device("meta"))
    with pytest.raises(SafaError, match="no engine 'other'"):
        pick_engine("other", network, CPU)


@pytest.mark.usefixtures("unbuilt")
def test_without_the_library_torch_does_it() -> None:
    network = tiny_network()
    engine = pick_engine("auto", network, CPU)
    assert engine.name == "torch"
    frame = torch.rand(1, 3, 16, 16)
    pair = engine.encode_pair(engine.encode_frame(frame), engine.encode_frame(frame))
    assert engine.synthesize(pair, 0.5).image.shape == (1, 3, 64, 64)
    assert availability().startswith("torch; not native: The native engine (baseline) was not built")
    with pytest.raises(SafaError, match=r"C\+\+ compiler"):
        pick_engine("native", network, CPU)
