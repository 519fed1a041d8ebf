"""Which engine is picked, and what is said where there is only one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from safa.checkpoint import Checkpoint
from safa.engine import availability, library, pick_engine
from safa.engine.library import native_precision
from safa.engine.select import usual_precision
from safa.errors import SafaError
from tests.conftest import tiny_network
from tests.engine.nets import builds


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
    checkpoint = Checkpoint.of(tiny_network(), "tiny")
    assert pick_engine("auto", checkpoint, "cpu").name == "native"
    assert pick_engine("torch", checkpoint, "cpu").name == "torch"
    assert pick_engine("auto", checkpoint, "cpu", "float16").name == "torch"
    assert availability() == f"torch, native ({builds()[0]})"


@pytest.mark.skipif(not builds(), reason="the native engine was not built here")
def test_precision_follows_the_processor_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint.of(tiny_network(), "tiny")
    loaded = library.load(builds()[0])
    for build, usual in (("amx", "bfloat16"), ("avx512bf16", "bfloat16"), ("avx512", "float32"), ("avx2", "float32")):
        monkeypatch.setattr(library, "usable_builds", lambda build=build: (build,))
        monkeypatch.setattr(library, "load", lambda build: loaded)
        assert native_precision() == usual
        assert pick_engine("auto", checkpoint, "cpu", "auto").precision == usual
        assert usual_precision().startswith(f"{usual} (")
        monkeypatch.undo()
    assert pick_engine("auto", checkpoint).precision == "float32"
    assert pick_engine("native", checkpoint, "cpu", "bfloat16").precision == "bfloat16"
    assert pick_engine("torch", checkpoint, "cpu", "auto").precision == "float32"


def test_native_says_why_not() -> None:
    checkpoint = Checkpoint.of(tiny_network(), "tiny")
    with pytest.raises(SafaError, match="float32 or bfloat16, not in float16"):
        pick_engine("native", checkpoint, "cpu", "float16")
    with pytest.raises(SafaError, match="no precision 'half'"):
        pick_engine("auto", checkpoint, "cpu", "half")
    with pytest.raises(SafaError, match="runs on the CPU, not on 'meta'"):
        pick_engine("native", checkpoint, "meta")
    with pytest.raises(SafaError, match="no engine 'other'"):
        pick_engine("other", checkpoint, "cpu")


@pytest.mark.usefixtures("unbuilt")
def test_without_the_library_torch_does_it() -> None:
    checkpoint = Checkpoint.of(tiny_network(), "tiny")
    engine = pick_engine("auto", checkpoint, "cpu")
    assert engine.name == "torch"
    frame = np.zeros((16, 16, 3), np.float32)
    pair = engine.encode_pair(engine.encode_frame(frame), engine.encode_frame(frame))
    assert engine.synthesize(pair, 0.5).image.shape == (1, 3, 64, 64)
    assert availability().startswith("torch; not native: The native engine (baseline) was not built")
    with pytest.raises(SafaError, match=r"C\+\+ compiler"):
        pick_engine("native", checkpoint, "cpu")


@pytest.mark.parametrize(
    ("best", "missing", "first"),
    [(4, None, "amx"), (4, "amx", "avx512"), (3, None, "avx512bf16"), (2, None, "avx512"), (0, None, "baseline")],
)
def test_the_fastest_build_comes_first(
    monkeypatch: pytest.MonkeyPatch, best: int, missing: str | None, first: str
) -> None:
    monkeypatch.setattr(library, "load", lambda build: SimpleNamespace(safa_best_build=lambda: best))
    monkeypatch.setattr(library, "find", lambda build: None if build == missing else Path(build))
    found = library.usable_builds.__wrapped__()
    assert found[0] == first
    assert set(found) == set(library.BUILDS[: best + 1]) - {missing}
