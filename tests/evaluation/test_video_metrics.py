"""Metrics of whole sequences, by stand-ins for their packages."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.methods import BASELINES
from safa.evaluation.perceptual import make_metrics, make_video_metrics
from safa.evaluation.run import evaluate
from tests.evaluation.footage import Held, moving

# In ffmpeg's place: the luma difference of each frame's first pixel, read back from the files it is given.
PROGRAM = """#!{python}
import json, sys
import av
pictures = []
for path in (sys.argv[i + 1] for i, word in enumerate(sys.argv) if word == "-i"):
    with av.open(path) as container:
        pictures.append([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
values = [float(abs(a.astype(int) - b).mean()) for a, b in zip(*pictures)]
place = next(word for word in sys.argv if "log_path=" in word).split("log_path=")[1]
json.dump({{"frames": [{{"metrics": {{"vmaf": value}}}} for value in values]}}, open(place, "w"))
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Stand-ins for both packages, and the shapes that ColorVideoVDP was shown."""
    program = tmp_path / "ffmpeg"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    shown: list[tuple[int, ...]] = []

    class Metric:
        def __init__(self, **options: Any) -> None:
            assert options["display_name"]

        def predict(self, images: np.ndarray, truths: np.ndarray, dim_order: str, frames_per_second: int) -> Any:
            assert dim_order == "FHWC"
            shown.append(images.shape)
            return 10 - float(np.abs(images.astype(int) - truths).mean()), None

    for name, module in (
        ("imageio_ffmpeg", SimpleNamespace(get_ffmpeg_exe=lambda: str(program), __spec__=SimpleNamespace())),
        ("pycvvdp", SimpleNamespace(cvvdp=Metric, __spec__=SimpleNamespace())),
    ):
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    return shown


def test_each_method_has_values_for_each_frame(packages: list[tuple[int, ...]]) -> None:
    data = Dataset("two", (Held("x", moving(9)), Held("y", moving(5, step=3))), 2)
    results = evaluate(BASELINES[:2], data, further=["vmaf", "jod", "detail"])
    assert sorted(packages) == sorted(2 * [(8, *moving(1)[0].shape), (4, *moving(1)[0].shape)])
    assert len(results.scores) == 2 * (8 + 4)
    for score in results.scores:
        assert {"vmaf", "jod", "detail"} <= set(score.values)
        assert score.values["jod"] < 10
        assert score.values["detail"] > 0
    of_one = {
        score.values["jod"] for score in results.scores if (score.method, score.sequence) == (BASELINES[0].name, "x")
    }
    assert len(of_one) == 1
    worse = [results.mean(method.name, "vmaf", "centre") for method in BASELINES[:2]]
    assert results.mean(BASELINES[0].name, "vmaf", "inputs") == results.mean(BASELINES[1].name, "vmaf", "inputs")
    assert worse[0] != worse[1]


def test_a_program_that_fails_is_quoted(packages: list[tuple[int, ...]], tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho no such filter >&2\nexit 3\n")
    frames = np.zeros((2, 32, 32, 3), np.uint8)
    with pytest.raises(SafaError, match="no such filter"):
        make_video_metrics(["vmaf"])["vmaf"](frames, frames)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    with pytest.raises(SafaError, match="pycvvdp"):
        make_metrics(["jod"])
