"""Synthetic motion from photographs: camera paths and moving layers with exact ground truth at any time.

A background photograph and up to two cut-outs of other photographs each follow their own smooth path (pan, zoom,
rotation, acceleration). Frames are rendered straight from the photographs, so truth at any t has no interpolation
between frames in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from safa.data.scene import Image, Scene
from safa.errors import SafaError

STILL_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class Still:
    """A photograph and two smaller copies, so that rendering never has to shrink it much."""

    name: str
    levels: tuple[Image, ...]


@dataclass(frozen=True)
class Path2D:
    """A smooth camera path: parameters at t are ``start + t * change + t * (1 - t) * bend``.

    Each is (shift x, shift y) in output pixels, rotation in radians, natural logarithm of the zoom.
    """

    start: NDArray[np.float64]
    change: NDArray[np.float64]
    bend: NDArray[np.float64]

    def matrix(self, t: float, centre: tuple[float, float], anchor: tuple[float, float]) -> NDArray[np.float64]:
        """2x3 map from output pixels (around ``centre``) to photograph pixels (around ``anchor``) at time t."""
        x, y, angle, zoom = self.start + t * self.change + t * (1 - t) * self.bend
        scale = np.exp(-zoom)
        rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        offset = np.array(anchor) - rotation @ np.add(centre, (x, y))
        return np.column_stack((rotation, offset))


def find_stills(folder: Path) -> list[Path]:
    """All photographs below ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in STILL_SUFFIXES)


def load_still(path: Path) -> Still:
    """Read a photograph and its 0.7 and 0.5 times copies."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SafaError(f"The photograph {path} cannot be decoded; remove it from the training data.")
    full = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    smaller = [cv2.resize(full, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for scale in (0.7, 0.5)]
    return Still(path.stem, tuple(np.asarray(level, np.uint8) for level in (full, *smaller)))


def draw_motion(stills: list[Still], side: int, rng: np.random.Generator) -> Scene:
    """A random moving scene of ``side`` x ``side`` pixels."""
    layers = [_Layer(stills[rng.integers(len(stills))], side, rng, background=True)]
    for _ in range(int(rng.choice((0, 1, 2), p=(0.45, 0.4, 0.15)))):
        layers.append(_Layer(stills[rng.integers(len(stills))], side, rng, background=False))
    t = float(rng.choice((0.5, float(rng.uniform(0.05, 0.95)))))

    def render(time: float) -> Image:
        image: NDArray[np.float32] | Image = layers[0].colour(time)
        for layer in layers[1:]:
            alpha = layer.alpha(time)
            image = image + alpha * (layer.colour(time).astype(np.float32) - image)
        return np.asarray(np.rint(image), np.uint8)

    return Scene(render(0.0), render(t), render(1.0), t)


class _Layer:
    """One photograph on its path; a cut-out has a soft random outline that moves along."""

    def __init__(self, still: Still, side: int, rng: np.random.Generator, background: bool) -> None:
        self.side = side
        self.image = still.levels[rng.integers(len(still.levels))]
        height, width = self.image.shape[:2]
        # Log-uniform speeds: most real motion is small, and large motion must not be missing.
        reach = float(np.exp(rng.uniform(np.log(1.0), np.log(64.0))))
        change = rng.normal(size=4) * (0.7 * reach, 0.7 * reach, 0.03, 0.03)
        bend = rng.normal(size=4) * 0.3 * np.abs(change)
        start = np.array([0.0, 0.0, rng.normal() * 0.1, rng.uniform(-0.05, 0.25)])
        self.path = Path2D(start, change, bend)
        half = side / 2
        self.anchor = tuple(
            float(rng.uniform(min(half, size / 2), max(size - half, size / 2))) for size in (width, height)
        )
        self.centre = (half, half) if background else tuple(float(v) for v in rng.uniform(0, side, 2))
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

    def _map(self, time: float) -> NDArray[np.float64]:
        return self.path.matrix(time, self.centre, self.anchor)  # type: ignore[arg-type]

    def colour(self, time: float) -> Image:
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        size = (self.side, self.side)
        warped = cv2.warpAffine(self.image, self._map(time), size, flags=flags, borderMode=cv2.BORDER_REFLECT)
        return np.asarray(warped, np.uint8)

    def alpha(self, time: float) -> NDArray[np.float32]:
        assert self.outline is not None
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(self.outline, self._map(time), (self.side, self.side), flags=flags)
        return np.asarray(warped, np.float32)[:, :, None]
