"""Subtitles, titles and logos over a scene: sharp things that stand still, or scroll, before whatever moves."""

from __future__ import annotations

import dataclasses
import string
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from safa.data.scene import Image, Scene

MOST = 3
"""Graphics over one scene."""
SIZES = 9, 60
"""Height of letters in pixels of the scene."""
SCROLLING, FASTEST = 0.2, 16.0
"""Share of graphics that move, and pixels from one input frame to the next."""
LETTERS = string.ascii_letters + string.digits + ".,:;!?-'&%"


@dataclass(frozen=True)
class Graphic:
    """``stamp`` ``h,w,4``, RGB and opacity, whose upper left corner is at ``place`` (x, y) at time 0."""

    stamp: NDArray[np.uint8]
    place: tuple[float, float]
    velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels from one input frame to the next."""

    def over(self, frame: Image, time: float) -> Image:
        """``frame`` with the graphic before it, at whole pixels."""
        height, width = frame.shape[:2]
        left, top = (round(at + by * time) for at, by in zip(self.place, self.velocity, strict=True))
        right, bottom = left + self.stamp.shape[1], top + self.stamp.shape[0]
        x0, y0, x1, y1 = max(0, left), max(0, top), min(width, right), min(height, bottom)
        if x0 >= x1 or y0 >= y1:
            return frame
        seen = self.stamp[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
        opacity = seen[..., 3:] / 255
        result = frame.copy()
        covered = result[y0:y1, x0:x1]
        covered[:] = np.rint(covered + opacity * (seen[..., :3] - covered))
        return result


def draw_graphics(scene: Scene, rng: np.random.Generator) -> Scene:
    """Draw one to ``MOST`` graphics before the scene, in all frames and the one between."""
    height, width = scene.target.shape[:2]
    graphics = []
    for _ in range(int(rng.integers(1, MOST + 1))):
        stamp = _draw_text(rng) if rng.random() < 0.8 else _draw_sign(rng)
        # Its middle is somewhere in the frame.
        place = [
            float(rng.uniform(0, side) - own / 2) for side, own in ((width, stamp.shape[1]), (height, stamp.shape[0]))
        ]
        velocity = [0.0, 0.0]
        if rng.random() < SCROLLING:
            axis = int(rng.integers(2))
            velocity[axis] = float(rng.uniform(-FASTEST, FASTEST))
            place[axis] -= velocity[axis] * (len(scene.frames) - 1) / 2
        graphics.append(Graphic(stamp, (place[0], place[1]), (velocity[0], velocity[1])))

    def over(frame: Image, time: float) -> Image:
        for graphic in graphics:
            frame = graphic.over(frame, time)
        return frame

    frames = [over(frame, number) for number, frame in enumerate(scene.frames)]
    return dataclasses.replace(scene, frames=frames, target=over(scene.target, scene.pair + scene.t), flow=None)


def _draw_text(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw one to three lines of random words, mostly light, often with an outline or on a plate."""
    lines = [" ".join(_word(rng) for _ in range(int(rng.integers(1, 5)))) for _ in range(int(rng.integers(1, 4)))]
    size = float(np.exp(rng.uniform(*np.log(SIZES))))
    outline = round(size * float(rng.uniform(0.04, 0.14))) if rng.random() < 0.5 else 0
    colour, dark = _colour(rng), tuple(int(rng.integers(0, 60)) for _ in range(3))
    if rng.random() < 0.5:
        text = _with_pillow("\n".join(lines), size, outline, colour, dark)
    else:
        text = _with_opencv(lines[0], size, outline, colour, dark)
    if rng.random() < 0.3:
        return _on_a_plate(text, round(size / 3), rng)
    if rng.random() < 0.2:
        text[..., 3] = (text[..., 3] * rng.uniform(0.4, 1)).astype(np.uint8)
    return text


def _with_pillow(text: str, size: float, outline: int, colour: Any, dark: Any) -> NDArray[np.uint8]:
    font = ImageFont.load_default(size)
    left, top, right, bottom = ImageDraw.Draw(PillowImage.new("L", (1, 1))).multiline_textbbox(
        (0, 0), text, font, stroke_width=outline
    )
    canvas = PillowImage.new(
        "RGBA", (int(right - left) + 3, int(bottom - top) + 3), (*(dark if outline else colour), 0)
    )
    at = 1 - left, 1 - top
    ImageDraw.Draw(canvas).multiline_text(
        at, text, (*colour, 255), font, stroke_width=outline, stroke_fill=(*dark, 255)
    )
    return np.array(canvas)


def _with_opencv(text: str, size: float, outline: int, colour: Any, dark: Any) -> NDArray[np.uint8]:
    scale, thickness = size / 30, max(1, round(size / 16))
    (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    edge = outline + thickness
    shape, at = (height + below + 2 * edge, width + 2 * edge), (edge, height + edge)
    inner, outer = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    cv2.putText(inner, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    if outline:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * outline + 1, 2 * outline + 1))
        outer = np.asarray(cv2.dilate(inner, disc), np.uint8)
    share = inner[..., None] / np.float32(255)
    mixed = share * np.array(colour, np.float32) + (1 - share) * np.array(dark if outline else colour, np.float32)
    return np.dstack((np.rint(mixed), np.maximum(inner, outer))).astype(np.uint8)


def _on_a_plate(text: NDArray[np.uint8], edge: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    height, width = text.shape[:2]
    plate = np.empty((height + 2 * edge, width + 2 * edge, 4), np.float32)
    plate[..., :3] = [int(rng.integers(0, 256)) for _ in range(3)]
    plate[..., 3] = 255 * rng.uniform(0.5, 1)
    inside = plate[edge : edge + height, edge : edge + width]
    opacity = text[..., 3:].astype(np.float32) / 255
    inside[..., :3] += opacity * (text[..., :3] - inside[..., :3])
    inside[..., 3:] += opacity * (255 - inside[..., 3:])
    return np.rint(plate).astype(np.uint8)


def _draw_sign(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a logo of a few smooth shapes, or thin lines as in charts and frames."""
    side = int(rng.integers(24, 129))
    fine = 4 * side  # reduced below, so that edges are smooth
    drawn = np.zeros((fine, fine, 4), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        colour = (*_colour(rng), 255)
        points = rng.integers(0, fine, (int(rng.integers(3, 6)), 2)).astype(np.int32)
        thickness = int(rng.integers(4, 17)) if rng.random() < 0.5 else cv2.FILLED
        kind = int(rng.integers(3))
        if kind == 0:
            centre = int(points[0, 0]), int(points[0, 1])
            cv2.circle(drawn, centre, int(rng.integers(fine // 8, fine // 2)), colour, thickness)
        elif kind == 1 and thickness == cv2.FILLED:
            cv2.fillPoly(drawn, [points], colour)
        else:
            cv2.polylines(drawn, [points], bool(rng.integers(2)), colour, max(4, thickness))
    # Colours do not mix with the black of what is clear.
    opacity = drawn[..., 3:].astype(np.float32)
    small = cv2.resize(np.dstack((drawn[..., :3] * opacity, opacity)), (side, side), interpolation=cv2.INTER_AREA)
    colours = small[..., :3] / np.maximum(small[..., 3:], 1)
    return np.rint(np.dstack((colours, small[..., 3]))).astype(np.uint8)


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list(LETTERS), int(rng.integers(1, 9))))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < 0.5:
        value = int(rng.integers(200, 256)) if rng.random() < 0.8 else int(rng.integers(0, 50))
        return value, value, value
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
