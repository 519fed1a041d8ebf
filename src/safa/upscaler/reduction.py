"""From the network's picture, four times as large, to the size that is asked for: one antialiased filter for all.

Whole factors are averages over areas; any others are bicubic with the kernel as much wider as the picture gets smaller.
Every pixel's weights come from its place in the frame, and products are summed one by one in one order: tiles, strips
and machines all give the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from safa.engine.images import Array
from safa.network.operations import SCALE

STRIP = 32
"""Lines of the result that are made at a time: more would leave the processor's cache."""

SUPPORT = 2
"""Of the bicubic kernel, in pixels of the result."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Axis:
    """The filter along one side: result pixel ``k`` is ``sum(weights[k, i] * pixel[taps[k, i]])``.

    Both are ``size,taps``; taps beyond the frame are its edge's with no weight.
    """

    source: int
    size: int
    taps: Tensor
    weights: Tensor

    @property
    def unchanged(self) -> bool:
        """Whether there is nothing to do."""
        return self.source == self.size

    def owned(self, span: Span) -> Span:
        """The result's pixels with their centres within these of the source: of neighbouring spans, each to one."""
        # The first k with (k + 1/2) * source / size >= edge.
        first, last = (-((self.source - 2 * min(edge, self.source) * self.size) // (2 * self.source)) for edge in span)
        return first, last

    def needed(self, span: Span) -> Span:
        """The source's pixels from which these of the result are made."""
        taps = self.taps[span[0] : span[1]]
        return int(taps.min()), int(taps.max()) + 1

    def along(self, lines: Tensor, span: Span, start: int) -> Tensor:
        """Filter the first side of ``n,...``, whose first line is the source's ``start``, to the result's ``span``."""
        if self.unchanged:
            return lines[span[0] - start : span[1] - start]
        taps = self.taps[span[0] : span[1]].to(lines.device) - start
        weights = self.weights[span[0] : span[1]].to(lines.device).view(-1, taps.shape[1], *[1] * (lines.ndim - 1))
        # Not addcmul: what fuses the product and the sum rounds once, and which processor does is not for us to say.
        total = lines.index_select(0, taps[:, 0]) * weights[:, 0]
        for i in range(1, taps.shape[1]):
            total += lines.index_select(0, taps[:, i]).mul_(weights[:, i])
        return total


@lru_cache(maxsize=32)
def axis(source: int, size: int) -> Axis:
    """The filter from ``source`` pixels to ``size``, which are no more."""
    if source % size == 0:
        factor = source // size
        taps = torch.arange(source).view(size, factor)
        return Axis(source, size, taps, torch.full((size, factor), 1 / factor))
    step = source / size
    centre = (torch.arange(size, dtype=torch.float64) + 0.5) * step - 0.5
    first = torch.ceil(centre - SUPPORT * step)
    taps = first.unsqueeze(1) + torch.arange(int(2 * SUPPORT * step) + 1, dtype=torch.float64)
    distance = ((taps - centre.unsqueeze(1)) / step).abs()
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance <= 1, near, torch.where(distance < SUPPORT, far, torch.zeros_like(distance)))
    weights = torch.where((taps >= 0) & (taps < source), weights, torch.zeros_like(weights))
    weights /= weights.sum(dim=1, keepdim=True)
    return Axis(source, size, taps.long().clamp(0, source - 1), weights.float())


class Reduction:
    """Takes pictures of frames of ``height`` by ``width`` to the ``size`` (height, width) of the result."""

    def __init__(self, height: int, width: int, size: tuple[int, int]) -> None:
        self.rows, self.columns = axis(SCALE * height, size[0]), axis(SCALE * width, size[1])
        self.unchanged = self.rows.unchanged and self.columns.unchanged

    def place(self, core: tuple[slice, slice]) -> tuple[slice, slice]:
        """Which part of the result is made from a tile with this core in the network's picture."""
        rows = self.rows.owned((core[0].start, core[0].stop))
        columns = self.columns.owned((core[1].start, core[1].stop))
        return slice(*rows), slice(*columns)

    def store(
        self,
        image: Tensor,
        offset: tuple[int, int],
        into: Array,
        place: tuple[slice, slice],
        store: Callable[[Tensor, Array], None],
    ) -> None:
        """Write a part of the result.

        Args:
            image: ``1,C,h,w`` in [0, 1], the network's picture of a tile with its margin, which must hold all that the
                part is made from; ``offset`` is where in the frame its first line and column lie.
            into: ``h,w,C``, the part of the result.
            place: where in the result it lies.
            store: writes a picture ``1,C,h,w`` into ``h,w,C``, see ``Engine.store``.
        """
        lines = image[0].permute(1, 2, 0)
        height, width = into.shape[:2]
        if not height or not width:
            return
        columns = place[1].start, place[1].stop
        left, right = self.columns.needed(columns)
        step = STRIP if image.device.type == "cpu" else height
        for top in range(0, height, step):
            rows = place[0].start + top, place[0].start + min(top + step, height)
            above, below = self.rows.needed(rows)
            strip = lines[above - offset[0] : below - offset[0], left - offset[1] : right - offset[1]].float()
            strip = self.rows.along(strip, rows, above)
            # Columns as lines: whole lines are fetched much faster than single pixels.
            strip = self.columns.along(strip.transpose(0, 1).contiguous(), columns, left)
            # The kernel overshoots at edges.
            strip = strip.transpose(0, 1).contiguous().clamp_(0, 1)
            store(strip.permute(2, 0, 1).unsqueeze(0), into[top : top + step])
