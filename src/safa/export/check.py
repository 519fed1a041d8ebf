"""Comparison of exported parts with PyTorch: each part alone, then all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from safa.export.standalone_runtime import Run, Steps
from safa.export.subgraphs import NetworkPart
from safa.network.safa import Safa
from safa.network.synthesis import FrameState, PairState

LIMIT = 1e-3
SIZES = ((24, 40), (72, 40), (56, 72))
"""Height and width: no squares, odd multiples of the network's 8 in both directions."""
TIMES = (0.0, 0.3, 1.0)
FRAMES = 3
"""Frames in the window of a network with propagation: the one in the middle has neighbours on both sides."""


@dataclass
class Differences:
    """Largest differences found; of tensors beyond [-1, 1] in proportion to their largest value."""

    parts: dict[str, float] = field(default_factory=dict)
    """Difference of each part, given PyTorch's own inputs."""
    image: float = 0.0
    """Difference of the images when every part has run in the other runtime."""

    @property
    def largest(self) -> float:
        return max(self.image, *self.parts.values())


@torch.no_grad()
def compare(network: Safa, parts: Sequence[NetworkPart], run: Run) -> Differences:
    """Run every part at ``SIZES`` and ``TIMES``, at every forced scale and as the selector chooses.

    Args:
        run: the exported parts, tensors in and out.
    """
    modules = {part.name: part.module for part in parts}
    result = Differences(dict.fromkeys(modules, 0.0))

    def both(name: str, *inputs: Tensor) -> Sequence[Tensor]:
        expected, given = modules[name](*inputs), run(name, *inputs)
        result.parts[name] = max(result.parts[name], _difference_of_outputs(expected, given))
        return expected

    for number, (height, width) in enumerate(SIZES):
        frames, flows, change = _material(height, width, number, FRAMES if network.propagation is not None else 2)
        states, pair = _encoded(network, frames, flows, change)
        settings, place = network.config.to_dict(), len(frames) - 2
        requested = flows.__getitem__, {place: (*flows[place], change)}.__getitem__
        steps, there = (Steps(one, settings, frames, *requested) for one in (both, run))
        for at, state in enumerate(states):
            expected = state.enlarged
            for images in (steps, there):
                result.image = max(result.image, _difference(expected, images.frame(at)[0]))
        for time in TIMES:
            t = torch.tensor([time])
            for scale in (None, *range(len(network.config.scales))):
                made = network.synthesize(pair, time, scale)
                used = made.scale[0].tolist()
                image, _ = steps.between(place, t, used if scale is not None else None)
                parts_differ = _difference(made.image, image)
                # The scales are PyTorch's: where the selector is undecided, rounding may decide either way, and that
                # is no fault. Its own decisions were compared above.
                image, _ = there.between(place, t, used)
                result.image = max(result.image, parts_differ, _difference(made.image, image))
    return result


def _encoded(
    network: Safa, frames: Sequence[Tensor], flows: Sequence[tuple[Tensor, Tensor]], change: Tensor
) -> tuple[list[FrameState], PairState]:
    """Encode the frames of a window, and join the last two of them, in PyTorch."""
    if network.propagation is not None:
        states = network.encode_window(frames, flows)
        return states, network.encode_pair(states[-2], states[-1], (*flows[-1], change))
    states = [network.encode_frame(frame) for frame in frames]
    return states, network.encode_pair(states[-2], states[-1], flows[-1])


def _material(
    height: int, width: int, seed: int, count: int
) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]], Tensor]:
    """Frames, smooth flow of up to 3 pixels both ways between them, some of it out of the picture; its acceleration."""
    generator = torch.Generator().manual_seed(seed)

    def flow() -> Tensor:
        coarse = 6 * torch.rand(1, 2, 2, 3, generator=generator) - 3
        return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)

    frames = [torch.rand(1, 3, height, width, generator=generator) for _ in range(count)]
    return frames, [(flow(), flow()) for _ in range(count - 1)], flow()


def _difference_of_outputs(expected: Sequence[Tensor], given: Sequence[Tensor]) -> float:
    if len(expected) != len(given):
        return float("inf")
    undecided = len(expected) == 3 and bool(((expected[2] - 0.5).abs() <= LIMIT).any())
    pairs = [(a, b) for a, b in zip(expected, given, strict=True) if a.is_floating_point() or not undecided]
    return max(_difference(a, b) for a, b in pairs)


def _difference(expected: Tensor, given: Tensor) -> float:
    if expected.shape != given.shape or not bool(torch.isfinite(given).all()):
        return float("inf")
    size = max(1.0, float(expected.abs().max()))
    return float((expected.double() - given.double()).abs().max()) / size
