"""Drawn scenes with exact truth at any time: flat fills, dark outlines and painted backgrounds, as in animation.

Figures are made of parts with smooth outlines that turn about joints. Their poses are drawn for every first, second or
third frame and held in between, as animators do, while the camera moves in every frame. Backgrounds are photographs
reduced to strokes of flat colour, or fields of colour with simple shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.scene import Image, Scene
from safa.data.synthetic import CameraPath, Still, draw_pan, draw_time

Curve = NDArray[np.float64]
"""``n,2``: x and y in pixels of the scene."""
Rgb = tuple[int, int, int]

SUPERSAMPLING = 2
"""Pixels that are drawn per pixel of the scene, along each side."""
HOLDS = (1, 2, 3)
"""Frames for which a pose is held, and how often each is drawn."""
HOLD_SHARES = (0.6, 0.3, 0.1)
LINE_WIDTHS = 0.8, 4.0
"""Width of outlines in pixels of the scene."""
CURVE_POINTS = 48
_SHIFT = 4  # fractional bits of OpenCV's coordinates


@dataclass(frozen=True)
class Swing:
    """Turning to and fro about a joint, by at most ``amplitude`` radians, from ``phase`` radians on."""

    joint: tuple[float, float] = (0.0, 0.0)
    amplitude: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class FigurePart:
    """One shape of a figure.

    Attributes:
        points: its outline, or an open line if ``fill`` is None.
        fill: colour inside.
        line: colour of the outline; None without one.
        width: of the outline, in pixels of the scene.
        shade: darker colour inside, on the side away from the light; None without one.
        swing: how it turns in the course of time.
    """

    points: Curve
    fill: Rgb | None
    line: Rgb | None
    width: float
    shade: Rgb | None = None
    swing: Swing = Swing()


@dataclass(frozen=True)
class Figure:
    """Parts from back to front that move together.

    Attributes:
        parts: around the figure's own origin.
        place: of that origin in the scene at time 0.
        velocity: in pixels a frame.
        cycle: growth of the swings' phase, in radians a frame.
        growth: natural logarithm of the enlargement a frame.
        hold: frames for which a pose is held.
        boil: standard deviation, in pixels, by which outlines are redrawn with every pose.
        seed: of that redrawing.
    """

    parts: Sequence[FigurePart]
    place: tuple[float, float]
    velocity: tuple[float, float]
    cycle: float
    growth: float
    hold: int
    boil: float = 0.0
    seed: int = 0

    def pose_time(self, time: float) -> float:
        """Return the time in frames whose pose is shown at ``time``.

        Between two frames of one pose nothing moves; between frames of different poses the motion is uniform.
        """
        first = int(np.floor(time))
        before, after = (number // self.hold * self.hold for number in (first, first + 1))
        return before + (time - first) * (after - before)

    def draw(self, canvas: Image, time: float) -> None:
        """Draw the pose at ``time`` in frames onto ``canvas``, which is supersampled."""
        moment = self.pose_time(time)
        shift = np.array(self.place) + np.array(self.velocity) * moment
        growth = np.exp(self.growth * moment)
        wobble = self._wobble(moment) if self.boil else None
        for index, part in enumerate(self.parts):
            swing = part.swing
            angle = swing.amplitude * np.sin(self.cycle * moment + swing.phase)
            points = part.points if wobble is None else part.points + wobble(index, part.points)
            points = growth * (_turned(points - swing.joint, angle) + swing.joint) + shift
            _draw_part(canvas, part, points, width=part.width * growth)

    def _wobble(self, moment: float) -> Callable[[int, Curve], Curve]:
        """Return the function that gives the redrawn lines' offsets ``n,2`` at a time, smooth along each line."""
        first = int(np.floor(moment)) // self.hold * self.hold
        share = (moment - first) / self.hold

        def offsets(index: int, points: Curve) -> Curve:
            drawn = []
            for key in (first, first + self.hold):
                rng = np.random.default_rng((self.seed, index, key))
                drawn.append(_smooth_noise(len(points), rng) * self.boil)
            return np.asarray((1 - share) * drawn[0] + share * drawn[1])

        return offsets


@dataclass
class Drawing:
    """A background and figures that can be rendered at any time.

    Attributes:
        background: larger than the scene, in pixels of it.
        path: of the camera over the background; its time runs from 0 to 1 over the window.
        side: of the square scene in pixels.
        frames: of the window.
        figures: the farthest first.
    """

    background: Image
    path: CameraPath
    side: int
    frames: int
    figures: list[Figure] = field(default_factory=list)

    def frame(self, time: float) -> Image:
        """Return the scene ``side,side,3`` at ``time`` in frames from the first one."""
        height, width = self.background.shape[:2]
        centre, middle = (self.side / 2, self.side / 2), (width / 2, height / 2)
        matrix = self.path.matrix(time / (self.frames - 1), centre, middle, self.side)
        # Supersampled pixel centres, in pixels of the scene.
        fine = np.array([[1, 0, 0.5 - SUPERSAMPLING / 2], [0, 1, 0.5 - SUPERSAMPLING / 2], [0, 0, SUPERSAMPLING]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        size = (SUPERSAMPLING * self.side,) * 2
        affine = (matrix @ fine / SUPERSAMPLING)[:2]
        warped = cv2.warpAffine(self.background, affine, size, flags=flags, borderMode=cv2.BORDER_REFLECT)
        canvas = np.ascontiguousarray(warped, np.uint8)
        for figure in self.figures:
            figure.draw(canvas, time)
        return np.asarray(cv2.resize(canvas, (self.side, self.side), interpolation=cv2.INTER_AREA), np.uint8)


def draw_drawing(stills: Sequence[Still], side: int, frames: int, rng: np.random.Generator) -> Drawing:
    """Return a random drawing of ``side`` x ``side`` pixels over ``frames`` frames.

    Args:
        stills: photographs that backgrounds may be painted from; there may be none.
    """
    size = int(1.6 * side)
    if stills and rng.random() < 0.6:
        background = _painted(stills[int(rng.integers(len(stills)))], size, rng)
    else:
        background = _fields(size, rng)
    lively = float(rng.choice((0.0, 0.5, 1.0, 1.5)))
    path = draw_pan(rng, frames, lively, 1.0)
    figures = [_draw_figure(side, frames, rng) for _ in range(int(rng.choice((0, 1, 2, 3), p=(0.1, 0.4, 0.35, 0.15))))]
    return Drawing(background, path, side, frames, figures)


def draw_drawn_scene(stills: Sequence[Still], side: int, frames: int, rng: np.random.Generator) -> Scene:
    """Return a random drawn window of ``frames`` frames and the frame between a random two of them."""
    drawing = draw_drawing(stills, side, frames, rng)
    pair, t = int(rng.integers(frames - 1)), draw_time(rng)
    return Scene([drawing.frame(k) for k in range(frames)], drawing.frame(pair + t), t, pair)


def _draw_part(canvas: Image, part: FigurePart, points: Curve, width: float) -> None:
    fixed = _fixed(points)
    if part.fill is not None:
        cv2.fillPoly(canvas, [fixed], part.fill, cv2.LINE_AA, _SHIFT)
        if part.shade is not None:
            _shade(canvas, points, part.shade)
    if part.line is not None:
        thickness = max(1, round(SUPERSAMPLING * width))
        cv2.polylines(canvas, [fixed], part.fill is not None, part.line, thickness, cv2.LINE_AA, _SHIFT)


def _shade(canvas: Image, points: Curve, colour: Rgb) -> None:
    """Fill the part of a shape that its own copy, moved towards the light, does not cover."""
    left, top = np.floor(SUPERSAMPLING * points.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(SUPERSAMPLING * points.max(axis=0)).astype(int) + 2
    left, top = max(0, left), max(0, top)
    right, bottom = min(canvas.shape[1], right), min(canvas.shape[0], bottom)
    if left >= right or top >= bottom:
        return
    extent = np.ptp(points, axis=0)
    corner = np.array((left, top)) / SUPERSAMPLING
    inside, lit = (np.zeros((bottom - top, right - left), np.uint8) for _ in range(2))
    cv2.fillPoly(inside, [_fixed(points - corner)], (255,), cv2.LINE_AA, _SHIFT)
    cv2.fillPoly(lit, [_fixed(points - corner - 0.22 * extent)], (255,), cv2.LINE_AA, _SHIFT)
    share = (np.minimum(inside, 255 - lit) / np.float32(255))[..., None]
    area = canvas[top:bottom, left:right]
    area[:] = np.rint(area + share * (np.array(colour, np.float32) - area))


def _fixed(points: Curve) -> NDArray[np.int32]:
    """Return scene coordinates as OpenCV's fixed-point coordinates of the supersampled canvas."""
    fine = SUPERSAMPLING * (points + 0.5) - 0.5
    return np.rint(fine * 2**_SHIFT).astype(np.int32)


def _turned(points: Curve, angle: float) -> Curve:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[cosine, sine], [-sine, cosine]]))


def _smooth_noise(count: int, rng: np.random.Generator) -> Curve:
    """Return ``count,2`` offsets of about unit deviation that vary slowly along a closed line."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    waves = np.zeros((count, 2))
    for frequency in (1, 2, 3, 5):
        phases = rng.uniform(0, 2 * np.pi, 2)
        waves += rng.normal(size=2) * np.sin(frequency * angles[:, None] + phases)
    return waves / np.sqrt(2)


def _blob(rng: np.random.Generator, radius: tuple[float, float], roughness: float) -> Curve:
    """Return a smooth closed curve around the origin."""
    angles = np.linspace(0, 2 * np.pi, CURVE_POINTS, endpoint=False)
    waves = (rng.normal() * roughness / k * np.cos(k * angles + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    distance = np.clip(1 + sum(waves), 0.4, 1.8)
    return np.column_stack((np.cos(angles) * radius[0], np.sin(angles) * radius[1])) * distance[:, None]


def _strand(rng: np.random.Generator, length: float, width: float) -> Curve:
    """Return a closed curve that tapers from its root at the origin to a point, as of hair or a blade of grass."""
    along = np.linspace(0, 1, CURVE_POINTS // 2)
    bend = rng.normal() * 0.6
    middle = np.column_stack((np.sin(bend * along) * length * along, -np.cos(bend * along) * length * along))
    half = width / 2 * (1 - along)
    return np.concatenate(
        (middle + np.column_stack((half, 0 * half)), (middle - np.column_stack((half, 0 * half)))[::-1])
    )


def _draw_figure(side: int, frames: int, rng: np.random.Generator) -> Figure:
    """Return a body with limbs, head, hair and eyes, or a machine of straight parts, in a random size and place."""
    size = side * float(np.exp(rng.uniform(np.log(0.15), np.log(0.8))))
    line: Rgb | None = _dark(rng) if rng.random() < 0.85 else None
    width = float(np.exp(rng.uniform(*np.log(LINE_WIDTHS))))
    parts = _machine(size, line, width, rng) if rng.random() < 0.25 else _body(size, line, width, rng)
    speed = float(rng.choice((0.0, 1.0, 4.0, 10.0, 20.0))) * rng.random()
    direction = rng.uniform(0, 2 * np.pi)
    velocity = speed * np.cos(direction), speed * np.sin(direction)
    middle = rng.uniform(0.1 * side, 0.9 * side, 2)
    steps = (frames - 1) / 2
    place = float(middle[0] - velocity[0] * steps), float(middle[1] - velocity[1] * steps)
    growth = float(rng.normal() * 0.006) if rng.random() < 0.3 else 0.0
    hold = int(rng.choice(HOLDS, p=HOLD_SHARES))
    boil = float(rng.uniform(0.2, 0.8)) if rng.random() < 0.15 else 0.0
    cycle = float(rng.uniform(0.1, 0.8))
    return Figure(parts, place, velocity, cycle, growth, hold, boil, int(rng.integers(2**31)))


def _body(size: float, line: Rgb | None, width: float, rng: np.random.Generator) -> list[FigurePart]:
    skin, cloth, second, hair = (_bright(rng) for _ in range(4))
    parts = []
    for number in range(int(rng.integers(2, 6))):  # limbs
        angle = rng.uniform(0, 2 * np.pi)
        limb = _blob(rng, (size * rng.uniform(0.2, 0.45), size * rng.uniform(0.05, 0.12)), 0.1)
        limb = _turned(limb + np.array((size * 0.3, 0)), angle)
        colour = (skin, cloth, second)[number % 3]
        shade = _shade_of(colour, rng)
        swing = Swing(amplitude=float(rng.uniform(0, 0.5)), phase=float(rng.uniform(0, 2 * np.pi)))
        parts.append(FigurePart(limb, colour, line, width, shade, swing))
    body = _blob(rng, (size * rng.uniform(0.2, 0.4), size * rng.uniform(0.3, 0.5)), 0.15)
    parts.append(FigurePart(body, cloth, line, width, _shade_of(cloth, rng)))
    head = size * rng.uniform(0.15, 0.35)
    neck = np.array((0.0, -0.45 * size))
    nod = Swing((0.0, float(neck[1])), float(rng.uniform(0, 0.2)), float(rng.uniform(0, 2 * np.pi)))
    face = _blob(rng, (head, 1.1 * head), 0.05) + neck
    parts.append(FigurePart(face, skin, line, width, _shade_of(skin, rng), nod))
    for _ in range(int(rng.integers(4, 14))):
        root = neck + head * np.array((rng.uniform(-1, 1), -rng.uniform(0.3, 1.0)))
        strand = _turned(_strand(rng, head * rng.uniform(0.4, 1.4), head * rng.uniform(0.1, 0.5)), rng.normal() * 0.8)
        parts.append(FigurePart(strand + root, hair, line, 0.7 * width, swing=nod))
    iris = _bright(rng)
    eye = ((0.22, (255, 255, 255)), (0.15, iris), (0.08, (20, 20, 20)), (0.04, (255, 255, 255)))
    for side in (-1, 1):
        middle = neck + head * np.array((0.4 * side, 0.1))
        for number, (radius, colour) in enumerate(eye):
            disc = _blob(rng, (head * radius, 1.3 * head * radius), 0.02) + middle
            parts.append(FigurePart(disc, colour, None if number else line, width, swing=nod))
    for _ in range(int(rng.integers(0, 5))):  # folds
        start, end = rng.normal(size=(2, 2)) * size * 0.2
        parts.append(FigurePart(np.linspace(start, end, 8) + rng.normal(size=2), None, line or _dark(rng), 0.6 * width))
    return parts


def _machine(size: float, line: Rgb | None, width: float, rng: np.random.Generator) -> list[FigurePart]:
    parts = []
    colours = [_bright(rng) for _ in range(3)]
    for _ in range(int(rng.integers(3, 9))):
        half = size * rng.uniform(0.05, 0.4, 2)
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
        middle = rng.normal(size=2) * size * 0.2
        angle = float(rng.choice((0.0, 0.0, rng.normal() * 0.4)))
        parts.append(FigurePart(_turned(corners, angle) + middle, colours[rng.integers(3)], line, width))
        if rng.random() < 0.5:  # a grille
            for share in np.linspace(-0.8, 0.8, int(rng.integers(3, 9))):
                bar = np.array([[share * half[0], -0.8 * half[1]], [share * half[0], 0.8 * half[1]]])
                parts.append(FigurePart(_turned(bar, angle) + middle, None, line or _dark(rng), 0.5 * width))
    wheel = size * rng.uniform(0.1, 0.25)
    for x in (-0.3 * size, 0.3 * size):
        disc = _blob(rng, (wheel, wheel), 0.0) + np.array((x, 0.4 * size))
        parts.append(FigurePart(disc, _dark(rng), line, width))
    return parts


def _shade_of(colour: Rgb, rng: np.random.Generator) -> Rgb | None:
    return _scaled(colour, 0.75) if rng.random() < 0.6 else None


def _painted(still: Still, size: int, rng: np.random.Generator) -> Image:
    """Return ``size,size,3``: a part of a photograph as strokes of flat colour."""
    image = still.levels[rng.integers(len(still.levels))]
    height, width = image.shape[:2]
    part = min(height, width, size)
    top, left = int(rng.integers(height - part + 1)), int(rng.integers(width - part + 1))
    flat = image[top : top + part, left : left + part]
    for _ in range(2):
        flat = np.asarray(cv2.bilateralFilter(flat, 7, 45, 5), np.uint8)
    flat = np.asarray(cv2.medianBlur(flat, int(rng.choice((3, 5, 7)))), np.uint8)
    if rng.random() < 0.5:
        step = int(rng.integers(8, 40))
        flat = np.asarray(cv2.medianBlur((flat // step * step + step // 2).astype(np.uint8), 3), np.uint8)
    if rng.random() < 0.5:  # animators' colours are stronger than nature's
        hue = cv2.cvtColor(flat, cv2.COLOR_RGB2HSV)
        hue[..., 1] = np.clip(hue[..., 1] * rng.uniform(1.0, 1.8), 0, 255)
        flat = np.asarray(cv2.cvtColor(hue, cv2.COLOR_HSV2RGB), np.uint8)
    if part < size:
        flat = np.asarray(cv2.copyMakeBorder(flat, 0, size - part, 0, size - part, cv2.BORDER_REFLECT), np.uint8)
    return np.ascontiguousarray(flat)


def _fields(size: int, rng: np.random.Generator) -> Image:
    """Return ``size,size,3``: a gradient with flat shapes before it, such as hills, houses, clouds and grass."""
    upper, lower = (np.array(_bright(rng), np.float32) for _ in range(2))
    ramp = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
    if rng.random() < 0.3:
        lower = upper
    canvas = np.ascontiguousarray(np.rint(np.broadcast_to(upper + ramp * (lower - upper), (size, size, 3))), np.uint8)
    line = _dark(rng) if rng.random() < 0.6 else None
    width = float(np.exp(rng.uniform(*np.log(LINE_WIDTHS))))

    def add(points: Curve, colour: Rgb, outlined: bool = True) -> None:
        fixed = np.rint(points * 2**_SHIFT).astype(np.int32)
        cv2.fillPoly(canvas, [fixed], colour, cv2.LINE_AA, _SHIFT)
        if line is not None and outlined:
            cv2.polylines(canvas, [fixed], True, line, max(1, round(width)), cv2.LINE_AA, _SHIFT)

    for _ in range(int(rng.integers(0, 6))):  # clouds, bushes, hills
        middle = rng.uniform(0, size, 2)
        add(_blob(rng, (size * rng.uniform(0.05, 0.4), size * rng.uniform(0.05, 0.4)), 0.25) + middle, _bright(rng))
    for _ in range(int(rng.integers(0, 4))):  # houses with windows
        left, top = rng.uniform(0, 0.8, 2) * size
        wide, high = rng.uniform(0.1, 0.4, 2) * size
        box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
        add(box * (wide, high) + (left, top), _bright(rng))
        columns, rows = int(rng.integers(1, 7)), int(rng.integers(1, 9))
        glass = _bright(rng)
        for column in range(columns):
            for row in range(rows):
                corner = left + (column + 0.25) * wide / columns, top + (row + 0.25) * high / rows
                add(box * (0.5 * wide / columns, 0.5 * high / rows) + corner, glass)
    if rng.random() < 0.4:  # grass, or rain
        colour, slope = _bright(rng), rng.normal() * 0.4
        for _ in range(int(rng.integers(20, 150))):
            start = rng.uniform(0, size, 2)
            blade = _turned(_strand(rng, size * rng.uniform(0.02, 0.12), rng.uniform(1, 6)), slope + rng.normal() * 0.2)
            add(blade + start, colour if rng.random() < 0.7 else _scaled(colour, 0.7), outlined=False)
    return canvas


def _bright(rng: np.random.Generator) -> Rgb:
    """Return a colour of any hue, mostly light and neither gray nor garish."""
    hue, saturation, value = rng.uniform(0, 180), rng.beta(2, 2) * 255, 255 * rng.beta(4, 1.5)
    pixel = np.array([[[hue, saturation, value]]]).astype(np.uint8)
    red, green, blue = (int(level) for level in cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0])
    return red, green, blue


def _dark(rng: np.random.Generator) -> Rgb:
    """Return a colour for outlines: black, or a dark tone."""
    if rng.random() < 0.5:
        return (int(rng.integers(0, 25)),) * 3
    red, green, blue = (int(level) for level in rng.integers(0, 90, 3))
    return red, green, blue


def _scaled(colour: Rgb, factor: float) -> Rgb:
    red, green, blue = (round(level * factor) for level in colour)
    return red, green, blue
