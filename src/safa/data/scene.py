"""A high-resolution moving scene at exact times, which every source of training data returns."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from safa.network.config import SCALE

Image = NDArray[np.uint8]
"""``H,W,3`` RGB uint8."""


@dataclass
class Scene:
    """Consecutive frames of one motion at high resolution and one between two of them, all of one size that
    ``safa.network.operations.SCALE`` divides."""

    frames: list[Image]
    """Two or more, equally far apart in time: what the network will be shown, reduced."""
    target: Image
    """The frame at time ``pair + t``, where the time of frame k is k."""
    t: float
    """Strictly between 0 and 1."""
    pair: int = 0
    """Number of the frame before ``target``."""
    taught: tuple[list[Image], Image] | None = None
    """The teacher's pictures of ``frames`` and of ``target``; None where the data hold none."""
    flow: NDArray[np.float32] | None = None
    """``3,H/4,W/4,4``, for two frames: exact flow from times 0, t and 1 to frame 0 (x, y) and to frame 1 (x, y), on the
    low-resolution grid and in its pixels; None where it is not known."""


def reduce_quarter(image: Image) -> Image:
    """Antialiased bicubic 1/4 of ``H,W,3``, stored as 8 bits, as the field makes its inputs."""
    height, width = image.shape[:2]
    reduced = PillowImage.fromarray(image).resize((width // SCALE, height // SCALE), PillowImage.Resampling.BICUBIC)
    return np.asarray(reduced)


# Flips, transposition, channel reversal and time reversal of a scene, its flow included.


def augment(scene: Scene, rng: np.random.Generator, transpose: bool = True) -> Scene:
    """Each of the changes with probability 1/2; ``transpose`` off leaves that one out (the paper does not use it)."""
    pictures = [[*scene.frames, scene.target]]
    if scene.taught is not None:
        pictures.append([*scene.taught[0], scene.taught[1]])
    t, pair, flow = scene.t, scene.pair, scene.flow
    if rng.random() < 0.5:
        pictures = [[*frames[-2::-1], frames[-1]] for frames in pictures]
        t, pair = 1 - t, len(scene.frames) - 2 - pair
        flow = None if flow is None else flow[::-1][..., [2, 3, 0, 1]]
    if rng.random() < 0.5:
        pictures = [[frame[:, ::-1] for frame in frames] for frames in pictures]
        flow = None if flow is None else flow[:, :, ::-1] * (-1, 1, -1, 1)
    if rng.random() < 0.5:
        pictures = [[frame[::-1] for frame in frames] for frames in pictures]
        flow = None if flow is None else flow[:, ::-1] * (1, -1, 1, -1)
    if rng.random() < 0.5 and transpose:
        pictures = [[frame.transpose(1, 0, 2) for frame in frames] for frames in pictures]
        flow = None if flow is None else flow.transpose(0, 2, 1, 3)[..., [1, 0, 3, 2]]
    if rng.random() < 0.5:
        pictures = [[frame[:, :, ::-1] for frame in frames] for frames in pictures]
    (frames, target), *taught = (_split_target(frames) for frames in pictures)
    flow = None if flow is None else np.ascontiguousarray(flow, dtype=np.float32)
    return Scene(frames, target, t, pair, taught[0] if taught else None, flow)


def crisp(scene: Scene, most: float, rng: np.random.Generator) -> Scene:
    """The scene seen by a sharper camera: an unsharp mask of random width and of a strength up to ``most``.

    Compressed clips and rendered photographs are softer than typical inputs. Inputs are reduced from the result,
    so that nothing but the scene changes.
    """
    sigma, strength = float(rng.uniform(0.6, 1.6)), float(rng.uniform(0, most))

    def sharpened(frame: Image) -> Image:
        soft = cv2.GaussianBlur(frame, (0, 0), sigma)
        return np.asarray(cv2.addWeighted(frame, 1 + strength, soft, -strength, 0), np.uint8)

    return Scene(list(map(sharpened, scene.frames)), sharpened(scene.target), scene.t, scene.pair, flow=scene.flow)


def _split_target(frames: list[Image]) -> tuple[list[Image], Image]:
    *inputs, target = map(np.ascontiguousarray, frames)
    return inputs, target
