"""How large a result is to be: what can be asked for, and the width and height that it means for a source."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from safa.errors import SafaError
from safa.network.config import SCALE

LARGEST = 3840, 2160
"""Of results whose size nobody asked for; by area. Its name is 4k."""

LINES = re.compile(r"([1-9]\d{1,4})p")
"""Names of sizes by their height, such as 1080p."""

ScaleFactor = Fraction | float | int | str
"""A factor from 1 to ``SCALE``."""


def checked_scale(scale: ScaleFactor) -> Fraction:
    """The factor as an exact number. Raises ``SafaError`` for what is none from 1 to 4."""
    try:
        known = scale if isinstance(scale, Fraction | int | str) else float(scale)
        exact = Fraction(known).limit_denominator(10000)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        exact = Fraction(0)
    if not 1 <= exact <= SCALE:
        raise SafaError(f"the scale must be a number from 1 to {SCALE}, such as 1.5, 2 or 9/4, not {str(scale)!r}.")
    return exact


def checked_size(size: str) -> str:
    """The size in the way it is written here, lower case. Raises ``SafaError`` for what is none."""
    known = str(size).strip().lower()
    sides = re.fullmatch(r"(-1|[1-9]\d{0,5})x(-1|[1-9]\d{0,5})", known)
    if box_of(known) is None and (sides is None or sides.groups() == ("-1", "-1")):
        raise SafaError(f"the size must be 4k or look like 1080p, 1920x1080, 1920x-1 or -1x1080, not {size!r}.")
    return known


def box_of(name: str) -> tuple[Fraction | int, int] | None:
    """The box of 16:9, as wide as high pixels, that a named size is fitted into; None where it is no such name.

    It is turned for pictures that are higher than wide.
    """
    if name == "4k":
        return LARGEST
    lines = LINES.fullmatch(name)
    return (Fraction(16, 9) * int(lines[1]), int(lines[1])) if lines else None


@dataclass(frozen=True)
class Shape:
    """A source's pictures as they are stored: ``width`` and ``height`` in pixels that are ``aspect`` as wide as high.

    ``turned``: players turn them by a right angle, so that sizes are given the other way round.
    """

    width: int
    height: int
    aspect: Fraction = Fraction(1)
    turned: bool = False

    def named(self, width: Fraction | int, height: Fraction | int) -> str:
        """For messages: a stored size as people see it."""
        sides = (height, width) if self.turned else (width, height)
        return f"{math.floor(sides[0])}x{math.floor(sides[1])}"


@dataclass(frozen=True)
class OutputSize:
    """A result's ``width`` and ``height`` as stored and the ``aspect`` of its pixels; ``reduced`` where nobody asked
    for a size and four times would be too large.
    """

    width: int
    height: int
    aspect: Fraction
    reduced: bool = False


def output_size(
    shape: Shape, scale: Fraction | None = None, size: str | None = None, multiples: tuple[int, int] = (1, 1)
) -> OutputSize:
    """What is asked for, for a source of this shape; neither ``scale`` nor ``size``: four times, but at most 4K.

    Args:
        scale, size: as ``checked_scale`` and ``checked_size`` return them.
        multiples: what width and height must be multiples of, 1 or 2.

    Returns:
        The shape on players is the source's: a size that only gives another number of pixels to each side is made up
        for by the pixels' aspect.

    Raises:
        SafaError: it is smaller than the source, or more than four times as large.
    """
    box = None if size is None else box_of(size)
    if size is None or box is not None:
        reduced = False
        if size is not None and box is not None:
            scale = _fitting(shape, box)
            _check_fitting(shape, size, scale)
        elif scale is None:
            area = SCALE**2 * shape.width * shape.height
            reduced = area > math.prod(LARGEST)
            scale = min(Fraction(SCALE), max(Fraction(1), _fitting(shape, LARGEST))) if reduced else Fraction(SCALE)
        sides = _sides(shape, scale, scale, multiples)
        return OutputSize(*sides, shape.aspect, reduced)
    wanted = [int(side) for side in size.split("x")]
    asked = wanted[::-1] if shape.turned else wanted
    for side, multiple in zip(asked, multiples, strict=True):
        if side > 0 and side % multiple:
            even = "x".join(str(side if side < 0 else side + side % 2) for side in wanted)
            raise SafaError(f"the output's codec wants even sides, and {size} has an odd one; give --size {even}.")
    width, height = asked
    across = Fraction(width, shape.width) if width > 0 else Fraction(height, shape.height)
    down = Fraction(height, shape.height) if height > 0 else across
    _check_limits(shape, size, across, down)
    width, height = _sides(shape, across, down, multiples)
    aspect = shape.aspect
    # Rounded sides leave the pixels as they are: players would show the difference, a line at most, as a blur.
    if abs(width - shape.width * down) >= 2 and abs(height - shape.height * across) >= 2:
        aspect = (aspect * down / across).limit_denominator(1000)
    return OutputSize(width, height, aspect)


def result_size(height: int, width: int, scale: ScaleFactor | None = None, size: str | None = None) -> tuple[int, int]:
    """Height and width of the result for an array ``height,width,...``; four times without ``scale`` and ``size``.

    Raises:
        SafaError: there is no such size, both are given, or a side is out of reach.
    """
    check_one(scale, size)
    factor = checked_scale(SCALE if scale is None else scale) if size is None else None
    made = output_size(Shape(width, height), factor, None if size is None else checked_size(size))
    return made.height, made.width


def check_one(scale: ScaleFactor | None, size: str | None) -> None:
    """Raise ``SafaError`` where both are given."""
    if scale is not None and size is not None:
        raise SafaError("Both a scale and a size are given; choose one of them.")


def _fitting(shape: Shape, box: tuple[Fraction | int, int]) -> Fraction:
    """The factor that makes the picture, as players show it, just fit into the box or the box turned."""
    seen = shape.width * shape.aspect
    most = box if seen >= shape.height else box[::-1]
    return min(most[0] / seen, Fraction(most[1], shape.height))


def _sides(shape: Shape, across: Fraction, down: Fraction, multiples: tuple[int, int]) -> tuple[int, int]:
    """Rounded, but never less than the source's."""

    def rounded(side: int, factor: Fraction, multiple: int) -> int:
        nearest = math.floor(side * factor / multiple + Fraction(1, 2)) * multiple
        return max(nearest, -(-side // multiple) * multiple)

    return rounded(shape.width, across, multiples[0]), rounded(shape.height, down, multiples[1])


def _check_fitting(shape: Shape, size: str, scale: Fraction) -> None:
    source, most = _limits(shape)
    if scale > SCALE:
        raise SafaError(
            f"{size} is more than {SCALE} times the source's {source}; give --size {most}, or leave the size out."
        )
    if scale < 1:
        raise SafaError(f"{size} is smaller than the source's {source}; give --scale 1 for the same size.")


def _check_limits(shape: Shape, size: str, across: Fraction, down: Fraction) -> None:
    source, most = _limits(shape)
    if max(across, down) > SCALE:
        raise SafaError(f"{size} is more than {SCALE} times the source's {source}; {most} is the largest there is.")
    if min(across, down) < 1:
        raise SafaError(f"{size} is smaller than the source's {source}; give --scale 1 for the same size.")


def _limits(shape: Shape) -> tuple[str, str]:
    return shape.named(shape.width, shape.height), shape.named(SCALE * shape.width, SCALE * shape.height)
