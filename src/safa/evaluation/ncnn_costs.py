"""Parameters and operations of a network for ncnn, from its description (the text of a ``.param`` file).

A line holds a layer's type and name, how many inputs and outputs it has, their names, and settings as ``key=value``:
of a convolution 3 is the stride, 5 whether it has a bias, 6 the number of weights and 0 that of outputs; of Interp 1
and 2 are the factors, of PixelShuffle 0.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NcnnCosts:
    """Parameters and operations of a fully convolutional network."""

    parameters: int
    operations: float
    """Of its convolutions, for each pixel of the input, 2 a multiply-add."""


def ncnn_costs(description: str) -> NcnnCosts:
    """Add up the layers of a ``.param`` file."""
    parameters, operations = 0, 0.0
    scales: dict[str, float] = {}  # sides of what a layer gives, in sides of the input
    for line in description.splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        sources, count = rest[: int(inputs)], int(inputs) + int(outputs)
        settings = dict(one.split("=", 1) for one in rest[count:])
        scale = max((scales[source] for source in sources), default=1.0)
        if kind == "Convolution":
            scale /= int(settings.get("3", 1))
            weights = int(settings["6"])
            parameters += weights + int(settings.get("5", 0)) * int(settings["0"])
            operations += 2 * weights * scale**2
        elif kind == "PReLU":
            parameters += int(settings["0"])
        elif kind == "Interp":
            scale *= float(settings.get("1", 1))
        elif kind == "PixelShuffle":
            scale *= int(settings["0"])
        scales.update(dict.fromkeys(rest[int(inputs) : count], scale))
    return NcnnCosts(parameters, operations)
