"""What is measured: networks and the frames they are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from safa.checkpoint import load_checkpoint
from safa.engine import Engine, pick_engine
from safa.engine.device import pick_device
from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.safa import Safa
from safa.upscaler.upscaler import span_of

# The paper's layout with random weights: speed at a forced scale does not depend on their values.
PAPER = "paper"

# The engines that a comparison is about.
ENGINES = ("torch", "native")


def usable_engines(device: str) -> tuple[list[str], list[str]]:
    """Those of ``ENGINES`` that run on ``device`` here, and a sentence for each that does not.

    Raises:
        SafaError: there is no such device here.
    """
    place, usable, obstacles = pick_device(device), [], []
    for name in ENGINES:
        try:
            pick_engine(name, Safa(SafaConfig(channels=2, blocks=1, stem_channels=2)).eval(), place)
        except SafaError as error:
            obstacles.append(str(error))
        else:
            usable.append(name)
    return usable, obstacles


def network_called(name: str) -> Safa:
    """Shipped weights, a file, or "paper"."""
    if name == PAPER:
        torch.manual_seed(0)
        return Safa(SafaConfig()).eval()
    return load_checkpoint(name).network


def random_frames(count: int, width: int, height: int, device: torch.device) -> list[torch.Tensor]:
    """Frames ``1,3,height,width`` of noise."""
    generator = torch.Generator().manual_seed(0)
    return list(torch.rand(count, 1, 3, height, width, generator=generator).to(device))


def constant_prior(width: int, height: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A classical flow of one and a half pixels, both ways, each ``1,2,height,width``."""
    flow = torch.full((1, 2, height, width), 1.5, device=device)
    return flow, -flow


@dataclass(frozen=True)
class Work:
    """A part of a stream that is measured: ``run`` does it once, at the forced scale it is given or as chosen."""

    pairs: int
    run: Callable[[int | None], None]


def stream_work(engine: Engine, device: torch.device, size: tuple[int, int], count: int) -> Work:
    """What an engine does of a stream, with ``count`` output frames for each pair.

    For networks that look at two frames, one pair: a new frame is encoded and joined to one that is there. For
    networks with propagation a whole window with its margins, which serves as many pairs as the window is long.

    Args:
        size: (width, height) of the input.
    """
    span, flows = span_of(engine.config), constant_prior(*size, device)
    carries = bool(engine.config.propagation)
    frames = random_frames(span.frames, *size, device)
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
