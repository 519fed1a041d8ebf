"""Networks to measure, and frames to give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from safa.checkpoint import Checkpoint, load_checkpoint
from safa.engine import Engine, pick_engine
from safa.engine.device import pick_device
from safa.errors import SafaError, needs_pytorch
from safa.network.dis_flow import Flow
from safa.upscaler.upscaler import span_of

# The paper's layout with random weights: speed at a forced scale does not depend on their values.
PAPER = "paper"

# The engines that a comparison is about, with their precision where there are several.
ENGINES = ("torch", "native")


def engine_called(name: str, checkpoint: Checkpoint, device: str) -> Engine:
    """The engine with a name such as "native" (its usual precision) or "native:float32"."""
    engine, _, precision = name.partition(":")
    return pick_engine(engine, checkpoint, device, precision or "auto")


def usable_engines(device: str) -> tuple[list[str], list[str]]:
    """Those of ``ENGINES`` that run on ``device`` here, and a sentence for each that does not.

    Raises:
        SafaError: there is no such device here.
    """
    place, checkpoint, usable, obstacles = pick_device(device), load_checkpoint(), [], []
    for name in ENGINES:
        try:
            usual = pick_engine(name, checkpoint, place, "auto").precision
        except SafaError as error:
            obstacles.append(str(error))
        else:
            usable += [name] if usual == "float32" else [f"{name}:float32", f"{name}:{usual}"]
    return usable, obstacles


def network_called(name: str) -> Checkpoint:
    """Shipped weights, a file, or "paper", which needs PyTorch."""
    if name != PAPER:
        return load_checkpoint(name)
    with needs_pytorch("The paper's network with random weights"):
        import torch

        from safa.network.config import SafaConfig
        from safa.network.safa import Safa
    torch.manual_seed(0)
    return Checkpoint.of(Safa(SafaConfig()).eval(), PAPER)


def random_frames(count: int, width: int, height: int) -> list[NDArray[np.float32]]:
    """Frames ``height,width,3`` of noise in [0, 1]."""
    return list(np.random.default_rng(0).random((count, height, width, 3), np.float32))


def constant_prior(width: int, height: int) -> tuple[Flow, Flow]:
    """A classical flow of one and a half pixels, both ways, each ``height,width,2``."""
    flow = np.full((height, width, 2), 1.5, np.float32)
    return flow, -flow


@dataclass(frozen=True)
class Work:
    """A part of a stream that is measured: ``run`` does it once, at the forced scale it is given or as chosen."""

    pairs: int
    run: Callable[[int | None], None]


def stream_work(engine: Engine, size: tuple[int, int], count: int) -> Work:
    """Return a function that makes an engine's work of a stream, with ``count`` output frames for each pair.

    For networks that look at two frames, one pair: a new frame is encoded and joined to one that is there. For
    networks with propagation a whole window with its margins, which serves as many pairs as the window is long.

    Args:
        size: (width, height) of the input.
    """
    span, flows = span_of(engine.config), constant_prior(*size)
    carries = bool(engine.config.propagation)
    frames = random_frames(span.frames, *size)
    known = None if carries else engine.encode_frame(frames[0])

    def run(scale: int | None = None) -> None:
        if carries:
            states = engine.encode_window(frames, [flows] * (len(frames) - 1))
            states = states[span.margin : span.margin + span.length + 1]
        else:
            states = [known, engine.encode_frame(frames[1])]
        second = engine.finish_frame(states[0]) if carries else states[0]
        for state in states[1:]:
            first, second = second, engine.finish_frame(state) if carries else state
            pair = engine.encode_pair(first, second, flows)
            for index in range(count):
                if carries and not index:
                    engine.picture(first)
                else:
                    engine.synthesize(pair, index / count, scale)

    return Work(span.length, run)
