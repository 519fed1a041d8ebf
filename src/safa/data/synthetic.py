"""Smooth camera paths: where a point of the picture lies in a photograph at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.scene import Image, Scene
from safa.errors import SafaError
from safa.network.config import SCALE

Matrix = NDArray[np.float64]
"""``3,3`` homography on (x, y, 1)."""

PARAMETERS = 6


@dataclass(frozen=True)
class CameraPath:
    """Parameters at time t are ``start + t * change + t * (1 - t) * bend``, so motion accelerates where it bends.

    Each is (shift x, shift y) in output pixels, rotation in radians, natural logarithm of the zoom, and perspective
    (x, y): by how much the picture is foreshortened over its width and height, 0 = seen straight on.
    """

    start: NDArray[np.float64]
    change: NDArray[np.float64]
    bend: NDArray[np.float64]

    def matrix(self, t: float, centre: tuple[float, float], anchor: tuple[float, float], side: int) -> Matrix:
        """Map from output pixels (around ``centre``) to photograph pixels (around ``anchor``) at time t.

        Args:
            t: may lie outside [0, 1], where the shutter opens before a frame's time.
            side: of the output in pixels; it gives perspective its measure.
        """
        x, y, angle, zoom, slant_x, slant_y = self.start + t * self.change + t * (1 - t) * self.bend
        scale = np.exp(-zoom)
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        from_centre = np.array([[1, 0, -centre[0] - x], [0, 1, -centre[1] - y], [0, 0, 1]])
        slant = np.array([[1, 0, 0], [0, 1, 0], [slant_x / side, slant_y / side, 1]])
        turn = np.array([[cosine, -sine, anchor[0]], [sine, cosine, anchor[1]], [0, 0, 1]])
        return np.asarray(turn @ slant @ from_centre, np.float64)


def transform(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply a homography to ``...,2`` points (x, y)."""
    mapped = points @ matrix[:2, :2].T + matrix[:2, 2]
    return np.asarray(mapped / (points @ matrix[2, :2] + matrix[2, 2])[..., None])


def draw_path(rng: np.random.Generator, reach: float) -> CameraPath:
    """Draw a random path with a speed of about ``reach`` pixels between the frames."""
    change = rng.normal(size=PARAMETERS) * (0.7 * reach, 0.7 * reach, 0.03, 0.03, 0.02, 0.02)
    bend = rng.normal(size=PARAMETERS) * 0.3 * np.abs(change)
    slant = rng.normal(size=2) * 0.1 if rng.random() < 0.5 else np.zeros(2)
    start = np.array([0.0, 0.0, rng.normal() * 0.1, rng.uniform(-0.3, 0.2), *np.clip(slant, -0.25, 0.25)])
    return CameraPath(start, change, bend)


def nearer(path: CameraPath, factor: float, rng: np.random.Generator) -> CameraPath:
    """The path of something ``factor`` times nearer to the same camera (parallax): it shifts so much faster."""
    measure = np.array([factor, factor, 1, 1, 1, 1])
    start = path.start.copy()
    start[3] = rng.uniform(-0.05, 0.25)
    return CameraPath(start, path.change * measure, path.bend * measure)


# Synthetic motion from photographs: camera paths and moving layers with exact ground truth at any time.

LEVELS = (1.0, 0.7, 0.5)
# Pictures that an exposure is averaged from when there is motion blur.
EXPOSURES = 7


@dataclass(frozen=True)
class Still:
    """A photograph and smaller copies (``LEVELS``), so that rendering never has to shrink it much."""

    name: str
    levels: tuple[Image, ...]

    @classmethod
    def from_image(cls, name: str, image: Image) -> Still:
        """Make the smaller copies of ``image``."""
        smaller = [cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for scale in LEVELS[1:]]
        return cls(name, tuple(np.asarray(level, np.uint8) for level in (image, *smaller)))


def load_still(path: Path) -> Still:
    """Read a photograph. Raises SafaError when it cannot be decoded."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SafaError(f"The photograph {path} cannot be decoded; remove it from the training data.")
    return Still.from_image(path.stem, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))


def expose(render: Callable[[float], NDArray[np.float32] | Image], time: float, shutter: float) -> Image:
    """Render the exposure of a shutter that is open from ``time - shutter / 2`` to ``time + shutter / 2``.

    Args:
        render: the picture ``H,W,3`` of 0..255 at a moment.
    """
    if not shutter:
        picture = render(time)
        return np.asarray(picture if picture.dtype == np.uint8 else np.rint(picture), np.uint8)
    times = time + shutter * np.linspace(-0.5, 0.5, EXPOSURES)
    exposures = sum(render(float(moment)).astype(np.float32) for moment in times)
    return np.asarray(np.rint(exposures / EXPOSURES), np.uint8)


def draw_shutter(rng: np.random.Generator, blur: float) -> float:
    """The part of the time between two frames in which the shutter is open; 0 unless there is motion blur, which has
    the probability ``blur``."""
    return float(rng.uniform(0.1, 0.6)) if rng.random() < blur else 0.0


def draw_time(rng: np.random.Generator) -> float:
    """Draw a time strictly between 0 and 1: the middle in half of the cases."""
    return float(rng.choice((0.5, float(rng.uniform(0.05, 0.95)))))


class Motion:
    """Layers on their paths, the farthest first, that can be rendered at any time.

    Args:
        stills: photographs to draw from.
        side: of the square output in pixels.
        rng: everything random is drawn here, so rendering is deterministic.
        blur: probability of motion blur: the shutter stays open for a part of the time between the frames.
    """

    def __init__(self, stills: tuple[Still, ...], side: int, rng: np.random.Generator, blur: float = 0.0) -> None:
        # Log-uniform speeds: most real motion is small, and large motion must not be missing.
        camera = draw_path(rng, _draw_reach(rng))
        parallax = rng.random() < 0.5
        self.side = side
        self.layers = [_Layer(stills[rng.integers(len(stills))], side, rng, camera, background=True)]
        depth = 1.0
        for _ in range(int(rng.choice((0, 1, 2), p=(0.45, 0.4, 0.15)))):
            depth *= float(rng.uniform(1.2, 2.5))
            path = nearer(camera, depth, rng) if parallax else draw_path(rng, _draw_reach(rng))
            self.layers.append(_Layer(stills[rng.integers(len(stills))], side, rng, path, background=False))
        self.shutter = draw_shutter(rng, blur)

    def frame(self, time: float) -> Image:
        """``side,side,3``: what the camera records around ``time``."""
        return expose(self._render, time, self.shutter)

    def flow(self, time: float, to: float, grid: int = SCALE) -> NDArray[np.float32]:
        """Flow of what is seen at ``time`` to where it is at time ``to``.

        Args:
            grid: side of a pixel of the flow field in output pixels; the low-resolution grid by default.

        Returns:
            ``side/grid,side/grid,2``, x then y, in pixels of that grid.
        """
        count = self.side // grid
        centres = (np.arange(count) + 0.5) * grid - 0.5
        points = np.stack(np.meshgrid(centres, centres), axis=-1)
        result = self.layers[0].displacement(points, time, to)
        for layer in self.layers[1:]:
            alpha = cv2.resize(layer.alpha(time)[:, :, 0], (count, count), interpolation=cv2.INTER_AREA)
            result = np.where((alpha > 0.5)[..., None], layer.displacement(points, time, to), result)
        return (result / grid).astype(np.float32)

    def _render(self, time: float) -> NDArray[np.float32] | Image:
        image: NDArray[np.float32] | Image = self.layers[0].colour(time)
        for layer in self.layers[1:]:
            alpha = layer.alpha(time)
            image = image + alpha * (layer.colour(time).astype(np.float32) - image)
        return image


def draw_motion(
    stills: tuple[Still, ...],
    side: int,
    rng: np.random.Generator,
    blur: float = 0.0,
    with_flow: bool = False,
) -> Scene:
    """Draw a random moving scene of ``side`` x ``side`` pixels, with its exact flow if requested."""
    motion = Motion(stills, side, rng, blur)
    t = draw_time(rng)
    times = (0.0, t, 1.0)
    flow = None
    if with_flow:
        flow = np.stack([np.concatenate((motion.flow(s, 0.0), motion.flow(s, 1.0)), axis=-1) for s in times])
    first, target, last = (motion.frame(time) for time in times)
    return Scene([first, last], target, t, flow=flow)


def _draw_reach(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(1.0), np.log(64.0))))


class _Layer:
    """One photograph on its path; a cut-out has a soft random outline that moves along."""

    def __init__(self, still: Still, side: int, rng: np.random.Generator, path: CameraPath, background: bool) -> None:
        self.side, self.path = side, path
        self.image = still.levels[rng.integers(len(still.levels))]
        height, width = self.image.shape[:2]
        half = side / 2
        places = [float(rng.uniform(min(half, size / 2), max(size - half, size / 2))) for size in (width, height)]
        self.anchor = (places[0], places[1])
        middle = rng.uniform(0, side, 2)
        self.centre = (half, half) if background else (float(middle[0]), float(middle[1]))
        self.outline = None if background else self._outline(rng)

    def _outline(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """Opacity 0..1 in photograph pixels: a smooth closed curve around the anchor."""
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        radius = 1 + sum(rng.normal() * 0.25 / k * np.cos(k * angles + rng.uniform(0, 6.3)) for k in range(1, 6))
        radius = np.clip(radius, 0.3, 2.0) * self.side * rng.uniform(0.1, 0.35)
        points = np.column_stack((np.cos(angles), np.sin(angles))) * radius[:, None] + self.anchor
        mask = np.zeros(self.image.shape[:2], np.float32)
        cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], (1.0,))
        softness = float(rng.uniform(0.6, 2.0))
        return np.asarray(cv2.GaussianBlur(mask, (0, 0), softness), np.float32)

    def _map(self, time: float) -> Matrix:
        return self.path.matrix(time, self.centre, self.anchor, self.side)

    def displacement(self, points: NDArray[np.float64], time: float, to: float) -> NDArray[np.float64]:
        """Return the distance by which the content of this layer at ``points`` ``...,2`` at ``time`` has moved at
        ``to``.
        """
        return transform(np.linalg.inv(self._map(to)) @ self._map(time), points) - points

    def colour(self, time: float) -> Image:
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = (self.side, self.side)
        warped = cv2.warpPerspective(self.image, self._map(time), size, flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(warped, np.uint8)

    def alpha(self, time: float) -> NDArray[np.float32]:
        """``side,side,1`` opacity at ``time``."""
        assert self.outline is not None
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpPerspective(self.outline, self._map(time), (self.side, self.side), flags=flags)
        return np.asarray(warped, np.float32)[:, :, None]


# Windows of consecutive frames from photographs in motion, as sharp as the photographs are.

# Photograph pixels per pixel of a frame.
FINEST, COARSEST = 1.0, 2.2
# Pan in pixels of the truth from frame to frame, at most.
SPEEDS = (0.5, 1.0, 3.0, 6.0, 12.0, 20.0)
OPENING_SPEEDS = (1.0, 4.0, 12.0, 24.0)
# Some scenes are calmer than others in everything.
LIVELINESS = (0.5, 1.0, 1.0, 1.5)
# Standard deviations from frame to frame: rotation in radians, logarithm of the zoom, change of the pan in pixels.
TURN, ZOOM, ACCELERATION = 0.004, 0.006, 0.3
# What is kept of a photograph around what a view sees of it, in pixels, for blur and interpolation.
AROUND = 16


class Film:
    """Photographs in motion over a window of frames, that can be rendered at any time.

    Args:
        stills: photographs to draw from.
        side: of the square output in pixels.
        frames: of the window.
        rng: everything random is drawn here, so rendering is deterministic.
        blur: probability of motion blur: the shutter stays open for a part of the time between the frames.
    """

    def __init__(
        self, stills: tuple[Still, ...], side: int, frames: int, rng: np.random.Generator, blur: float = 0.0
    ) -> None:
        lively = float(rng.choice(LIVELINESS))
        self.background = _View(stills, side, frames, lively, rng)
        count = int(rng.choice((0, 1, 2), p=(1 / 2, 1 / 3, 1 / 6)))
        self.openings = [
            (_Opening(side, frames, lively, rng), _View(stills, side, frames, lively, rng)) for _ in range(count)
        ]
        self.shutter = draw_shutter(rng, blur)

    def frame(self, time: float) -> Image:
        """``side,side,3``: what the camera records around ``time``, from 0 to the number of frames less 1."""
        return expose(self._render, time, self.shutter)

    def _render(self, time: float) -> NDArray[np.float32] | Image:
        image: NDArray[np.float32] | Image = self.background.colour(time)
        for opening, view in self.openings:
            image = image + opening.alpha(time) * (view.colour(time).astype(np.float32) - image)
        return image


def draw_film(stills: tuple[Still, ...], side: int, frames: int, rng: np.random.Generator, blur: float = 0.0) -> Scene:
    """Draw a window of ``frames`` frames of ``side`` x ``side`` pixels and one between a random two of them."""
    film = Film(stills, side, frames, rng, blur)
    pair, t = int(rng.integers(frames - 1)), draw_time(rng)
    return Scene([film.frame(k) for k in range(frames)], film.frame(pair + t), t, pair)


def draw_pan(rng: np.random.Generator, frames: int, lively: float, pixel: float) -> CameraPath:
    """Draw a camera path over a window, whose time runs from 0 at the first frame to 1 at the last.

    Half way it shows the place it is anchored to.

    Args:
        pixel: least number of photograph pixels per pixel of a frame.
    """
    steps = frames - 1
    angle = rng.uniform(-0.15, 0.15) if rng.random() < 0.5 else 0.0
    speed = float(rng.choice(SPEEDS)) * lively * rng.random() ** 0.5
    direction = rng.uniform(0, 2 * np.pi)
    turn, zoom = rng.normal(size=2) * (TURN, ZOOM) if rng.random() < 0.7 else (0.0, 0.0)
    change, bend = np.zeros(PARAMETERS), np.zeros(PARAMETERS)
    change[:4] = speed * np.cos(direction), speed * np.sin(direction), turn, zoom
    change *= steps
    bend[:2] = rng.normal(size=2) * ACCELERATION * steps**2 / 2
    start = -change / 2 - bend / 4
    start[2] += angle
    start[3] = -np.log(pixel) - max(0.0, change[3])  # where it is nearest, a pixel is `pixel` wide
    return CameraPath(start, change, bend)


class _View:
    """A photograph as the camera passes over it."""

    def __init__(
        self, stills: tuple[Still, ...], side: int, frames: int, lively: float, rng: np.random.Generator
    ) -> None:
        self.side, self.steps = side, frames - 1
        image = stills[rng.integers(len(stills))].levels[0]
        pixel = max(FINEST, min(float(rng.uniform(FINEST, COARSEST)), min(image.shape[:2]) / side))
        self.path = draw_pan(rng, frames, lively, pixel)
        self.anchor = _busy_place(image, side * pixel, rng)
        corners = np.array([[x, y] for x in (0.0, side) for y in (0.0, side)])
        times = np.linspace(0, self.steps, 4 * self.steps + 1)
        seen = np.concatenate([transform(self._map(float(time)), corners) for time in times])
        left, top = np.maximum(0, np.floor(seen.min(axis=0)).astype(int) - AROUND)
        right, bottom = np.ceil(seen.max(axis=0)).astype(int) + AROUND
        self.image: Image = np.ascontiguousarray(image[top:bottom, left:right])
        self.anchor = (self.anchor[0] - left, self.anchor[1] - top)
        # What pixels of the photograph's own size have seen already is part of the blur.
        sigma = 0.5 * np.sqrt(pixel**2 - 1)
        if sigma > 0.2:
            self.image = np.asarray(cv2.GaussianBlur(self.image, (0, 0), sigma), np.uint8)

    def _map(self, time: float) -> Matrix:
        return self.path.matrix(time / self.steps, (self.side / 2, self.side / 2), self.anchor, self.side)

    def colour(self, time: float) -> Image:
        """``side,side,3`` at ``time`` in frames; beyond the photograph's edges it is mirrored."""
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = (self.side, self.side)
        warped = cv2.warpAffine(self.image, self._map(time)[:2], size, flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(warped, np.uint8)


class _Opening:
    """A polygon through which another photograph is seen; it moves straight on."""

    def __init__(self, side: int, frames: int, lively: float, rng: np.random.Generator) -> None:
        self.side, self.middle = side, (frames - 1) / 2
        count = int(rng.choice((4, 6, 8, 12)))
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        radius = rng.uniform(0.12, 0.42, count) * side
        place = side / 2 + rng.uniform(-side / 3, side / 3, 2)
        self.corners = np.column_stack((np.cos(angles), np.sin(angles))) * radius[:, None] + place
        most = float(rng.choice(OPENING_SPEEDS)) * lively
        self.velocity = rng.uniform(-most, most, 2)
        self.softness = float(rng.choice((0.0, 0.0, 1.0, 2.5)))

    def alpha(self, time: float) -> NDArray[np.float32]:
        """``side,side,1``: 0 outside to 1 inside at ``time`` in frames."""
        mask = np.zeros((self.side, self.side), np.uint8)
        corners = self.corners + self.velocity * (time - self.middle)
        cv2.fillPoly(mask, [np.rint(16 * corners).astype(np.int32)], (255.0,), cv2.LINE_AA, shift=4)
        if self.softness:
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), self.softness), np.uint8)
        return np.asarray(mask[:, :, None] / 255, np.float32)


def _busy_place(image: Image, side: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return the centre (x, y) of a square of a photograph, mostly the most detailed of three."""
    height, width = image.shape[:2]
    half = side / 2
    best = (-1.0, 0.0, 0.0)
    for _ in range(3 if rng.random() < 0.7 else 1):
        x, y = (float(rng.uniform(min(half, size / 2), max(size - half, size / 2))) for size in (width, height))
        rows, columns = (slice(max(0, int(at - half)), int(at + half), 4) for at in (y, x))
        best = max(best, (float(image[rows, columns].std()), x, y))
    return best[1:]
