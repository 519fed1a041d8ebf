"""Flips, transposition, channel reversal and time reversal of a scene, its flow included."""

from __future__ import annotations

import cv2
import numpy as np

from safa.data.scene import Image, Scene


def augment(scene: Scene, rng: np.random.Generator, transpose: bool = True) -> Scene:
    """Each of the changes with probability 1/2; ``transpose`` off leaves that one out (the paper does not use it)."""
    frames = [*scene.frames, scene.target]
    t, pair, flow = scene.t, scene.pair, scene.flow
    if rng.random() < 0.5:
        frames, t, pair = [*scene.frames[::-1], scene.target], 1 - t, len(scene.frames) - 2 - pair
        flow = None if flow is None else flow[::-1][..., [2, 3, 0, 1]]
    if rng.random() < 0.5:
        frames = [frame[:, ::-1] for frame in frames]
        flow = None if flow is None else flow[:, :, ::-1] * (-1, 1, -1, 1)
    if rng.random() < 0.5:
        frames = [frame[::-1] for frame in frames]
        flow = None if flow is None else flow[:, ::-1] * (1, -1, 1, -1)
    if rng.random() < 0.5 and transpose:
        frames = [frame.transpose(1, 0, 2) for frame in frames]
        flow = None if flow is None else flow.transpose(0, 2, 1, 3)[..., [1, 0, 3, 2]]
    if rng.random() < 0.5:
        frames = [frame[:, :, ::-1] for frame in frames]
    *inputs, target = map(np.ascontiguousarray, frames)
    flow = None if flow is None else np.ascontiguousarray(flow, dtype=np.float32)
    return Scene(inputs, target, t, pair, flow)


def crisp(scene: Scene, most: float, rng: np.random.Generator) -> Scene:
    """The scene seen by a sharper camera: an unsharp mask of random width and of a strength up to ``most``.

    Compressed clips and rendered photographs are softer than typical inputs. Inputs are reduced from the result,
    so that nothing but the scene changes.
    """
    sigma, strength = float(rng.uniform(0.6, 1.6)), float(rng.uniform(0, most))

    def sharpened(frame: Image) -> Image:
        soft = cv2.GaussianBlur(frame, (0, 0), sigma)
        return np.asarray(cv2.addWeighted(frame, 1 + strength, soft, -strength, 0), np.uint8)

    return Scene(list(map(sharpened, scene.frames)), sharpened(scene.target), scene.t, scene.pair, scene.flow)
