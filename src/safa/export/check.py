"""Whether exported parts compute what PyTorch computes: each part alone, then all of them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from safa.export.parts import Part, Run, drive
from safa.network.safa import Safa

LIMIT = 1e-3
SIZES = ((24, 40), (72, 40), (56, 72))
"""Height and width: no squares, odd multiples of the network's 8 in both directions."""
TIMES = (0.0, 0.3)


@dataclass
class Comparison:
    """Largest differences found; of tensors beyond [-1, 1] in proportion to their largest value."""

    parts: dict[str, float] = field(default_factory=dict)
    """For each part, given PyTorch's own inputs."""
    image: float = 0.0
    """Of the image when every part has run in the other runtime."""

    @property
    def largest(self) -> float:
        return max(self.image, *self.parts.values())


@torch.no_grad()
def compare(network: Safa, parts: Sequence[Part], run: Run) -> Comparison:
    """Run every part at ``SIZES`` and ``TIMES``, at every forced scale and as the selector chooses.

    Args:
        run: the exported parts, tensors in and out.
    """
    modules = {part.name: part.module for part in parts}
    result = Comparison(dict.fromkeys(modules, 0.0))

    def both(name: str, *inputs: Tensor) -> Sequence[Tensor]:
        expected, given = modules[name](*inputs), run(name, *inputs)
        result.parts[name] = max(result.parts[name], _difference_of_outputs(expected, given))
        return expected

    for number, (height, width) in enumerate(SIZES):
        frame0, frame1, prior = _material(height, width, number)
        prior = prior if network.config.needs_flow else ()
        pair = network.encode(frame0, frame1, (prior[0], prior[1]) if prior else None)
        for time in TIMES:
            t = torch.tensor([time])
            for scale in (None, *range(len(network.config.scales))):
                expected = network.synthesize(pair, time, scale)
                used = expected.scale[0].tolist()
                inputs = (network.config, frame0, frame1, t, prior, used if scale is not None else None)
                image, _ = drive(both, *inputs)
                parts_differ = _difference(expected.image, image)
                # The scales are PyTorch's: where the selector is undecided, rounding may decide either way, and that
                # is no fault. Its own decisions were compared above.
                image, _ = drive(run, *inputs[:-1], used)
                result.image = max(result.image, parts_differ, _difference(expected.image, image))
    return result


def _material(height: int, width: int, seed: int) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
    """Two frames and smooth flows of up to 3 pixels both ways, some of it out of the picture."""
    generator = torch.Generator().manual_seed(seed)
    frames = [torch.rand(1, 3, height, width, generator=generator) for _ in range(2)]
    coarse = [6 * torch.rand(1, 2, 2, 3, generator=generator) - 3 for _ in range(2)]
    flows = [F.interpolate(field, (height, width), mode="bilinear", align_corners=True) for field in coarse]
    return frames[0], frames[1], flows


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
