"""Fetching pictures from where flow leads."""

from __future__ import annotations

import pytest
import torch

from safa.network.operations import _flat_index, _gathered_bicubic, _places, warp, warp_bicubic


def random_flow(height: int, width: int, reach: float) -> torch.Tensor:
    return reach * (2 * torch.rand(2, 2, height, width, generator=torch.Generator().manual_seed(1)) - 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (9, 12)])
@pytest.mark.parametrize("reach", [0.0, 2.5, 400.0])
def test_bicubic_fetching_is_the_same_on_a_device_without_a_kernel(size: tuple[int, int], reach: float) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    flow = random_flow(*size, reach)
    found = warp_bicubic(image, flow)
    x, y = _places(flow)
    plain = _gathered_bicubic(image, x.clamp(0, size[1] - 1), y.clamp(0, size[0] - 1))
    torch.testing.assert_close(found, plain, atol=1e-4, rtol=0)
    if not reach:
        torch.testing.assert_close(found, image, atol=1e-4, rtol=0)


def test_places_of_large_pictures_are_exact() -> None:
    # 7680 x 4320: beyond 2**24 float32 holds even numbers alone.
    y, x = torch.tensor([4319.0, 4319.0, -1.0, 5000.0]), torch.tensor([7677.0, 7679.0, 3.0, 9000.0])
    assert _flat_index(y, x, 4320, 7680).tolist() == [4319 * 7680 + 7677, 4319 * 7680 + 7679, 3, 4319 * 7680 + 7679]


def test_bicubic_fetching_keeps_what_bilinear_averages_away() -> None:
    columns = torch.arange(32, dtype=torch.float32)
    wave, moved = (torch.sin(2.0 * (columns + by)).expand(1, 1, 8, 32) for by in (0.0, 0.5))
    flow = torch.zeros(1, 2, 8, 32)
    flow[:, 0] = 0.5
    errors = [(fetch(wave, flow) - moved)[..., 4:-4].abs().max() for fetch in (warp, warp_bicubic)]
    assert errors[1] < errors[0] / 2


def test_both_ways_hold_edges_and_keep_the_type() -> None:
    image = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0)).half()
    for fetch in (warp, warp_bicubic):
        found = fetch(image, torch.full((2, 2, 6, 8), -1e6))
        assert found.dtype == torch.float16
        torch.testing.assert_close(found, image[:, :, :1, :1].expand_as(found), atol=2e-3, rtol=0)
