"""A folder that ``safa export`` made as a method to compare with, run as its users run it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from safa.engine.images import Array
from safa.errors import SafaError
from safa.evaluation.baselines import Method, along_stream
from safa.export.folder import FORMAT, read_card
from safa.export.run import FrameWindow, Graphs, Network
from safa.network import dis_flow
from safa.network.config import SCALE, SafaConfig
from safa.video.schedule.windows import Span


def exported_methods(folder: Path) -> list[Method]:
    """The network in an exported folder, most telling first: given the stream, where it looks along it, and given two
    frames.

    Raises:
        SafaError: the folder is something else, incomplete, or holds archives instead of ONNX graphs; or onnxruntime
            is missing.
    """
    card = read_card(folder)
    if card is None:
        raise SafaError(f"{folder} was not made by 'safa export'; give weights, an ONNX model or an exported folder.")
    if card["format"] != FORMAT:
        raise SafaError(f"{folder} has the format {card['format']}, this version reads {FORMAT}; export it again.")
    if card.get("kind") != "onnx":
        raise SafaError(
            f"{folder} holds torch.export archives, which are not measured because loading one may run code that it "
            "holds; measure the weights themselves, or export them with --format onnx."
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise SafaError(f"Running {folder} needs the package onnxruntime; install it.")
    try:
        missing = [name for name in card["parts"] if not (folder / name).is_file()]
        config, span = SafaConfig.from_dict(card["config"]), Span(card["window"]["length"], card["window"]["margin"])
        network = Network(folder, _Graphs(folder), dis_flow)
        if (card["multiple"], card["enlargement"]) != (config.multiple, SCALE):
            raise ValueError("sizes")
    except (KeyError, TypeError, ValueError) as error:
        raise SafaError(f"{folder / 'model.json'} is damaged; export the network again.") from error
    if missing:
        raise SafaError(f"{folder} has no {missing[0]}; export the network again.")

    def interpolate(frame0: Tensor, frame1: Tensor, times: Sequence[float]) -> Iterator[Tensor]:
        first, second = (frame[0].permute(1, 2, 0).numpy() for frame in (frame0, frame1))
        window = network.window([first, second])
        for t in times:
            yield torch.from_numpy(window.at(0, t)).permute(2, 0, 1).unsqueeze(0)

    name = folder.resolve().name
    if not config.propagation:
        return [Method(name, interpolate, None)]

    def pictures(window: FrameWindow, asks: Sequence[tuple[int, float]]) -> Iterator[Array]:
        return (window.at(place, t) for place, t in asks)

    stream = along_stream(span, network.window, pictures)
    return [
        Method(name, interpolate, None, stream=stream, pairs=span.length),
        Method(f"{name}, 2 frames", interpolate, None),
    ]


class _Graphs(Graphs):
    """Graphs whose errors are this package's."""

    def __call__(self, name: str, *inputs: np.ndarray) -> Sequence[Any]:
        try:
            return super().__call__(name, *inputs)
        except Exception as error:  # onnxruntime has no common base of its errors
            raise SafaError(f"The graph {name}.onnx cannot be run here; export the network again.") from error
