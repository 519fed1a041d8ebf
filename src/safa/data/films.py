"""Windows of consecutive frames from photographs in motion, as sharp as the photographs are.

A camera moves over a photograph (pan, rotation, zoom, all smooth), and through up to two openings, polygons of hard or
soft edges that move on their own, it sees other photographs in other motion. A pixel of a frame is 1 to 2.2 pixels of
the photograph wide and blurred accordingly: nothing is ever enlarged, so there is detail for a window to gain. Frames
are rendered straight from the photographs, so truth at any time has no interpolation between frames in it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.paths import PARAMETERS, CameraPath, Matrix, transform
from safa.data.scene import Image, Scene
from safa.data.stills import Still, draw_shutter, draw_time, expose

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
    """A random window of ``frames`` frames of ``side`` x ``side`` pixels and one between a random two of them."""
    film = Film(stills, side, frames, rng, blur)
    pair, t = int(rng.integers(frames - 1)), draw_time(rng)
    return Scene([film.frame(k) for k in range(frames)], film.frame(pair + t), t, pair)


def draw_pan(rng: np.random.Generator, frames: int, lively: float, pixel: float) -> CameraPath:
    """A random camera path over a window, whose time runs from 0 at the first frame to 1 at the last.

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
    """The middle (x, y) of a square of a photograph, mostly the one with most detail of three."""
    height, width = image.shape[:2]
    half = side / 2
    best = (-1.0, 0.0, 0.0)
    for _ in range(3 if rng.random() < 0.7 else 1):
        x, y = (float(rng.uniform(min(half, size / 2), max(size - half, size / 2))) for size in (width, height))
        rows, columns = (slice(max(0, int(at - half)), int(at + half), 4) for at in (y, x))
        best = max(best, (float(image[rows, columns].std()), x, y))
    return best[1:]
