"""Time of an engine, stage by stage of the network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safa.bench.networks import engine_called, network_called, stream_work
from safa.engine import Engine
from safa.engine.device import pick_device, synchronize
from safa.engine.native import NativeEngine

if TYPE_CHECKING:
    from torch import nn

# The network's own names for its parts, and what people read.
PARTS = {
    "extractor": "extractor",
    "propagation": "propagation",
    "first_hidden": "first hidden",
    "selector": "selector",
    "blocks": "blocks",
    "flow_head": "flow head",
    "decoder": "decoder",
}
OTHER = "other"


@dataclass(frozen=True)
class Profile:
    """Seconds of each stage for one pair with its output frames, the mean over all rounds."""

    weights: str
    engine: str
    width: int
    height: int
    frames: int
    seconds: dict[str, float]
    """The native engine names every stage (warps are part of what reads them); PyTorch's "other" is warps, enlarging,
    concatenation and image fusion."""

    def rows(self) -> list[list[str]]:
        """A table, the heading first, the largest stage on top."""
        total = sum(self.seconds.values())
        rows = [["stage", "s/frame", "share"]]
        for stage, seconds in sorted(self.seconds.items(), key=lambda item: -item[1]):
            rows.append([stage, f"{seconds / self.frames:.4f}", f"{100 * seconds / total:.0f} %"])
        return rows

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def run_profile(
    weights: str, engine_name: str, size: tuple[int, int], *, frames: int = 2, rounds: int = 5, device: str = "cpu"
) -> Profile:
    """Profile one engine on pairs of ``frames`` output frames, at the scales that the selector chooses.

    Raises:
        SafaError: unknown weights, or an engine or device that is not available here.
    """
    place = pick_device(device)
    network = network_called(weights)
    engine = engine_called(engine_name, network, place)
    work = stream_work(engine, size, frames)
    work.run(None)  # buffers, caches and lazy initialisation
    with _stages(engine) as taken:
        for _ in range(rounds):
            work.run(None)
            synchronize(place)
        seconds = {stage: spent / rounds / work.pairs for stage, spent in taken().items() if spent > 0}
    return Profile(weights, engine.name, *size, frames, seconds)


@contextmanager
def _stages(engine: Engine) -> Iterator[Callable[[], dict[str, float]]]:
    """A function that tells the seconds of each stage since the context was entered."""
    if isinstance(engine, NativeEngine):
        engine.take_seconds()
        yield engine.take_seconds
        return
    from safa.engine.torch import TorchEngine

    assert isinstance(engine, TorchEngine)
    clock = _ModuleClock(engine.device)
    hooks = [
        hook
        for name, part in engine.network.named_children()
        if name in PARTS
        for hook in clock.watch(PARTS[name], part)
    ]
    began = time.perf_counter()
    try:
        yield lambda: {**clock.seconds, OTHER: time.perf_counter() - began - sum(clock.seconds.values())}
    finally:
        for hook in hooks:
            hook.remove()


class _ModuleClock:
    """Times modules from the outside; a GPU is waited for at each end, which makes the sum longer than a frame."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self._began = 0.0

    def watch(self, stage: str, module: nn.Module) -> list[Any]:
        """Hooks that time ``module``: the parts of a list are called one by one, and blocks through their branches."""

        def before(*_: object) -> None:
            synchronize(self.device)
            self._began = time.perf_counter()

        def after(*_: object) -> None:
            synchronize(self.device)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - self._began

        from torch import nn

        parts = [module]
        if isinstance(module, nn.ModuleList):
            parts = [branch for block in module for branch in block.branches]  # type: ignore[union-attr]
        return [
            hook
            for part in parts
            for hook in (part.register_forward_pre_hook(before), part.register_forward_hook(after))
        ]
