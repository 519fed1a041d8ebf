"""tOF on motion that is known, and the two perceptual metrics by stand-ins for their packages."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from safa.data.scene import Image
from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.methods import BASELINES
from safa.evaluation.perceptual import PACKAGES, FlowDifference, Measured, installed_metrics, make_metrics
from safa.evaluation.protocols import to_tensor
from safa.evaluation.run import evaluate
from safa.metrics import false_detail
from tests.evaluation.footage import Held, moving


def frame(number: int, image: Image, truth: Image, method: str = "m", sequence: str = "x") -> Measured:
    return Measured(method, sequence, number, to_tensor(image), to_tensor(truth))


def test_tof_is_the_error_of_the_motion_in_pixels() -> None:
    truth, still, fast = (moving(2, 96, 128, step) for step in (2, 0, 3))
    metric = FlowDifference()
    for method, images in (("exact", truth), ("still", still), ("fast", fast)):
        assert metric(frame(0, images[0], truth[0], method)) is None
    values = {
        method: metric(frame(1, images[1], truth[1], method))
        for method, images in (("exact", truth), ("still", still), ("fast", fast))
    }
    assert values["exact"] == 0
    assert values["still"] == pytest.approx(2, abs=0.2)
    assert values["fast"] == pytest.approx(1, abs=0.2)


def test_tof_needs_the_frame_before() -> None:
    image = moving(1)[0]
    metric = FlowDifference()
    assert metric(frame(0, image, image)) is None
    assert metric(frame(2, image, image)) is None  # 1 is missing
    assert metric(frame(3, image, image, sequence="y")) is None
    assert metric(frame(4, image, image, sequence="y")) == 0


def test_tof_leaves_out_the_border(monkeypatch: pytest.MonkeyPatch) -> None:
    # 96 of 112 rows and 96 of 128 columns count; flow of the result, then of the truth, is made up.
    wrong = np.full((112, 128, 2), 5, np.float32)
    wrong[8:-8, 16:-16] = 0
    wrong[8, 16] = (3, 4)
    flows = iter([np.zeros_like(wrong), wrong])
    monkeypatch.setattr("safa.evaluation.perceptual._farneback", lambda first, second: next(flows))
    image = np.zeros((112, 128, 3), np.uint8)
    metric = FlowDifference()
    metric(frame(0, image, image))
    assert metric(frame(1, image, image)) == pytest.approx(5 / 96**2)


def test_detail_is_the_laplacian_beside_the_truths() -> None:
    truth = moving(1)[0]
    assert make_metrics(["detail"])["detail"](frame(0, truth, truth)) == 1
    half = Measured("m", "x", 0, to_tensor(truth) / 2, to_tensor(truth))
    luma_is_offset = 0.02
    assert make_metrics(["detail"])["detail"](half) == pytest.approx(0.5, abs=luma_is_offset)
    flat = np.full_like(truth, 90)
    assert make_metrics(["detail"])["detail"](frame(0, truth, flat)) is None


def test_false_detail_is_what_the_truth_has_less_of() -> None:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    board = ((x + y) % 2 - 0.5).expand(1, 3, -1, -1)
    truth = 0.5 + 0.2 * board * (x >= 32)  # smooth on the left
    grainy = truth + 0.04 * board * (x < 16)
    moved = 0.5 + 0.2 * board * (x >= 30)
    assert float(false_detail(truth, truth)) == 0
    assert float(false_detail(0.8 * truth + 0.1, truth)) == 0
    assert float(false_detail(moved, truth)) == 0
    found = float(false_detail(grainy, truth))
    assert found > 1e-3
    assert float(false_detail(truth + 2 * (grainy - truth), truth)) == pytest.approx(2 * found, rel=1e-3)


def test_false_detail_in_percent_of_the_truths() -> None:
    metric = make_metrics(["false_detail"])["false_detail"]
    truth = moving(1)[0]
    grainy = truth.copy()
    grainy[:40, ::2] = 255 - grainy[:40, ::2]
    assert metric(frame(0, truth, truth)) == 0
    assert metric(Measured("m", "x", 0, to_tensor(truth) / 2, to_tensor(truth))) == 0  # less is not more
    assert (metric(frame(0, grainy, truth)) or 0) > 10
    assert metric(frame(0, truth, np.full_like(truth, 90))) is None
    assert metric(frame(0, truth[:13], truth[:13])) is None


def test_an_evaluation_measures_tof_across_its_windows() -> None:
    results = evaluate(BASELINES, Dataset("made up", (Held("x", moving(5)),), factor=2), further=["tof"])
    blending = [score for score in results.scores if score.method == "bicubic + blending"]
    assert [(score.start, score.index) for score in blending if "tof" in score.values] == [(0, 1), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("name", "package", "factory", "range_of_inputs"),
    [("lpips", "lpips", "LPIPS", (-1, 1)), ("dists", "DISTS_pytorch", "DISTS", (0, 1))],
)
def test_a_perceptual_metric_gets_the_range_its_package_wants(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, factory: str, range_of_inputs: tuple[int, int]
) -> None:
    class Distance(torch.nn.Module):
        def forward(self, image: Tensor, truth: Tensor) -> Tensor:
            assert (image.min().item(), truth.max().item()) == range_of_inputs
            return (image - truth).abs().mean().view(1, 1, 1, 1)

    stand_in = SimpleNamespace(**{factory: lambda **_: Distance()}, __spec__=object())
    monkeypatch.setitem(sys.modules, package, stand_in)  # type: ignore[arg-type]
    (metric,) = make_metrics([name]).values()
    black, white = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert metric(Measured("m", "x", 0, black, white)) == range_of_inputs[1] - range_of_inputs[0]


def test_metrics_without_their_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "lpips" else object())
    assert installed_metrics() == [name for name in PACKAGES if name != "lpips"]
    with pytest.raises(SafaError, match="lpips needs the package lpips"):
        make_metrics(["lpips"])
    with pytest.raises(SafaError, match="no metric 'beauty'"):
        make_metrics(["beauty"])
