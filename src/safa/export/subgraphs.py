"""A network cut into the parts that other programs run one after the other.

No part contains a decision: the selector says which scale a block should work at, and the caller runs the graph of
that block at that scale. So any runtime can follow it, and what is not chosen costs nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from safa.network.config import SCALE, SafaConfig
from safa.network.flow_block import FLOW_CHANNELS, ScaleAdaptiveBlock, block_channels, chosen_scale
from safa.network.propagation import Propagation
from safa.network.safa import Safa
from safa.network.synthesis import FrameState

Module_ = TypeVar("Module_", bound=nn.Module)


@dataclass(frozen=True)
class NetworkPart:
    """One graph: a module, and the names of what goes in and comes out, in order."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def parts_of(network: Safa) -> list[NetworkPart]:
    """All parts of a network in evaluation mode, in the order in which ``safa.export.standalone_runtime`` runs them."""
    config = network.config
    prior: tuple[str, ...] = ("forward", "backward") if config.flow_prior == "dis" else ()
    if prior and network.propagation is not None:
        prior = *prior, "acceleration"
    decided = ("scale", "probability") if config.selects else ("scale",)
    features = ("features0", "features1")
    pictures = ("enlarged0", "enlarged1")
    carried = ("hidden",) if network.propagation is not None else ()
    if network.propagation is None:
        parts = [NetworkPart("encoder", _Encoder(_with(network, "extractor")), ("frame",), ("enlarged", "features"))]
    else:
        parts = _window_parts(network, network.propagation)
    parts += [
        NetworkPart("pair", _Pair(_with(network, "first_hidden")), features, ("hidden",)),
        NetworkPart("start", _Start(_with(network)), ("hidden", "t", *prior), ("flow",)),
        NetworkPart(
            "selector", _Selector(_with(network, "selector")), ("hidden", *features, "flow", "t"), ("x", *decided)
        ),
    ]
    for number, block in enumerate(network.blocks):
        assert isinstance(block, ScaleAdaptiveBlock)
        for index in range(len(config.scales)):
            work = _Block(_with_branch(block, index), network.flow_head, index)
            parts.append(NetworkPart(block_name(number, index), work, ("x", "flow"), ("next_hidden", "next_flow")))
    seen = (*pictures, *features, *carried, "flow", "t")
    parts.append(NetworkPart("synthesis", _Synthesis(_with(network, "decoder")), seen, ("image",)))
    for part in parts:
        part.module.eval()
    return parts


def _window_parts(network: Safa, propagation: Propagation) -> list[NetworkPart]:
    """Parts that encode the frames of a window: steps for one frame each, so that a window may have any length."""
    forward_step = _ForwardStep(_only(propagation, "forward_pass", "joint", "refine"))
    finish = _with(network)
    finish._modules["propagation"] = _only(propagation, "decoder")
    return [
        NetworkPart("encoder", _Extractor(_with(network, "extractor")), ("frame",), ("own",)),
        NetworkPart(
            "backward_step",
            _BackwardStep(_only(propagation, "backward_pass")),
            ("own", "state", "forward"),
            ("next_state",),
        ),
        NetworkPart("forward_step", forward_step, ("own", "back", "state", "backward"), ("next_state", "features")),
        NetworkPart("finish", _Finish(finish), ("frame", "features"), ("enlarged",)),
    ]


def block_name(block: int, scale: int) -> str:
    """Name of the part that is one block (from 0) at one scale (index into ``SafaConfig.scales``)."""
    return f"block{block}_scale{scale}"


def shape_of(name: str, config: SafaConfig) -> tuple[int | str, ...]:
    """Shape of one of the parts' inputs or outputs; sides are "height" and "width" of the input frame, or multiples."""
    paper = config.grid == "paper"
    features, flow = (2, 4) if paper else (1, 1)
    c = config.channels
    kind = name.removeprefix("next_").rstrip("01")
    if kind in ("t", "scale"):
        return (1,)
    if kind == "probability":
        return (1, len(config.scales) - 1)
    channels, factor = {
        "frame": (3, 1),
        "forward": (2, 1),
        "backward": (2, 1),
        "acceleration": (2, 1),
        "enlarged": (3, SCALE),
        "image": (3, SCALE),
        "features": (c, features),
        "hidden": (c, features),
        "own": (c, features),
        "back": (c, features),
        "state": (c, features),
        "x": (block_channels(c), features),
        "flow": (FLOW_CHANNELS, flow),
    }[kind]
    return (1, channels, *(side if factor == 1 else f"{factor}*{side}" for side in ("height", "width")))


def type_of(name: str) -> str:
    """Number type of one of the parts' inputs or outputs."""
    return "int64" if name == "scale" else "float32"


def _only(module: Module_, *names: str) -> Module_:
    """The module with only some of its children: a part must not carry the weights of the others."""
    view = copy.copy(module)
    # A child that is None (no selector, no decoder) stays: the network's steps ask for it.
    view._modules = {name: child for name, child in module._modules.items() if name in names or child is None}
    return view


def _with(network: Safa, *names: str) -> Safa:
    """Keep some children, as ``_only``, and an empty shell of the propagation, which the network's steps ask for."""
    view = _only(network, *names)
    if network.propagation is not None:
        view._modules["propagation"] = _only(network.propagation)
    return view


def _with_branch(block: ScaleAdaptiveBlock, index: int) -> ScaleAdaptiveBlock:
    """The block with the one branch that scale ``index`` uses."""
    view = copy.copy(block)
    view._modules = {"branches": nn.ModuleList([block.branches[index % len(block.branches)]])}
    return view


class _NetworkPart(nn.Module):
    def __init__(self, network: Safa) -> None:
        super().__init__()
        self.network = network


class _Encoder(_NetworkPart):
    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        state = self.network.encode_frame(frame)
        return state.enlarged, state.features


class _Extractor(_NetworkPart):
    def forward(self, frame: Tensor) -> tuple[Tensor]:
        return (self.network.extractor(frame),)


class _BackwardStep(nn.Module):
    def __init__(self, propagation: Propagation) -> None:
        super().__init__()
        self.propagation = propagation

    def forward(self, own: Tensor, state: Tensor, forward: Tensor) -> tuple[Tensor]:
        return (self.propagation.backward_pass((own,), (state, forward)),)


class _ForwardStep(nn.Module):
    def __init__(self, propagation: Propagation) -> None:
        super().__init__()
        self.propagation = propagation

    def forward(self, own: Tensor, back: Tensor, state: Tensor, backward: Tensor) -> tuple[Tensor, Tensor]:
        state = self.propagation.forward_pass((own, back), (state, backward))
        return state, self.propagation.refine(self.propagation.join(back, state))


class _Finish(_NetworkPart):
    def forward(self, frame: Tensor, features: Tensor) -> tuple[Tensor]:
        return (self.network.finish_frame(frame, features).enlarged,)


class _Pair(_NetworkPart):
    def forward(self, features0: Tensor, features1: Tensor) -> tuple[Tensor]:
        return (self.network.first_hidden(torch.cat((features0, features1), dim=1)),)


class _Start(_NetworkPart):
    def forward(self, hidden: Tensor, t: Tensor, *prior: Tensor) -> tuple[Tensor]:
        return (self.network.initial_flow(hidden, t, prior or None),)


class _Selector(_NetworkPart):
    def forward(
        self, hidden: Tensor, features0: Tensor, features1: Tensor, flow: Tensor, t: Tensor
    ) -> tuple[Tensor, ...]:
        x = self.network.block_input(hidden, features0, features1, flow, t)
        if self.network.selector is None:
            return x, torch.full((1,), self.network.config.fixed_scale or 0, dtype=torch.long, device=x.device)
        logit = self.network.selector(x)
        return x, chosen_scale(logit), torch.sigmoid(logit)


class _Block(nn.Module):
    def __init__(self, block: ScaleAdaptiveBlock, flow_head: nn.Module, index: int) -> None:
        super().__init__()
        self.block, self.flow_head, self.index = block, flow_head, index

    def forward(self, x: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.block.at_scale(x, self.index)
        return hidden, flow + self.flow_head(hidden)


class _Synthesis(_NetworkPart):
    def forward(
        self, enlarged0: Tensor, enlarged1: Tensor, features0: Tensor, features1: Tensor, *last: Tensor
    ) -> tuple[Tensor]:
        *hidden, flow, t = last
        frames = FrameState(enlarged0, features0), FrameState(enlarged1, features1)
        return (self.network.compose(*frames, flow, t, *hidden)[0],)


# Dynamic sides of a part's inputs, as the exporters take them.

LARGEST = 16384
"""Pixels along a side of an input frame, at most."""

_EXAMPLE = {"height": 24, "width": 40}


def example_inputs(part: NetworkPart, config: SafaConfig) -> tuple[Tensor, ...]:
    """Inputs of one size, for tracing."""
    generator = torch.Generator().manual_seed(0)
    shapes = [[_length(side, _EXAMPLE) for side in shape_of(name, config)] for name in part.inputs]
    return tuple(torch.rand(shape, generator=generator) for shape in shapes)


def dynamic_shapes(part: NetworkPart, config: SafaConfig) -> tuple[Any, ...]:
    """Return the free axes of each input: multiples of the network's multiple, all tied to one height and width."""
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
