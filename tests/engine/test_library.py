"""The compiled engine as a thing that is built, loaded, forked and ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from safa.checkpoint import arrays_of
from safa.engine import device, library
from safa.engine.native import NativeEngine
from safa.errors import SafaError
from safa.network.config import SafaConfig
from tests.conftest import streaming_network, tiny_network
from tests.engine.nets import builds

pytestmark = pytest.mark.skipif(not builds(), reason="the native engine was not built")

SETTINGS = {"grid": "input", "blocks": 1}
ENGINE = f"""
import os, resource, sys, threading, time
import numpy as np
from safa.engine import native
from tests.conftest import tiny_network
from safa.checkpoint import arrays_of
network = tiny_network(**{SETTINGS!r})
make = lambda threads: native.NativeEngine(network.config, arrays_of(network), threads)
frame = np.zeros((64, 64, 3), np.float32)
"""


def made(**settings: object) -> NativeEngine:
    network = tiny_network(**{**SETTINGS, **settings})
    return NativeEngine(network.config, arrays_of(network), threads=1)


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENGINE + program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_library_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    build = library.usable_builds()[-1]
    if not library.load(build).safa_sources():
        pytest.skip("the engine was compiled by hand")
    assert library.load(build).safa_sources().decode() == library.sources_digest(
        Path(library.__file__).parent / "native"
    )
    library.load.cache_clear()
    monkeypatch.setattr(library, "sources_digest", lambda folder: "another")
    with pytest.raises(SafaError, match="other sources"):
        library.load(build)
    library.load.cache_clear()


def test_a_process_may_end_while_a_thread_computes() -> None:
    ended = python(
        "engine = make(1)\n"
        "begun = threading.Event()\n"
        "def work():\n"
        "    while True:\n"
        "        engine.encode_frame(frame)\n"
        "        begun.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "begun.wait()\n"
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_that_was_forked_in_the_midst_says_so() -> None:
    ended = python(
        "engine = make(1)\n"
        "engine._lock.acquire()\n"  # as another thread holds it that computes
        "child = os.fork()\n"
        "if not child:\n"
        "    try:\n"
        "        engine.encode_frame(frame)\n"
        "    except Exception as error:\n"
        "        os._exit(7 if 'forked' in str(error) else 8)\n"
        "    os._exit(9)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert ended.stdout == "7\n", ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_threads_that_the_system_refuses_are_done_without() -> None:
    ended = python(
        "expected = make(1).encode_frame(frame)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20),) * 2)\n"
        "native.processor_threads = lambda: 200\n"
        "engine = make(None)\n"
        "print(1 <= engine._use(200) < 200, np.array_equal(engine.encode_frame(frame).features, expected.features))\n"
        "try:\n"
        "    make(200)\n"
        "except native.SafaError as error:\n"
        "    print(error)\n"
    )
    assert ended.stdout.startswith("True True\nThe system allows only "), ended.stderr


def test_a_container_may_allow_less(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(device, "CGROUP", tmp_path)
    free = device.processor_threads()
    (tmp_path / "cpu").mkdir()
    for stored, most in (("max 100000", free), ("100000 100000", 1), ("150000 100000", min(2, free))):
        (tmp_path / "cpu.max").write_text(stored + "\n")
        assert device.processor_threads() == most
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    for quota, most in (("-1", free), ("50000", 1)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
        assert device.processor_threads() == most


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"extractor": "bottleneck", "stem_channels": 2}, "at least 4"),
        ({"stem_channels": 2**28}, "from 2 to 4096"),
        ({"channels": 8192}, "from 2 to 4096"),
        ({"blocks": 2_000_000_000}, "from 1 to 1000"),
        ({"decoder_blocks": -1}, "from 0 to 1000"),
        ({"propagation": 5000}, "from 0 to 1000"),
    ],
)
def test_settings_that_no_network_has_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        SafaConfig(**settings)  # type: ignore[arg-type]


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.encode_frame(zeros(0, 8, 3)), "multiples of"),
        (lambda e: e.encode_frame(zeros(8, 0, 3)), "multiples of"),
        (lambda e: e.synthesize(pair_of(e), 0.5, region=(0, 0, 20000, 32)), "does not lie"),
        (lambda e: e.synthesize(pair_of(e), 0.5, region=(8, 0, 8, 32)), "does not lie"),
    ],
)
def test_what_would_reach_beyond_the_memory_is_refused(call: Callable[[NativeEngine], object], message: str) -> None:
    with pytest.raises(SafaError, match=message):
        call(made())


def pair_of(engine: NativeEngine) -> object:
    frame = engine.encode_frame(zeros(32, 32, 3))
    return engine.encode_pair(frame, frame)


@pytest.mark.parametrize(
    ("frames", "flows"),
    [
        ([zeros(64, 64, 3)] * 2, [(zeros(8, 8, 2), zeros(8, 8, 2))]),
        ([zeros(64, 64, 3), zeros(8, 8, 3)], [(zeros(64, 64, 2), zeros(64, 64, 2))]),
        ([zeros(64, 64, 3)] * 3, [(zeros(64, 64, 2), zeros(64, 64, 2))]),
    ],
)
def test_a_window_whose_parts_do_not_fit_is_refused(frames: list[np.ndarray], flows: list[object]) -> None:
    network = streaming_network()
    engine = NativeEngine(network.config, arrays_of(network), threads=1)
    with pytest.raises(SafaError):
        engine.encode_window(frames, flows)  # type: ignore[arg-type]


def test_pictures_are_stored_into_any_array() -> None:
    engine = made()
    image = np.random.default_rng(0).random((8, 8, 3), np.float32)
    whole = (slice(0, 8), slice(0, 8))
    readonly = np.frombuffer(bytes(8 * 8 * 3), np.uint8).reshape(8, 8, 3)
    with pytest.raises(ValueError, match="read-only"):
        engine.store(image, whole, readonly)
    packed = np.zeros((8, 8), [("rgb", "u1", 3), ("other", "u1")])
    engine.store(image, whole, packed["rgb"])
    assert np.array_equal(packed["rgb"], np.rint(image * np.float32(255)))
    mixed = np.zeros((32, 32), [("rgb", "<f4", 3), ("other", "u1")])
    mixed["rgb"] = np.random.default_rng(1).random((32, 32, 3), np.float32)
    plain = np.ascontiguousarray(mixed["rgb"])
    assert np.array_equal(engine.encode_frame(mixed["rgb"]).features, engine.encode_frame(plain).features)
