"""Parts as ONNX graphs, through PyTorch's exporter, and a runner of them on ONNX Runtime."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import onnxscript  # noqa: F401  PyTorch's exporter needs it; better missed here than deep inside
import torch
from torch import Tensor

from safa.export.parts import NetworkPart, shape_of
from safa.export.run import Graphs, Run
from safa.export.sizes import dynamic_shapes, example_inputs
from safa.network.config import SafaConfig


class OnnxWriter:
    """Writes parts as graphs, and runs them."""

    suffix = ".onnx"
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    opset: int | None = 18

    def write(self, part: NetworkPart, config: SafaConfig, path: Path, facts: dict[str, Any]) -> None:
        """Export one part; ``facts`` become the graph's metadata."""
        with _quiet():
            program = torch.onnx.export(
                part.module,
                example_inputs(part, config),
                dynamo=True,
                opset_version=self.opset,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                dynamic_shapes=dynamic_shapes(part, config),
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
        _tidy(model, config)
        model.producer_name, model.producer_version = "safa-video", str(facts["safa"])
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
        onnx.helper.set_model_props(model, {**values, "part": part.name})
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))

    def runner(self, folder: Path) -> Run:
        """Run the graphs in ``folder`` on the CPU, tensors in and out."""
        graphs = Graphs(folder)

        def run(name: str, *inputs: Tensor) -> list[Tensor]:
            return [torch.from_numpy(value) for value in graphs(name, *(value.numpy() for value in inputs))]

        return run


def _tidy(model: onnx.ModelProto, config: SafaConfig) -> None:
    """Call sides by plain names and leave out what the exporter notes about the code it came from."""
    graph = model.graph
    for value in (*graph.input, *graph.output):
        for dimension, side in zip(value.type.tensor_type.shape.dim, shape_of(value.name, config), strict=True):
            if isinstance(side, str):
                dimension.dim_param = side
    del graph.value_info[:]  # these use the exporter's names for the sides; runtimes infer them again
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    graph.doc_string = ""
    del graph.metadata_props[:]
    del model.functions[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells of packages it would also know, of names of axes, which are set afterwards, and of constants
    that are an output, as a fixed scale is.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
