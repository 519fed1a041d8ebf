"""One training example: the network's inputs and its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Sampler


@dataclass
class Sample:
    """One training example of N input frames; batched by ``collate`` along a first axis."""

    frames: Tensor  # N,3,h,w in [0, 1]
    truths: Tensor  # N,3,4h,4w: truth at the frames
    between: Tensor  # 3,4h,4w: truth at the time t after frame `pair`
    pair: Tensor  # scalar, 0 to N-2
    t: Tensor  # scalar in (0, 1)
    prior: Tensor | None
    """``N-1,2,2,h,w``: classical flow from a frame to the next, and from the next back to it; None for networks that do
    not start from it."""
    motion: Tensor | None
    """``3,2,h,w``: ``dis_flow.motion_between`` of the frames of ``pair``; None without ``prior``."""
    taught: tuple[Tensor, Tensor] | None
    """``N,3,4h,4w`` and ``3,4h,4w``: the teacher's pictures of the frames and at the time t; None when they were not
    asked for."""
    clean: Tensor | None
    """``N,3,h,w``: the frames as they were before they were degraded, which teachers look at; None when they were not
    asked for."""
    flow: Tensor | None
    """``3,4,h,w``, for two frames: exact flow from 0, t and 1 to frame 0 (x, y) and frame 1 (x, y) in low-resolution
    pixels, NaN where it is not known; None when it was not asked for."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """The same with ``change`` applied to every tensor."""
        prior, motion, clean, flow = (
            None if tensor is None else change(tensor) for tensor in (self.prior, self.motion, self.clean, self.flow)
        )
        frames, truths, between = change(self.frames), change(self.truths), change(self.between)
        taught = None if self.taught is None else (change(self.taught[0]), change(self.taught[1]))
        return Sample(frames, truths, between, change(self.pair), change(self.t), prior, motion, taught, clean, flow)

    def to(self, device: torch.device) -> Sample:
        """The same on ``device``."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Sample:
        """The same in page-locked memory, from which copies to a GPU do not wait (called by the loader)."""
        return self.mapped(Tensor.pin_memory)


def collate(samples: list[Sample]) -> Sample:
    """Stack samples along a new first axis."""

    def stacked(tensors: list[Tensor | None]) -> Tensor | None:
        given = [tensor for tensor in tensors if tensor is not None]
        return torch.stack(given) if given else None

    return Sample(
        torch.stack([sample.frames for sample in samples]),
        torch.stack([sample.truths for sample in samples]),
        torch.stack([sample.between for sample in samples]),
        torch.stack([sample.pair for sample in samples]),
        torch.stack([sample.t for sample in samples]),
        stacked([sample.prior for sample in samples]),
        stacked([sample.motion for sample in samples]),
        _stacked_taught(samples),
        stacked([sample.clean for sample in samples]),
        stacked([sample.flow for sample in samples]),
    )


def _stacked_taught(samples: list[Sample]) -> tuple[Tensor, Tensor] | None:
    taught = [sample.taught for sample in samples if sample.taught is not None]
    return (torch.stack([one[0] for one in taught]), torch.stack([one[1] for one in taught])) if taught else None


class StepSampler(Sampler[list[int]]):
    """Sample numbers of each step from ``first`` to ``steps`` (excluded), for device ``rank`` of ``world`` devices."""

    def __init__(self, first: int, steps: int, batch: int, rank: int, world: int) -> None:
        self.range, self.batch, self.rank, self.world = range(first, steps), batch, rank, world

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.range:
            start = (step * self.world + self.rank) * self.batch
            yield list(range(start, start + self.batch))
