"""Graphs without weights for the ONNX engine: one set for each layout of networks.

Their tensors are named as in weights files and stored outside of the graphs, so that the engine can give a graph the
tensors of any network of its layout. Batch normalisation and the learned strength of residual blocks are folded into
the convolutions before them, as ``safa.engine.onnx.folded`` does with the tensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript  # noqa: F401  PyTorch's exporter needs it; better missed here than deep inside
import torch
from numpy.typing import NDArray
from onnx import compose, numpy_helper
from torch import Tensor, nn

from safa.engine.onnx import BLOCK, LAYOUT, folded
from safa.errors import SafaError
from safa.export.export import OPSET, tidy, traced
from safa.export.subgraphs import NetworkPart, dynamic_shapes, example_inputs, parts_of
from safa.network.config import SafaConfig
from safa.network.flow_block import block_channels
from safa.network.layers import ConvPReLU, ResidualBlock
from safa.network.parameters import Tensors, arrays_of
from safa.network.propagation import Propagation
from safa.network.safa import Safa

IR_VERSION = 10
SMALL = 8
"""Constants of no more numbers than this stay in the graph; none of a network's larger ones may."""

# The last of four bytes gives the sign of a word: what is 128 or more stands for 256 less.
COMMON = {
    "frame8": """
    frame8 (int32[height, width] words) => (float[1, 3, height, width] frame) {
        step = Constant <value = int32 {256}> ()
        white = Constant <value = float {255.0}> ()
        axes = Constant <value = int64[2] {0, 1}> ()
        upper = Div (words, step)
        upper_part = Mul (upper, step)
        red = Sub (words, upper_part)
        blue = Div (upper, step)
        blue_part = Mul (blue, step)
        green = Sub (upper, blue_part)
        red_plane = Unsqueeze (red, axes)
        green_plane = Unsqueeze (green, axes)
        blue_plane = Unsqueeze (blue, axes)
        planes = Concat <axis = 1> (red_plane, green_plane, blue_plane)
        numbers = Cast <to = 1> (planes)
        frame = Div (numbers, white)
    }""",
    "frame32": """
    frame32 (float[height, width, 3] picture) => (float[1, 3, height, width] frame) {
        axes = Constant <value = int64[1] {0}> ()
        planes = Transpose <perm = [2, 0, 1]> (picture)
        frame = Unsqueeze (planes, axes)
    }""",
    "store8": """
    store8 (float[1, 3, height, width] image, int64[2] start, int64[2] end) => (int32[count, 1] words) {
        axes = Constant <value = int64[2] {2, 3}> ()
        least = Constant <value = float {0.0}> ()
        most = Constant <value = float {1.0}> ()
        white = Constant <value = float {255.0}> ()
        shape = Constant <value = int64[2] {-1, 4}> ()
        sizes = Constant <value = int64[4] {1, 1, 1, 1}> ()
        half = Constant <value = float {0.0078125}> ()
        step1 = Constant <value = float {256.0}> ()
        step2 = Constant <value = float {65536.0}> ()
        step3 = Constant <value = int32 {16777216}> ()
        part = Slice (image, start, end, axes)
        clipped = Clip (part, least, most)
        scaled = Mul (clipped, white)
        whole = Round (scaled)
        pixels = Transpose <perm = [0, 2, 3, 1]> (whole)
        groups = Reshape (pixels, shape)
        byte0, byte1, byte2, byte3 = Split <axis = 1> (groups, sizes)
        part1 = Mul (byte1, step1)
        part2 = Mul (byte2, step2)
        low2 = Add (byte0, part1)
        low = Add (low2, part2)
        halves = Mul (byte3, half)
        negative = Floor (halves)
        less = Mul (negative, step1)
        signed = Sub (byte3, less)
        low_word = Cast <to = 6> (low)
        high_number = Cast <to = 6> (signed)
        high_word = Mul (high_number, step3)
        words = Add (low_word, high_word)
    }""",
    "store16": """
    store16 (float[1, 3, height, width] image, int64[2] start, int64[2] end) => (int32[count, 1] words) {
        axes = Constant <value = int64[2] {2, 3}> ()
        least = Constant <value = float {0.0}> ()
        most = Constant <value = float {1.0}> ()
        white = Constant <value = float {65535.0}> ()
        shape = Constant <value = int64[2] {-1, 2}> ()
        sizes = Constant <value = int64[2] {1, 1}> ()
        half = Constant <value = float {0.000030517578125}> ()
        step = Constant <value = float {65536.0}> ()
        step_word = Constant <value = int32 {65536}> ()
        part = Slice (image, start, end, axes)
        clipped = Clip (part, least, most)
        scaled = Mul (clipped, white)
        whole = Round (scaled)
        pixels = Transpose <perm = [0, 2, 3, 1]> (whole)
        groups = Reshape (pixels, shape)
        low, high = Split <axis = 1> (groups, sizes)
        halves = Mul (high, half)
        negative = Floor (halves)
        less = Mul (negative, step)
        signed = Sub (high, less)
        low_word = Cast <to = 6> (low)
        high_number = Cast <to = 6> (signed)
        high_word = Mul (high_number, step_word)
        words = Add (low_word, high_word)
    }""",
    "store32": """
    store32 (float[1, 3, height, width] image, int64[2] start, int64[2] end) => (float[1, rows, columns, 3] pixels) {
        axes = Constant <value = int64[2] {2, 3}> ()
        least = Constant <value = float {0.0}> ()
        most = Constant <value = float {1.0}> ()
        part = Slice (image, start, end, axes)
        clipped = Clip (part, least, most)
        pixels = Transpose <perm = [0, 2, 3, 1]> (clipped)
    }""",
}
"""Graphs that have no weights, the same for every layout, in ONNX's own notation."""

_PICK = """
    pick (float[1, channels, rows, columns] x, int64[2] start, int64[2] end) => (float[1, channels, r, c] seen) {
        axes = Constant <value = int64[2] {2, 3}> ()
        steps = Constant <value = int64[2] {2, 2}> ()
        seen = Slice (x, start, end, axes, steps)
    }"""


@dataclass(frozen=True)
class Graph:
    """A graph, and for each of its external tensors the name in weights files and the shape."""

    model: onnx.ModelProto
    tensors: dict[str, tuple[str, list[int]]]


def write_graphs(config: SafaConfig, folder: Path) -> None:
    """Write all graphs of a layout, and ``LAYOUT``, which lists them, into ``folder``; what it held is deleted."""
    graphs = dict(graphs_of(config))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, graph in graphs.items():
        (folder / f"{name}.onnx").write_bytes(graph.model.SerializeToString(deterministic=True))
    tensors = {name: graph.tensors for name, graph in graphs.items()}
    text = json.dumps({"config": config.to_dict(), "tensors": tensors}, indent=1, sort_keys=True)
    (folder / LAYOUT).write_text(text + "\n", encoding="utf-8")


def graphs_of(config: SafaConfig, names: Collection[str] | None = None) -> Iterator[tuple[str, Graph]]:
    """Yield the graphs of a layout, ``COMMON`` among them, with their names: those in ``names``, or all."""
    torch.manual_seed(0)
    network = Safa(config).eval()
    with torch.no_grad():
        for parameter in (*network.parameters(), *network.buffers()):
            if parameter.is_floating_point():  # all different, so that a tensor is known by its values
                parameter.uniform_(0.5, 1.5)
    tensors = folded(arrays_of(network))
    fold_modules(network, tensors)
    for name, text in COMMON.items():
        if names is None or name in names:
            yield name, Graph(_parsed(text), {})
    for part in _parts(network):
        if names is not None and part.name not in names:
            continue
        model = _exported(part, config)
        if part.name == "selector" and config.selects:
            model = _with_judge(model, network)
        yield part.name, _without_weights(model, tensors)


def fold_modules(network: Safa, tensors: Tensors) -> None:
    """Give a module the folded ``tensors`` of its own parameters: no batch normalisation, no ``beta``."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
            elif isinstance(child, ResidualBlock):
                setattr(module, name, _PlainResidual(child))
    for name, conv in network.named_modules():
        if isinstance(conv, nn.Conv2d) and conv.bias is None and f"{name}.bias" in tensors:
            conv.bias = nn.Parameter(torch.empty(conv.out_channels))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    network.requires_grad_(False).eval()


class _PlainResidual(nn.Module):
    """A residual block with ``beta`` folded into its second convolution."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.conv1: ConvPReLU = block.conv1
        self.conv2, self.act = block.conv2, block.act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.conv2(self.conv1(x)))


class _FirstBackward(nn.Module):
    def __init__(self, propagation: Propagation) -> None:
        super().__init__()
        self.propagation = propagation

    def forward(self, own: Tensor) -> tuple[Tensor]:
        return (self.propagation.backward_pass((own,), None),)


class _FirstForward(nn.Module):
    def __init__(self, propagation: Propagation) -> None:
        super().__init__()
        self.propagation = propagation

    def forward(self, own: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
        state = self.propagation.forward_pass((own, back), None)
        return state, self.propagation.refine(self.propagation.join(back, state))


class _Input(nn.Module):
    def __init__(self, network: Safa) -> None:
        super().__init__()
        self.network = network

    def forward(self, hidden: Tensor, features0: Tensor, features1: Tensor, flow: Tensor, t: Tensor) -> tuple[Tensor]:
        return (self.network.block_input(hidden, features0, features1, flow, t),)


class _Judge(nn.Module):
    def __init__(self, network: Safa) -> None:
        super().__init__()
        self.selector = network.selector

    def forward(self, seen: Tensor) -> tuple[Tensor]:
        assert self.selector is not None
        return (self.selector.judge(seen),)


def _parts(network: Safa) -> Iterator[NetworkPart]:
    """Yield the parts that ``safa export`` writes, once for all blocks, and the first steps of both passes."""
    for part in parts_of(network):
        if part.name == "selector":
            inputs = ("hidden", "features0", "features1", "flow", "t")
            yield NetworkPart("selector", _Input(network), inputs, ("x",))
        elif part.name.startswith("block0_"):
            yield NetworkPart(part.name.replace("block0_", "block_"), part.module, part.inputs, part.outputs)
        elif not part.name.startswith("block"):
            yield part
    if network.propagation is not None:
        yield NetworkPart("backward_first", _FirstBackward(network.propagation), ("own",), ("next_state",))
        outputs = ("next_state", "features")
        yield NetworkPart("forward_first", _FirstForward(network.propagation), ("own", "back"), outputs)


def _exported(part: NetworkPart, config: SafaConfig) -> onnx.ModelProto:
    model = traced(part, example_inputs(part, config), dynamic_shapes(part, config))
    tidy(model, config)
    return model


def _with_judge(model: onnx.ModelProto, network: Safa) -> onnx.ModelProto:
    """Add what the selector makes of the pixels that are picked of ``x``."""
    part = NetworkPart("judge", _Judge(network), ("seen",), ("logit",))
    rows, columns = torch.export.Dim("rows", min=1, max=16384), torch.export.Dim("columns", min=1, max=16384)
    seen = torch.rand(1, block_channels(network.config.channels), 12, 20)
    judge = traced(part, (seen,), ({2: rows, 3: columns},))
    del judge.graph.value_info[:], judge.functions[:]
    pick = _parsed(_PICK)
    pick.ir_version = judge.ir_version = model.ir_version
    pick = compose.add_prefix(pick, "pick.")
    judge = compose.add_prefix(judge, "judge.")
    both = compose.merge_models(pick, judge, io_map=[("pick.seen", "judge.seen")])
    merged = compose.merge_models(model, both, io_map=[("x", "pick.x")], outputs=["x", "judge.logit"])
    plain = {"judge.logit": "logit", "pick.start": "start", "pick.end": "end"}
    for node in merged.graph.node:
        node.input[:] = [plain.get(name, name) for name in node.input]
        node.output[:] = [plain.get(name, name) for name in node.output]
    for value in (*merged.graph.input, *merged.graph.output):
        value.name = plain.get(value.name, value.name)
    return merged


def _without_weights(model: onnx.ModelProto, tensors: Mapping[str, NDArray[Any]]) -> Graph:
    """Make the weights of a graph external, keeping their types and shapes; drop unused ones."""
    graph = model.graph
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    known = {tensor.tobytes(): name for name, tensor in tensors.items()}
    expected: dict[str, tuple[str, list[int]]] = {}
    renamed: dict[str, str] = {}
    kept = []
    for initializer in graph.initializer:
        if initializer.name not in used:
            continue
        value = numpy_helper.to_array(initializer)
        name = known.get(np.ascontiguousarray(value).tobytes()) if value.dtype == np.float32 else None
        if name is not None:
            name = name.replace("blocks.0.", BLOCK)
            place = name if name not in expected else f"{name}/{len(expected)}"
            expected[place], renamed[initializer.name] = (name, list(value.shape)), place
            initializer.ClearField("raw_data")
            initializer.data_location = onnx.TensorProto.EXTERNAL
            for key, text in (("location", "weights"), ("offset", "0"), ("length", str(value.nbytes))):
                initializer.external_data.add(key=key, value=text)
            initializer.name = place
        elif value.size > SMALL:
            raise SafaError(f"The graph {graph.name} has a constant {initializer.name} that is no tensor of a network.")
        kept.append(initializer)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.doc_string = ""
        del node.metadata_props[:]
    del graph.initializer[:]
    graph.initializer.extend(sorted(kept, key=lambda one: one.name))
    for one in graph.initializer:
        one.doc_string = ""
        del one.metadata_props[:]
    graph.name, graph.doc_string, model.doc_string = "safa", "", ""
    del graph.metadata_props[:], model.metadata_props[:], graph.value_info[:]
    model.producer_name, model.producer_version = "safa-video", ""
    model.ir_version = IR_VERSION
    return Graph(model, expected)


def _parsed(text: str) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: {IR_VERSION}, opset_import: ["": {OPSET}]>{text}')
    onnx.checker.check_model(model, full_check=True)
    return model
