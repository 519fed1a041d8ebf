"""Dynamic sides of a part's inputs, as the exporters take them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from safa.export.parts import NetworkPart, shape_of, type_of
from safa.network.config import SafaConfig

LARGEST = 16384
"""Pixels along a side of an input frame, at most."""

_EXAMPLE = {"height": 24, "width": 40}


def example_inputs(part: NetworkPart, config: SafaConfig) -> tuple[Tensor, ...]:
    """Inputs of one size, for tracing."""
    generator = torch.Generator().manual_seed(0)
    shapes = [[_length(side, _EXAMPLE) for side in shape_of(name, config)] for name in part.inputs]
    return tuple(torch.rand(shape, generator=generator) for shape in shapes)


def dynamic_shapes(part: NetworkPart, config: SafaConfig) -> tuple[Any, ...]:
    """For each input, which axes are free: multiples of the network's multiple, all tied to one height and width."""
    assert all(type_of(name) == "float32" for name in part.inputs)
    roots = {
        side: torch.export.Dim(f"{side}_units", min=1, max=LARGEST // config.multiple) for side in ("height", "width")
    }
    free = []
    for name in part.inputs:
        axes = {axis: side for axis, side in enumerate(shape_of(name, config)) if isinstance(side, str)}
        free.append({axis: config.multiple * _factor(side) * roots[side.split("*")[-1]] for axis, side in axes.items()})
    # A part with *arguments takes them as one tuple.
    named = part.module.forward.__code__.co_argcount - 1
    return tuple(free) if named == len(free) else (*free[:named], tuple(free[named:]))


def _factor(side: str) -> int:
    return int(side.split("*")[0]) if "*" in side else 1


def _length(side: int | str, lengths: dict[str, int]) -> int:
    return side if isinstance(side, int) else _factor(side) * lengths[side.split("*")[-1]]
