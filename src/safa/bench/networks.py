"""What is measured: networks and the frames they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from safa.checkpoint import load_checkpoint
from safa.engine import Engine, pick_engine
from safa.engine.device import pick_device
from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.safa import Safa

# The paper's layout with random weights: speed at a forced scale does not depend on their values.
PAPER = "paper"

# The engines that a comparison is about.
ENGINES = ("torch", "native")

PairJob = Callable[[int | None], None]


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


def random_frames(width: int, height: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames ``1,3,height,width`` of noise."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 3, height, width, generator=generator).to(device)
    return first, second


def constant_prior(width: int, height: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A classical flow of one and a half pixels, both ways, each ``1,2,height,width``."""
    flow = torch.full((1, 2, height, width), 1.5, device=device)
    return flow, -flow


def pair_job(engine: Engine, device: torch.device, size: tuple[int, int], count: int) -> PairJob:
    """One pair as a stream meets it: a new frame is encoded, joined to one that is there, ``count`` times made.

    A network with propagation encodes windows of frames; here each frame is a window by itself, without what fetching
    from other frames and the margins cost.

    Args:
        size: (width, height) of the input.

    Returns:
        A function that does it once, at the forced scale it is given or, with None, as the selector chooses.
    """
    first, second = random_frames(*size, device)
    flows = constant_prior(*size, device)
    carries = bool(engine.config.propagation)

    def encoded(frame: torch.Tensor) -> Any:
        return engine.finish_frame(engine.encode_window([frame], [])[0]) if carries else engine.encode_frame(frame)

    known = encoded(first)

    def run(scale: int | None = None) -> None:
        pair = engine.encode_pair(known, encoded(second), flows)
        for index in range(count):
            if carries and not index:
                engine.picture(known)
            else:
                engine.synthesize(pair, index / count, scale)

    return run
