"""Pictures of the network's decisions for a pair: flow, blend mask and scales over time, beside classical flow."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from safa.data.scene import Image
from safa.data.sequences import FrameSequence
from safa.engine.device import synchronize
from safa.engine.images import to_8_bits
from safa.errors import MediaError, OutputError, SafaError
from safa.evaluation.methods import Method
from safa.evaluation.pictures import (
    FloatImage,
    flow_length,
    flow_picture,
    image_of,
    mask_picture,
    scale_picture,
    sheet,
    wheel_picture,
)
from safa.evaluation.protocols import to_tensor, window_starts
from safa.evaluation.run import count_operations
from safa.network.config import SCALE
from safa.network.operations import pad_to_multiple, resize_bilinear, resize_flow
from safa.network.prior import classical_flow_pair, flow_from_time
from safa.network.safa import Safa
from safa.video.file_source import VideoReader
from safa.video.files import check_target
from safa.video.pictures import save_picture

THUMBNAIL = 240
"""Width in pixels of the pictures on the overview sheet."""


@dataclass(frozen=True)
class Decision:
    """Everything about one time. ``H,W`` is the output's size; flow is in pixels of the output, x then y."""

    t: float
    image: Image
    fused: Image | None
    """``H,W,3``: the image fusion alone; None in a network without."""
    flow: tuple[FloatImage, FloatImage]
    """``H,W,2`` each: from t to frame 0 and to frame 1."""
    classical: tuple[FloatImage, FloatImage]
    """Flow by DIS on the low-resolution frames, likewise."""
    mask: FloatImage
    """``H,W``: share of frame 0 in the image fusion."""
    scales: list[int]
    """Index into ``SafaConfig.scales`` for each block."""
    probabilities: list[list[float]]
    """The selector's for each block; empty lists without a selector."""


@torch.inference_mode()
def decide(network: Safa, frame0: Image, frame1: Image, times: Sequence[float]) -> list[Decision]:
    """Run the network on two low-resolution frames ``h,w,3`` of one size and keep what it decides at each time."""
    network.eval()
    height, width = (SCALE * side for side in frame0.shape[:2])
    device = next(network.parameters()).device
    low0, low1 = (to_tensor(frame).to(device) for frame in (frame0, frame1))
    if low0.shape != low1.shape:
        raise SafaError(f"The two frames differ in size: {_size(frame0)} and {_size(frame1)}.")
    multiple = network.config.multiple
    pair = network.encode(pad_to_multiple(low0, multiple), pad_to_multiple(low1, multiple))
    both_ways = classical_flow_pair(low0, low1)
    decisions = []
    for t in times:
        result = network.synthesize(pair, t)
        factor = result.image.shape[-1] // result.flow.shape[-1]
        flow = resize_flow(result.flow, factor)
        classical = flow_from_time(*both_ways, torch.tensor([t], device=device))
        decisions.append(
            Decision(
                t,
                image_of(result.image)[:height, :width],
                None if result.fused is None else image_of(result.fused)[:height, :width],
                (_planes(flow[:, :2])[:height, :width], _planes(flow[:, 2:])[:height, :width]),
                (_planes(resize_flow(classical[0], SCALE)), _planes(resize_flow(classical[1], SCALE))),
                _planes(resize_bilinear(result.mask, factor))[:height, :width, 0],
                result.scale[0].tolist(),
                result.probability[0].tolist(),
            )
        )
    return decisions


def overview(network: Safa, decisions: Sequence[Decision]) -> Image:
    """All times on one sheet: result, flow both ways, classical flow both ways and mask, small; and the scales."""
    longest = common_length(decisions)

    def row(name: str, pictures: Sequence[Image]) -> tuple[str, list[Image]]:
        height = max(1, round(THUMBNAIL * pictures[0].shape[0] / pictures[0].shape[1]))
        return name, [np.asarray(cv2.resize(p, (THUMBNAIL, height), interpolation=cv2.INTER_AREA)) for p in pictures]

    rows = [row("result", [decision.image for decision in decisions])]
    for end in (0, 1):
        rows.append(row(f"flow to {end}", [flow_picture(decision.flow[end], longest) for decision in decisions]))
        name = f"DIS flow to {end}"
        rows.append(row(name, [flow_picture(decision.classical[end], longest) for decision in decisions]))
    rows.append(row("mask", [mask_picture(decision.mask) for decision in decisions]))
    pictures = sheet(rows, [f"t = {decision.t:.3g}" for decision in decisions])
    return np.vstack([_to_width(picture, pictures.shape[1]) for picture in (pictures, scale_chart(network, decisions))])


def scale_chart(network: Safa, decisions: Sequence[Decision]) -> Image:
    """Draw the scale of each block over the times."""
    times = [decision.t for decision in decisions]
    return scale_picture([decision.scales for decision in decisions], times, network.config.scales)


def common_length(decisions: Sequence[Decision]) -> float:
    """One length of full saturation for all flow pictures, so that they can be compared; in output pixels."""
    return flow_length([flow for decision in decisions for flow in (*decision.flow, *decision.classical)])


def inspect_pair(
    network: Safa,
    frame0: Image,
    frame1: Image,
    folder: Path,
    times: Sequence[float] = (0, 0.25, 0.5, 0.75, 1),
    *,
    overwrite: bool = False,
    inputs: Sequence[Path] = (),
) -> list[Path]:
    """Write what the network decides for two low-resolution frames ``h,w,3`` into ``folder`` as PNG pictures.

    overview.png shows all times at once. For each time there are the result, the image fusion, flow to both frames,
    classical flow to both frames and the blend mask in full size; wheel.png is the legend of the flow pictures,
    scales.png the chart of the scales; decisions.json holds the numbers. Existing files are replaced only with
    ``overwrite``, those of ``inputs`` never.

    Returns:
        The files written, overview.png first.

    Raises:
        SafaError: the frames differ in size, or the folder cannot be written.
    """
    decisions = decide(network, frame0, frame1, times)
    longest = common_length(decisions)
    pictures = {
        "overview": overview(network, decisions),
        "wheel": wheel_picture(),
        "scales": scale_chart(network, decisions),
    }
    for decision in decisions:
        name = f"t{decision.t:.3f}"
        pictures[f"{name}_result"] = decision.image
        if decision.fused is not None:
            pictures[f"{name}_fusion"] = decision.fused
        for end in (0, 1):
            pictures[f"{name}_flow{end}"] = flow_picture(decision.flow[end], longest)
            pictures[f"{name}_classical{end}"] = flow_picture(decision.classical[end], longest)
        pictures[f"{name}_mask"] = mask_picture(decision.mask)
    numbers = {
        "scales": list(network.config.scales),
        "full_saturation_pixels": longest,
        "times": [
            {"t": one.t, "chosen_scale_of_blocks": one.scales, "probabilities_of_blocks": one.probabilities}
            for one in decisions
        ],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / f"{name}.png" for name in pictures]
        for path in (*written, folder / "decisions.json"):
            check_target(path, overwrite, inputs)
        for path, picture in zip(written, pictures.values(), strict=True):
            save_picture(picture, path)
        written.append(folder / "decisions.json")
        written[-1].write_text(json.dumps(numbers, indent=1))
    except OSError as error:
        raise OutputError(f"The pictures cannot be written to {folder}: {error.strerror}.") from error
    return written


def read_pair(path: Path, at: Fraction | None = None) -> tuple[Image, Image]:
    """Two consecutive frames of a video as players show them, the first at ``at`` seconds or right after; by default in
    the middle."""
    with VideoReader(path) as reader:
        start = (reader.info.duration or Fraction(0)) / 2 if at is None else at
    with VideoReader(path, start=start) as reader:
        for first, second in pairwise(reader.frames()):
            turns = reader.info.rotation // 90
            return to_8_bits(np.rot90(first.image, turns)), to_8_bits(np.rot90(second.image, turns))
    raise MediaError(f"{path} has no two frames from {float(start):g} s on; choose an earlier time.")


def _planes(tensor: Tensor) -> FloatImage:
    """``1,C,H,W`` -> ``H,W,C``."""
    return np.asarray(tensor[0].float().permute(1, 2, 0).cpu().numpy())


def _to_width(picture: Image, width: int) -> Image:
    padding = max(0, width - picture.shape[1])
    return np.pad(picture, ((0, 0), (0, padding), (0, 0)), constant_values=255)[:, :width]


def _size(frame: Image) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"


# The article's analyses: which scale the selector picks at which resolution, and what more times of a pair cost.

HEIGHTS = (240, 480, 1080, 2160)
FACTORS = (2, 4, 8, 16)


@dataclass(frozen=True)
class ScaleCounts:
    """Counts of each block's scales, on clips brought to one size."""

    height: int
    """Height of the output in pixels; the network's inputs have a quarter of it."""
    clips: tuple[str, ...]
    """Names of the clips that are large enough for this size."""
    scales: tuple[float, ...]
    counts: tuple[tuple[int, ...], ...]
    """Number of choices of each block for each of ``scales``."""

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
    """Operations of all k frames, 2 per multiply-add, of convolutions and matrix products."""
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
    """Measure the selector on the same pairs of frames at several sizes: are coarser scales picked on larger frames?

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
