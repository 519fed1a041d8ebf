"""The size of a result: requested scales and sizes, and the filter that reduces the network's picture to them.

The network always enlarges ``SCALE`` times; any other size is that picture reduced by one antialiased filter. Whole
factors are area averages; all others are bicubic with the kernel widened by the reduction. A pixel's weights depend on
its position in the frame alone, and products are summed in a fixed order, so tiles, strips and machines agree.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from safa.engine.images import Array, store
from safa.errors import SafaError
from safa.network.config import SCALE

LARGEST = 3840, 2160
"""Largest default result, by area; also the size that is called 4k."""

NAMED_HEIGHT = re.compile(r"([1-9]\d{1,4})p")
"""Sizes named by their height, such as 1080p."""

ScaleFactor = Fraction | float | int | str
"""A factor from 1 to ``SCALE``."""

STRIP = 32
"""Output rows per step: more would not fit into the processor's cache."""

SUPPORT = 2
"""Radius of the bicubic kernel in output pixels."""

PixelRange = tuple[int, int]


def parse_scale(scale: ScaleFactor) -> Fraction:
    """Return the enlargement as an exact number.

    Raises:
        SafaError: it is not a number from 1 to 4.
    """
    try:
        known = scale if isinstance(scale, Fraction | int | str) else float(scale)
        exact = Fraction(known).limit_denominator(10000)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        exact = Fraction(0)
    if not 1 <= exact <= SCALE:
        raise SafaError(f"the scale must be a number from 1 to {SCALE}, such as 1.5, 2 or 9/4, not {str(scale)!r}.")
    return exact


def parse_size(size: str) -> str:
    """Return a requested size in its normal form, such as "1080p", "4k" or "1920x-1".

    Raises:
        SafaError: it is not a size.
    """
    known = str(size).strip().lower()
    sides = re.fullmatch(r"(-1|[1-9]\d{0,5})x(-1|[1-9]\d{0,5})", known)
    if named_box(known) is None and (sides is None or sides.groups() == ("-1", "-1")):
        raise SafaError(f"the size must be 4k or look like 1080p, 1920x1080, 1920x-1 or -1x1080, not {size!r}.")
    return known


def named_box(name: str) -> tuple[Fraction | int, int] | None:
    """Return width and height of the 16:9 box of a named size such as "1080p"; None for any other text.

    Pictures are fitted into the box, or into the box turned by 90 degrees where they are higher than wide.
    """
    if name == "4k":
        return LARGEST
    height = NAMED_HEIGHT.fullmatch(name)
    return (Fraction(16, 9) * int(height[1]), int(height[1])) if height else None


@dataclass(frozen=True)
class Shape:
    """Stored shape of a source's frames.

    Args:
        width, height: in stored pixels.
        aspect: width of a pixel relative to its height.
        turned: players rotate the frames by 90 degrees, so sizes are given with their sides exchanged.
    """

    width: int
    height: int
    aspect: Fraction = Fraction(1)
    turned: bool = False

    def named(self, width: Fraction | int, height: Fraction | int) -> str:
        """Return a stored size as it is displayed, for messages."""
        sides = (height, width) if self.turned else (width, height)
        return f"{math.floor(sides[0])}x{math.floor(sides[1])}"


@dataclass(frozen=True)
class OutputSize:
    """Stored size of a result.

    Args:
        width, height: in stored pixels.
        aspect: width of a pixel relative to its height.
        reduced: no size was requested, and four times the source's would exceed ``LARGEST``.
    """

    width: int
    height: int
    aspect: Fraction
    reduced: bool = False


def output_size(
    shape: Shape, scale: Fraction | None = None, size: str | None = None, multiples: tuple[int, int] = (1, 1)
) -> OutputSize:
    """Return the size of the result for a source of this shape; four times, but at most 4K, if none is requested.

    A size that changes the ratio of the sides changes the aspect of the pixels too, so the displayed shape stays.

    Args:
        scale, size: as ``parse_scale`` and ``parse_size`` return them.
        multiples: 1 or 2: width and height are multiples of these.

    Raises:
        SafaError: the result would be smaller than the source, or more than four times as large.
    """
    box = None if size is None else named_box(size)
    if size is None or box is not None:
        reduced = False
        if size is not None and box is not None:
            scale = _scale_into(shape, box)
            _check_box(shape, size, scale)
        elif scale is None:
            area = SCALE**2 * shape.width * shape.height
            reduced = area > math.prod(LARGEST)
            scale = min(Fraction(SCALE), max(Fraction(1), _scale_into(shape, LARGEST))) if reduced else Fraction(SCALE)
        sides = _sides(shape, scale, scale, multiples)
        return OutputSize(*sides, shape.aspect, reduced)
    displayed = [int(side) for side in size.split("x")]
    stored = displayed[::-1] if shape.turned else displayed
    for side, multiple in zip(stored, multiples, strict=True):
        if side > 0 and side % multiple:
            even = "x".join(str(side if side < 0 else side + side % 2) for side in displayed)
            raise SafaError(f"the output's codec needs even sides, and {size} has an odd one; give --size {even}.")
    width, height = stored
    across = Fraction(width, shape.width) if width > 0 else Fraction(height, shape.height)
    down = Fraction(height, shape.height) if height > 0 else across
    _check_limits(shape, size, across, down)
    width, height = _sides(shape, across, down, multiples)
    aspect = shape.aspect
    # A difference of one row comes from rounding. Players would rescale the whole picture for it.
    if abs(width - shape.width * down) >= 2 and abs(height - shape.height * across) >= 2:
        aspect = (aspect * down / across).limit_denominator(1000)
    return OutputSize(width, height, aspect)


def result_size(height: int, width: int, scale: ScaleFactor | None = None, size: str | None = None) -> tuple[int, int]:
    """Return (height, width) of the result for an array ``height,width,...``; four times the array's by default.

    Raises:
        SafaError: not a size, both ``scale`` and ``size`` are given, or the size is out of range.
    """
    check_scale_or_size(scale, size)
    factor = parse_scale(SCALE if scale is None else scale) if size is None else None
    result = output_size(Shape(width, height), factor, None if size is None else parse_size(size))
    return result.height, result.width


def check_scale_or_size(scale: ScaleFactor | None, size: str | None) -> None:
    """Raise ``SafaError`` if both are given."""
    if scale is not None and size is not None:
        raise SafaError("Both a scale and a size are given; choose one of them.")


def _scale_into(shape: Shape, box: tuple[Fraction | int, int]) -> Fraction:
    """Return the factor that fits the displayed picture into the box, turned if that suits the picture."""
    displayed_width = shape.width * shape.aspect
    width, height = box if displayed_width >= shape.height else box[::-1]
    return min(width / displayed_width, Fraction(height, shape.height))


def _sides(shape: Shape, across: Fraction, down: Fraction, multiples: tuple[int, int]) -> tuple[int, int]:
    """Return width and height, rounded to ``multiples`` and not less than the source's."""

    def rounded(side: int, factor: Fraction, multiple: int) -> int:
        nearest = math.floor(side * factor / multiple + Fraction(1, 2)) * multiple
        return max(nearest, -(-side // multiple) * multiple)

    return rounded(shape.width, across, multiples[0]), rounded(shape.height, down, multiples[1])


def _check_box(shape: Shape, size: str, scale: Fraction) -> None:
    source, largest = _limits(shape)
    if scale > SCALE:
        raise SafaError(
            f"{size} is more than {SCALE} times the source's {source}; give --size {largest}, or leave the size out."
        )
    if scale < 1:
        raise SafaError(f"{size} is smaller than the source's {source}; give --scale 1 for the same size.")


def _check_limits(shape: Shape, size: str, across: Fraction, down: Fraction) -> None:
    source, largest = _limits(shape)
    if max(across, down) > SCALE:
        raise SafaError(
            f"{size} is more than {SCALE} times the source's {source}; the largest possible size is {largest}."
        )
    if min(across, down) < 1:
        raise SafaError(f"{size} is smaller than the source's {source}; give --scale 1 for the same size.")


def _limits(shape: Shape) -> tuple[str, str]:
    return shape.named(shape.width, shape.height), shape.named(SCALE * shape.width, SCALE * shape.height)


@dataclass(frozen=True)
class AxisFilter:
    """Reduction along one axis: output pixel ``k`` is ``sum(weights[k, i] * pixel[taps[k, i]])``.

    Args:
        source, size: pixels before and after.
        taps, weights: arrays ``size,n``; taps beyond the frame are clamped to its edge and have weight 0.
    """

    source: int
    size: int
    taps: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def unchanged(self) -> bool:
        """Return whether the filter is the identity."""
        return self.source == self.size

    def owned(self, span: PixelRange) -> PixelRange:
        """Return the output pixels whose centres lie in a range of the source; adjacent ranges share none."""
        # First k with (k + 1/2) * source / size >= edge.
        first, last = (-((self.source - 2 * min(edge, self.source) * self.size) // (2 * self.source)) for edge in span)
        return first, last

    def needed(self, span: PixelRange) -> PixelRange:
        """Return the range of source pixels that a range of output pixels depends on."""
        taps = self.taps[span[0] : span[1]]
        return int(taps.min()), int(taps.max()) + 1

    def apply(self, lines: NDArray[np.float32], span: PixelRange, start: int) -> NDArray[np.float32]:
        """Filter along the first axis.

        Args:
            lines: ``n,...``; ``lines[0]`` is the source's line ``start``.
            span: range of output lines.
        """
        if self.unchanged:
            return lines[span[0] - start : span[1] - start]
        taps = self.taps[span[0] : span[1]] - start
        weights = self.weights[span[0] : span[1]].reshape(-1, taps.shape[1], *[1] * (lines.ndim - 1))
        # Separate products and sums: a fused multiply-add rounds once, and not every processor has it.
        total = lines.take(taps[:, 0], axis=0) * weights[:, 0]
        for i in range(1, taps.shape[1]):
            product = lines.take(taps[:, i], axis=0)
            product *= weights[:, i]
            total += product
        return total


@lru_cache(maxsize=32)
def axis_filter(source: int, size: int) -> AxisFilter:
    """Return the filter from ``source`` pixels to ``size``, which must not exceed ``source``."""
    if source % size == 0:
        factor = source // size
        taps = np.arange(source).reshape(size, factor)
        return AxisFilter(source, size, taps, np.full((size, factor), 1 / factor, np.float32))
    step = source / size
    centre = (np.arange(size) + 0.5) * step - 0.5
    first = np.ceil(centre - SUPPORT * step)
    taps = first[:, None] + np.arange(int(2 * SUPPORT * step) + 1)
    distance = np.abs((taps - centre[:, None]) / step)
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance < SUPPORT, far, 0))
    weights = np.where((taps >= 0) & (taps < source), weights, 0)
    weights /= weights.sum(axis=1, keepdims=True)
    return AxisFilter(source, size, taps.astype(np.int64).clip(0, source - 1), weights.astype(np.float32))


class Reduction:
    """Reduces the network's pictures to the size of the result.

    Args:
        height, width: of the source frames; the network's pictures are ``SCALE`` times as large.
        size: (height, width) of the result.
    """

    def __init__(self, height: int, width: int, size: tuple[int, int]) -> None:
        self.rows, self.columns = axis_filter(SCALE * height, size[0]), axis_filter(SCALE * width, size[1])
        self.unchanged = self.rows.unchanged and self.columns.unchanged

    def output_region(self, core: tuple[slice, slice]) -> tuple[slice, slice]:
        """Return the rows and columns of the result that a tile with this core in the network's picture fills."""
        rows = self.rows.owned((core[0].start, core[0].stop))
        columns = self.columns.owned((core[1].start, core[1].stop))
        return slice(*rows), slice(*columns)

    def store(
        self,
        image: NDArray[np.float32],
        offset: tuple[int, int],
        into: Array,
        region: tuple[slice, slice],
    ) -> None:
        """Write one region of the result.

        Args:
            image: ``h,w,C`` in [0, 1], the network's picture of a tile with a margin that covers the filter.
            offset: row and column of ``image`` in the network's picture of the whole frame.
            into: ``h,w,C``, the region of the result to fill.
            region: rows and columns of ``into`` in the result.
        """
        height, width = into.shape[:2]
        if not height or not width:
            return
        columns = region[1].start, region[1].stop
        left, right = self.columns.needed(columns)
        for top in range(0, height, STRIP):
            rows = region[0].start + top, region[0].start + min(top + STRIP, height)
            above, below = self.rows.needed(rows)
            strip = image[above - offset[0] : below - offset[0], left - offset[1] : right - offset[1]]
            strip = self.rows.apply(strip, rows, above)
            # Transposed, because copying whole lines is much faster than gathering single pixels.
            strip = self.columns.apply(np.ascontiguousarray(strip.swapaxes(0, 1)), columns, left)
            # Clipped, because the bicubic kernel overshoots at edges.
            store(strip.swapaxes(0, 1).clip(0, 1), into[top : top + STRIP])
