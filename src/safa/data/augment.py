"""Flips, transposition, channel reversal and time reversal of a scene, its flow included."""

from __future__ import annotations

import cv2
import numpy as np

from safa.data.scene import Image, Scene


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
