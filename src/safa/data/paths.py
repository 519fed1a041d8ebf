"""Smooth camera paths: where a point of the picture lies in a photograph at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    """A random path whose speed is of the order of ``reach`` pixels between the frames."""
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
