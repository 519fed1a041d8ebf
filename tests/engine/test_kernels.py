"""Single kernels of the native engine against PyTorch, at sizes where edges matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from safa.engine import library
from safa.network.operations import warp
from tests.engine.nets import builds

pytestmark = pytest.mark.skipif(not builds(), reason="the native engine was not built here")


def to_native(x: Tensor, channels: int | None = None) -> Tensor:
    """``1,C,H,W`` -> ``H,W,C`` with channels padded to a multiple of 16 (or to ``channels``)."""
    wanted = channels or -(-x.shape[1] // 16) * 16
    return F.pad(x[0].permute(1, 2, 0), (0, wanted - x.shape[1])).contiguous()


def from_native(x: Tensor, channels: int) -> Tensor:
    return x[:, :, :channels].permute(2, 0, 1).unsqueeze(0)


def convolve(
    build: str,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    slope: Tensor | None = None,
    stride: int = 1,
    residual: Tensor | None = None,
    rounded: bool = False,
) -> Tensor:
    out_channels, in_channels, size, _ = weight.shape
    height, width = (-(-side // stride) for side in x.shape[2:])
    source = to_native(x)
    # Whatever is not written or not meant to be read must show: NaN around the result.
    whole = torch.full((height + 2, width, -(-out_channels // 16) * 16), math.nan)
    added = None if residual is None else to_native(residual)
    library.call(
        library.load(build).safa_convolve,
        *(source.data_ptr(), *x.shape[2:], in_channels, weight.data_ptr(), bias.data_ptr()),
        *(None if slope is None else slope.data_ptr(), out_channels, size, stride, rounded),
        *(None if added is None else added.data_ptr(), whole[1:].data_ptr(), 2),
    )
    assert whole[0].isnan().all()
    assert whole[-1].isnan().all()
    assert not whole[1:-1, :, out_channels:].any()
    return from_native(whole[1:-1], out_channels)


@settings(max_examples=60)
@given(
    *(st.integers(1, 70), st.integers(1, 70), st.integers(1, 96), st.integers(1, 96)),
    *(st.sampled_from([(1, 1), (1, 2), (3, 1), (3, 2), (7, 1), (7, 2)]), st.booleans(), st.booleans()),
    *(st.sampled_from(builds() or ("",)), st.integers(0, 1000)),
)
def test_convolution(
    height: int, width: int, inputs: int, outputs: int, kind: tuple[int, int], active: bool, residual: bool, build: str,
    seed: int,
) -> None:  # fmt: skip
    size, stride = kind
    torch.manual_seed(seed)
    x = torch.randn(1, inputs, height, width)
    weight = torch.randn(outputs, inputs, size, size) / (size * math.sqrt(inputs))
    bias = torch.randn(outputs)
    slope = torch.rand(outputs) if active else None
    expected = F.conv2d(x.double(), weight.double(), bias.double(), stride, size // 2)
    added = torch.randn_like(expected, dtype=torch.float32) if residual else None
    if added is not None:
        expected = expected + added
    if slope is not None:
        expected = F.prelu(expected, slope.double())
    ours = convolve(build, x, weight, bias, slope, stride, added)
    torch.testing.assert_close(ours.double(), expected, atol=1e-4, rtol=0)


@settings(max_examples=40)
@given(
    *(st.integers(1, 40), st.integers(1, 70), st.integers(1, 96), st.integers(1, 96)),
    *(st.sampled_from(builds() or ("",)), st.integers(0, 1000)),
)
def test_products_of_bfloat16(height: int, width: int, inputs: int, outputs: int, build: str, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(1, inputs, height, width)
    weight, bias = torch.randn(outputs, inputs, 3, 3) / (3 * math.sqrt(inputs)), torch.randn(outputs)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    ours = convolve(build, x, weight, bias, rounded=True).double()
    # Eight bits of each factor, and the transforms of a tile, which spread over it what that costs. Two fifths of
    # this were the most in 600 drawn cases, for any number of inputs.
    around = F.max_pool2d(x.abs(), 15, 1, 7)
    limit = 0.15 * inputs**-0.75 * F.conv2d(around, weight.abs().sum((2, 3), keepdim=True))
    assert ((ours - expected).abs() <= limit).all()
    assert (ours - expected).square().mean().sqrt() < 0.06
    assert not torch.allclose(ours, expected, atol=1e-5, rtol=0)


def native_warp(build: str, image: Tensor, flow: Tensor) -> Tensor:
    source, vectors = to_native(image), to_native(flow, 16)
    out = torch.empty_like(source)
    library.call(
        library.load(build).safa_warp,
        *(source.data_ptr(), *image.shape[2:], image.shape[1], vectors.data_ptr(), out.data_ptr()),
    )
    return from_native(out, image.shape[1])


@settings(max_examples=40)
@given(
    *(st.integers(1, 70), st.integers(1, 70), st.integers(1, 96), st.sampled_from([0.5, 5.0, 200.0, 1e6])),
    *(st.sampled_from(builds() or ("",)), st.integers(0, 1000)),
)
def test_warp(height: int, width: int, channels: int, reach: float, build: str, seed: int) -> None:
    torch.manual_seed(seed)
    image = torch.rand(1, channels, height, width)
    flow = reach * (2 * torch.rand(1, 2, height, width) - 1)
    torch.testing.assert_close(native_warp(build, image, flow), warp(image, flow), atol=1e-4, rtol=0)


@pytest.mark.parametrize("build", builds())
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38, -3e38])
def test_flow_that_is_no_number_stays_inside(build: str, value: float) -> None:
    image = torch.rand(1, 16, 5, 7)
    warped = native_warp(build, image, torch.full((1, 2, 5, 7), value))
    corner = image[:, :, -1, -1] if value > 0 else image[:, :, 0, 0]
    assert np.array_equal(warped, corner[:, :, None, None].expand_as(warped))
