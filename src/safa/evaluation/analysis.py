"""The article's analyses: which scale the selector picks at which resolution, and what more times of a pair cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from safa.data.scene import Image
from safa.data.sequences import FrameSequence
from safa.engine.device import synchronize
from safa.errors import SafaError
from safa.evaluation.baselines import Method
from safa.evaluation.costs import count_operations
from safa.evaluation.protocols import to_tensor, window_starts
from safa.network.config import SCALE
from safa.network.operations import pad_to_multiple
from safa.network.safa import Safa

HEIGHTS = (240, 480, 1080, 2160)
FACTORS = (2, 4, 8, 16)


@dataclass(frozen=True)
class ScaleCounts:
    """Counts of each block's scales, on clips brought to one size."""

    height: int
    """Of the output, in pixels; the frames the network saw had a quarter of it."""
    clips: tuple[str, ...]
    """Those large enough to be brought to this size."""
    scales: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    """For each block, for each of ``scales``."""

    def shares(self, block: int | None = None) -> list[float]:
        """Share of each scale, of one block or of all; zeros where no clip was large enough."""
        chosen = np.array(self.counts if block is None else [self.counts[block]], float).sum(axis=0)
        return [float(share) for share in chosen / max(chosen.sum(), 1)]


@dataclass(frozen=True)
class FactorCost:
    """Cost of one pair at one time factor."""

    factor: int
    """k; the counted times are 0, 1/k, ... (k - 1)/k."""
    operations: int
    """Of all k frames; 2 a multiply-add, of convolutions and matrix products."""
    seconds: float
    """Wall time of all k frames, the less of two runs."""


@torch.inference_mode()
def count_scales(network: Safa, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> list[list[int]]:
    """``[blocks][scales]``: how often each block picks each scale for a pair ``B,3,h,w`` at ``times``.

    Raises:
        SafaError: the network has no selector.
    """
    if not network.config.selects:
        raise SafaError("This network has no scale selector; its scale is fixed.")
    network.eval()
    device, multiple = next(network.parameters()).device, network.config.multiple
    low0, low1 = (pad_to_multiple(frame.to(device), multiple) for frame in (frame0, frame1))
    pair = network.encode(low0, low1)
    chosen = torch.cat([network.synthesize(pair, t).scale for t in times])
    return [torch.bincount(block, minlength=len(network.config.scales)).tolist() for block in chosen.T.cpu()]


def scales_by_height(
    network: Safa,
    clips: Sequence[FrameSequence],
    heights: Sequence[int] = HEIGHTS,
    pairs_per_clip: int = 4,
    times: Sequence[float] = (0.5,),
) -> list[ScaleCounts]:
    """The same pairs of consecutive frames at several sizes: does the selector pick coarser scales on larger frames?

    Each frame is reduced (antialiased bicubic) until a quarter of an output ``height`` high. A clip that would have to
    be enlarged for it is left out at that height: enlarged frames hold no finer detail to choose a scale for.
    """
    totals = {height: np.zeros((network.config.blocks, len(network.config.scales)), int) for height in heights}
    used: dict[int, list[str]] = {height: [] for height in heights}
    for clip in clips:
        for frame0, frame1 in clip.read(
            [range(start, start + 2) for start in window_starts(clip.count(), 1, pairs_per_clip)]
        ):
            for height in heights:
                if SCALE * frame0.shape[0] < height:
                    continue
                low = [to_tensor(_reduce_to(frame, height // SCALE)) for frame in (frame0, frame1)]
                totals[height] += count_scales(network, low[0], low[1], times)
                if clip.name not in used[height]:
                    used[height].append(clip.name)
    scales = network.config.scales
    return [
        ScaleCounts(height, tuple(used[height]), scales, tuple(map(tuple, totals[height].tolist())))
        for height in heights
    ]


def cost_by_factor(
    method: Method, frame0: Tensor, frame1: Tensor, factors: Sequence[int] = FACTORS
) -> list[FactorCost]:
    """Measure the cost of a pair ``1,3,h,w`` at each time factor: less than in proportion, since it is encoded once."""
    costs = []
    for factor in factors:
        times = [index / factor for index in range(factor)]
        operations = count_operations(method, frame0, frame1, times)
        costs.append(FactorCost(factor, operations, min(_seconds(method, frame0, frame1, times) for _ in range(2))))
    return costs


def _seconds(method: Method, frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> float:
    begin = time.perf_counter()
    for _ in method.interpolate(frame0, frame1, times):
        pass
    synchronize(method.device)
    return time.perf_counter() - begin


def _reduce_to(frame: Image, height: int) -> Image:
    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    return np.asarray(PillowImage.fromarray(frame).resize((width, height), PillowImage.Resampling.BICUBIC))
