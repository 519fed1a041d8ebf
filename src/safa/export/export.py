"""Parts as ``torch.export`` archives (.pt2), for programs that have PyTorch but not this package."""

from __future__ import annotations

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnxruntime
import torch
from torch import Tensor

from safa.checkpoint import Checkpoint, load_checkpoint, shipped_names
from safa.errors import CheckFailed, OutputError, SafaError, to_install
from safa.export import standalone_runtime
from safa.export.check import LIMIT, SIZES, TIMES, Differences, compare
from safa.export.standalone_runtime import Archives, Graphs, Run
from safa.export.subgraphs import NetworkPart, block_name, dynamic_shapes, example_inputs, parts_of, shape_of, type_of
from safa.network import dis_flow
from safa.network.config import SCALE, SafaConfig
from safa.upscaler.upscaler import span_of


class ArchiveWriter:
    """Writes parts as archives, and runs them."""

    suffix = ".pt2"
    runtime = f"PyTorch {torch.__version__}"
    opset: int | None = None

    def write(self, part: NetworkPart, config: SafaConfig, path: Path, facts: dict[str, Any]) -> None:
        """Export one part; ``facts`` lie in the archive as the extra file "model.json"."""
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(
                part.module, example_inputs(part, config), dynamic_shapes=dynamic_shapes(part, config)
            )
            program.example_inputs = None  # they would be stored, and pickled at that
            torch.export.save(program, path, extra_files={"model.json": json.dumps({**facts, "part": part.name})})

    def runner(self, folder: Path) -> Run:
        """Run the archives in ``folder`` on the CPU."""
        return Archives(folder)


# Parts as ONNX graphs, through PyTorch's exporter, and a runner of them on ONNX Runtime.

OPSET = 18


class OnnxWriter:
    """Writes parts as graphs, and runs them."""

    suffix = ".onnx"
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    opset: int | None = OPSET

    def write(self, part: NetworkPart, config: SafaConfig, path: Path, facts: dict[str, Any]) -> None:
        """Export one part; ``facts`` become the graph's metadata."""
        model = traced(part, example_inputs(part, config), dynamic_shapes(part, config))
        tidy(model, config)
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


def traced(part: NetworkPart, inputs: tuple[Tensor, ...], sides: tuple[Any, ...]) -> onnx.ModelProto:
    """Export a part as PyTorch's exporter leaves it.

    Args:
        inputs: examples of what goes in.
        sides: free axes of each input, as ``subgraphs.dynamic_shapes`` gives them.
    """
    with _quiet():
        program = torch.onnx.export(
            part.module.eval(),
            inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            dynamic_shapes=sides,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


def tidy(model: onnx.ModelProto, config: SafaConfig) -> None:
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
    """Silence the exporter's warnings of packages that it also supports, of names of axes, which are set afterwards,
    and of constants that are an output, as a fixed scale is.
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


# Writes a folder with all parts of a network, checks it, and lets it appear by one rename.

FORMATS = ("onnx", "torch")
FORMAT = "safa-export/2"
CARD = "model.json"
RUN = "run.py"
"""File that runs the parts: a copy of ``safa.export.standalone_runtime``."""
FLOW = "flow.py"
"""The classical flow that the network starts from, where it uses one: a copy of ``safa.network.dis_flow``."""


@dataclass
class Exported:
    """Files of an export and their differences to PyTorch."""

    folder: Path
    files: list[str]
    bytes: int
    runtime: str
    """Runtime that the check ran on."""
    differences: Differences


def export_model(
    weights: str | Path,
    output: Path,
    format: str = "onnx",
    overwrite: bool = False,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Exported:
    """Write a network's parts and ``model.json``, which describes them, into the folder ``output``.

    Every part is run at three sizes, at every forced scale and as the selector chooses, and compared with PyTorch
    before the folder gets its name.

    Args:
        weights: a shipped name or a file.
        format: "onnx" (graphs, opset 18) or "torch" (``torch.export`` archives, .pt2).
        overwrite: replace a folder that an earlier export made; any other existing name is refused.
        on_progress: called with the part's name, how many are done, and how many there are.

    Raises:
        SafaError: no such weights or format, a package is missing, or the folder cannot be written.
        CheckFailed: a difference is above 1e-3 (of images in [0, 1]); nothing is left under the name.
    """
    if format not in FORMATS:
        raise SafaError(f"There is no format '{format}'; use {' or '.join(FORMATS)}.")
    _check_output(output, overwrite)
    writer = _writer(format)
    checkpoint = load_checkpoint(weights)
    network = checkpoint.network
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    parts = parts_of(network)
    temporary = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        temporary.mkdir()
        facts = _facts(checkpoint, format, writer)
        for done, part in enumerate(parts):
            if on_progress is not None:
                on_progress(part.name, done, len(parts))
            writer.write(part, network.config, temporary / f"{part.name}{writer.suffix}", facts)
        if on_progress is not None:
            on_progress("checking", len(parts), len(parts))
        found = compare(network, parts, writer.runner(temporary))
        _require_equal(found, writer.runtime)
        card = {**facts, **_description(checkpoint, parts, writer.suffix), "check": _check_facts(found, writer.runtime)}
        (temporary / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        shutil.copyfile(standalone_runtime.__file__, temporary / RUN)
        if network.config.needs_flow:
            shutil.copyfile(dis_flow.__file__, temporary / FLOW)
        files = sorted(path.name for path in temporary.iterdir())
        size = sum(path.stat().st_size for path in temporary.iterdir())
        _put_in_place(temporary, output)
    except OSError as error:
        raise OutputError(f"The folder {output} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(output, files, size, writer.runtime, found)


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.parent.is_dir():
        raise OutputError(f"{output.parent} is no folder; make it first or choose another output.")
    if not output.exists():
        return
    if not overwrite:
        raise OutputError(f"{output} exists; choose another name or add --overwrite.")
    card = read_card(output)
    if card is None:
        raise OutputError(f"{output} was not made by 'safa export' and is not replaced; choose another name.")
    made = {CARD, RUN, FLOW, "__pycache__", *card.get("parts", ())}
    others = sorted(path.name for path in output.iterdir() if path.name not in made)
    if others:
        raise OutputError(
            f"{output} holds {others[0]}, which 'safa export' did not make; move it away or choose another name."
        )


def read_card(folder: Path) -> dict[str, Any] | None:
    """Read ``model.json`` of an exported folder, which holds at least "format"; None for any other folder."""
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(card, dict) and str(card.get("format", "")).startswith(FORMAT.partition("/")[0] + "/")
    return card if ours else None


class _Writer(Protocol):
    """One format: writes parts, and runs what was written."""

    suffix: str
    runtime: str
    opset: int | None

    def write(self, part: NetworkPart, config: SafaConfig, path: Path, facts: dict[str, Any]) -> None: ...

    def runner(self, folder: Path) -> standalone_runtime.Run: ...


def _writer(format: str) -> _Writer:
    try:
        if format == "onnx":
            from safa.export.export import OnnxWriter

            return OnnxWriter()
        from safa.export.export import ArchiveWriter

        return ArchiveWriter()
    except ModuleNotFoundError as error:
        raise SafaError(f"Exporting needs {error.name}; install it with: {to_install('export')}.") from error


def _facts(checkpoint: Checkpoint, format: str, writer: _Writer) -> dict[str, Any]:
    """Return the metadata that is stored in every part of an export."""
    if checkpoint.name in shipped_names():
        licence = (
            f"safa-video: MIT. Weights: sources and licences are in {checkpoint.name}.md beside them in safa-video."
        )
    else:
        licence = "safa-video: MIT. Weights: ask whoever trained them."
    facts = {
        "format": FORMAT,
        "kind": format,
        "safa": version("safa-video"),
        "weights": checkpoint.name,
        "weights_sha256": checkpoint.sha256,
        "licence": licence,
        "config": checkpoint.config.to_dict(),
    }
    return facts if writer.opset is None else {**facts, "opset": writer.opset}


def _description(checkpoint: Checkpoint, parts: list[NetworkPart], suffix: str) -> dict[str, Any]:
    config = checkpoint.config

    def tensors(names: tuple[str, ...]) -> list[dict[str, Any]]:
        return [{"name": name, "shape": shape_of(name, config), "type": type_of(name)} for name in names]

    scales, span = range(len(config.scales)), span_of(config)
    return {
        "enlargement": SCALE,
        "multiple": config.multiple,
        "needs_flow": config.needs_flow,
        "flow": FLOW if config.needs_flow else None,
        "run": RUN,
        "window": {"length": span.length, "margin": span.margin},
        "scales": config.scales,
        "blocks": [[f"{block_name(block, scale)}{suffix}" for scale in scales] for block in range(config.blocks)],
        "parts": {
            f"{part.name}{suffix}": {"inputs": tensors(part.inputs), "outputs": tensors(part.outputs)} for part in parts
        },
    }


def _check_facts(found: Differences, runtime: str) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "sizes": [f"{width}x{height}" for height, width in SIZES],
        "times": TIMES,
        "largest_difference": found.largest,
        "image": found.image,
        "parts": found.parts,
    }


def _require_equal(found: Differences, runtime: str) -> None:
    if found.largest <= LIMIT:
        return
    names = [name for name, difference in found.parts.items() if difference > LIMIT] or ["the whole"]
    raise CheckFailed(
        f"The exported network differs from PyTorch by {found.largest:.2g} (at most {LIMIT:g} is allowed) in "
        f"{runtime}: {', '.join(names)}. Nothing was written; another version of the runtime may do better."
    )


def _put_in_place(temporary: Path, output: Path) -> None:
    """Give the folder its name; the one it replaces goes only then."""
    if not output.exists():
        os.replace(temporary, output)
        return
    aside = output.with_name(f".{output.name}.{os.getpid()}.old")
    os.replace(output, aside)
    try:
        os.replace(temporary, output)
    except OSError:
        os.replace(aside, output)
        raise
    shutil.rmtree(aside, ignore_errors=True)
