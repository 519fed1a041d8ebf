"""Pictures of what the network decides: flow by the field's colour wheel, blend masks and chosen scales.

All pictures are ``H,W,3`` RGB uint8.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from safa.data.scene import Image

FloatImage = NDArray[np.floating]

# Steps between the hues red, yellow, green, cyan, blue, magenta and red again (Baker et al., "A database and
# evaluation methodology for optical flow", 2007): finer where the eye tells more hues apart.
WHEEL_STEPS = (15, 6, 4, 11, 13, 6)
HUES = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))

# Finest to coarsest scale; distinguishable in greyscale and by the colour-blind.
SCALE_COLOURS = ((253, 231, 37), (53, 183, 121), (49, 104, 142), (68, 1, 84))
GAP = 8


def flow_picture(flow: FloatImage, longest: float) -> Image:
    """Flow as the Middlebury benchmark colours it: hue is the direction, saturation the length.

    Args:
        flow: ``H,W,2``, x to the right and y down, in pixels.
        longest: the length in pixels that gets full saturation; longer vectors are darkened. See ``flow_length``.
    """
    wheel = _wheel()
    length = np.linalg.norm(flow, axis=-1) / max(longest, 1e-6)
    position = (np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(position).astype(int)
    share = (position - lower)[..., None]
    hue = (1 - share) * wheel[lower] + share * wheel[(lower + 1) % len(wheel)]
    length = length[..., None]
    colour = np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return np.asarray(np.floor(255 * colour), np.uint8)


def flow_length(flows: Sequence[FloatImage]) -> float:
    """Return the 99th percentile of the lengths of all ``flows``, in pixels, so that outliers do not fade the rest."""
    lengths = np.concatenate([np.linalg.norm(flow, axis=-1).ravel() for flow in flows])
    return max(1.0, float(np.percentile(lengths, 99)))


def wheel_picture(side: int = 151) -> Image:
    """The legend of ``flow_picture``: the colour at a place is that of the vector from the middle to it."""
    axis = np.linspace(-1, 1, side)
    flow = np.stack(np.meshgrid(axis, axis), axis=-1)
    picture = flow_picture(flow, longest=1)
    picture[np.linalg.norm(flow, axis=-1) > 1] = 255
    return picture


def mask_picture(mask: FloatImage) -> Image:
    """A blend mask ``H,W`` in [0, 1]: white where the picture comes from frame 0, black where from frame 1."""
    grey = np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def error_picture(image: Image, truth: Image, gain: float = 4.0) -> Image:
    """Absolute error times ``gain``, mean of the channels: black is right, white is wrong by 64 levels or more."""
    error = np.abs(image.astype(np.float32) - truth).mean(axis=-1) * gain
    return mask_picture(error / 255)


def scale_picture(chosen: Sequence[Sequence[int]], times: Sequence[float], scales: Sequence[float]) -> Image:
    """A chart of the scale each block works at: a row for each block, a column for each time.

    Args:
        chosen: for each time, the index into ``scales`` for each block.
        scales: resolutions, finest first, at most four.
    """
    cell_height, cell_width, margin = 24, 64, 72
    rows, columns = len(chosen[0]), len(times)
    picture = np.full(((rows + 1) * cell_height, margin + columns * cell_width, 3), 255, np.uint8)
    for row in range(rows):
        _write(picture, f"block {row + 1}", 4, (row + 1) * cell_height + 16, dark=True)
        for column in range(columns):
            scale = chosen[column][row]
            top, left = (row + 1) * cell_height, margin + column * cell_width
            picture[top + 1 : top + cell_height, left + 1 : left + cell_width] = SCALE_COLOURS[scale]
            _write(picture, scale_name(scales[scale]), left + 20, top + 16, dark=scale < 2)
    for column, t in enumerate(times):
        _write(picture, f"t={t:.3g}", margin + column * cell_width + 6, 16, dark=True)
    return picture


def scale_name(scale: float) -> str:
    """1, 1/2, 1/4 ..."""
    return "1" if scale == 1 else f"1/{round(1 / scale)}"


def sheet(rows: Sequence[tuple[str, Sequence[Image]]], headings: Sequence[str]) -> Image:
    """Pictures of one size in rows and columns, each row named at the left and each column at the top."""
    margin, top = 12 + 8 * max(len(name) for name, _ in rows), 24
    height, width = rows[0][1][0].shape[:2]
    columns = max(len(pictures) for _, pictures in rows)
    full = (top + len(rows) * (height + GAP), margin + columns * (width + GAP), 3)
    picture = np.full(full, 255, np.uint8)
    for column, heading in enumerate(headings):
        _write(picture, heading, margin + column * (width + GAP) + 4, 16, dark=True)
    for row, (name, pictures) in enumerate(rows):
        y = top + row * (height + GAP)
        _write(picture, name, 4, y + height // 2, dark=True)
        for column, small in enumerate(pictures):
            x = margin + column * (width + GAP)
            picture[y : y + height, x : x + width] = small
    return picture


def image_of(picture: Tensor) -> Image:
    """``1,3,H,W`` in [0, 1] -> ``H,W,3``, rounded."""
    return np.asarray((picture[0].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def data_uri(picture: Image, lossless: bool = True) -> str:
    """The picture as a ``data:`` address for HTML: PNG, or WebP of quality 95, about a tenth as long."""
    kind, options = ("png", []) if lossless else ("webp", [cv2.IMWRITE_WEBP_QUALITY, 95])
    data = cv2.imencode(f".{kind}", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)[1]
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"


@cache
def _wheel() -> FloatImage:
    """The 55 colours in [0, 1], from the colour of the direction right, clockwise on a screen."""
    ends = (*HUES[1:], HUES[0])
    colours = [
        np.asarray(first) + np.floor(255 * np.arange(steps)[:, None] / steps) * np.sign(np.subtract(last, first))
        for first, last, steps in zip(HUES, ends, WHEEL_STEPS, strict=True)
    ]
    return np.asarray(np.concatenate(colours) / 255)


def _write(picture: Image, text: str, x: int, y: int, dark: bool) -> None:
    colour = (0, 0, 0) if dark else (255, 255, 255)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
