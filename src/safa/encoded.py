"""Frames and pairs on their way through an upscaler, with what neighbouring pairs share."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safa.network.dis_flow import Flow, classical_flow
from safa.pixels import Array

_numbers = itertools.count()


@dataclass
class EncodedFrame:
    """A frame prepared for any pair it will be part of; made by ``Upscaler.encode``."""

    image: Array
    low: NDArray[np.uint8]
    """``H,W,3``: what the classical flow sees."""
    state: Any = None
    """The engine's own, of the whole frame, once it was needed."""
    among: tuple[tuple[int, ...], Any] | None = None
    """The same with what its neighbours add, and the numbers of those."""
    number: int = field(default_factory=lambda: next(_numbers))
    flows: dict[int, Flow] = field(default_factory=dict)
    """Classical flow to the frames with these numbers, as far as it was needed."""

    @property
    def kind(self) -> tuple[int, int, np.dtype[Any]]:
        """Height, width and type."""
        return (*self.image.shape[:2], self.image.dtype)

    def flow_to(self, other: EncodedFrame) -> Flow:
        """Classical flow to another frame, computed once."""
        if other.number not in self.flows:
            self.flows[other.number] = classical_flow(self.low, other.low)
        return self.flows[other.number]


@dataclass
class EncodedPair:
    """Two encoded frames joined, perhaps with those before and after them; made by ``Upscaler.pair``."""

    first: EncodedFrame
    second: EncodedFrame
    before: EncodedFrame | None = None
    after: EncodedFrame | None = None
    state: Any = None
    """The engine's own, of the whole frames, once it was needed."""

    @property
    def frames(self) -> list[EncodedFrame]:
        """All that take part, in order."""
        frames = [self.before, self.first, self.second if self.second is not self.first else None, self.after]
        return [frame for frame in frames if frame is not None]

    def neighbours(self, frame: EncodedFrame) -> list[EncodedFrame]:
        """Those right before and after ``frame``, earlier ones first whichever of its pairs this is."""
        frames = self.frames
        place = next(k for k, other in enumerate(frames) if other is frame)
        return [*frames[max(0, place - 1) : place], *frames[place + 1 : place + 2]]
