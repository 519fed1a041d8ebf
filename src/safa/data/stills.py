"""Synthetic motion from photographs: camera paths and moving layers with exact ground truth at any time.

A background photograph and up to two cut-outs of other photographs, each with its own soft outline, follow smooth
paths (pan, zoom, rotation, perspective, all accelerated); half of the scenes show one camera passing layers of
different depth (parallax), the others things that move on their own. Frames are rendered straight from the
photographs, so truth at any t has no interpolation between frames in it, and flow is known exactly, occluded places
included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.paths import CameraPath, Matrix, draw_path, nearer, transform
from safa.data.scene import Image, Scene
from safa.errors import SafaError
from safa.network.config import SCALE

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
    """A time between two frames, strictly between 0 and 1: the middle half of the time."""
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
    """A random moving scene of ``side`` x ``side`` pixels, with its exact flow if asked for."""
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
        """By how much what this layer shows at ``points`` ``...,2`` at ``time`` has moved at ``to``."""
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
