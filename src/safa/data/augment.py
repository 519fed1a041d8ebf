"""Flips, transposition, channel reversal and time reversal of a scene, its flow included."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from safa.data.scene import Image, Scene


def augment(scene: Scene, rng: np.random.Generator, transpose: bool = True) -> Scene:
    """Each of the changes with probability 1/2; ``transpose`` off leaves that one out (the paper has it not)."""
    frames: list[Image | None] = [scene.before, scene.frame0, scene.target, scene.frame1, scene.after]
    t, flow = scene.t, scene.flow
    if rng.random() < 0.5:
        frames, t = frames[::-1], 1 - t
        flow = None if flow is None else flow[::-1][..., [2, 3, 0, 1]]
    if rng.random() < 0.5:
        frames = _each(frames, lambda frame: frame[:, ::-1])
        flow = None if flow is None else flow[:, :, ::-1] * (-1, 1, -1, 1)
    if rng.random() < 0.5:
        frames = _each(frames, lambda frame: frame[::-1])
        flow = None if flow is None else flow[:, ::-1] * (1, -1, 1, -1)
    if rng.random() < 0.5 and transpose:
        frames = _each(frames, lambda frame: frame.transpose(1, 0, 2))
        flow = None if flow is None else flow.transpose(0, 2, 1, 3)[..., [1, 0, 3, 2]]
    if rng.random() < 0.5:
        frames = _each(frames, lambda frame: frame[:, :, ::-1])
    before, frame0, target, frame1, after = _each(frames, np.ascontiguousarray)
    assert frame0 is not None
    assert target is not None
    assert frame1 is not None
    flow = None if flow is None else np.ascontiguousarray(flow, dtype=np.float32)
    return Scene(frame0, target, frame1, t, flow, before, after)


def crisp(scene: Scene, most: float, rng: np.random.Generator) -> Scene:
    """The scene seen by a sharper camera: an unsharp mask of random width and of a strength up to ``most``.

    Compressed clips and rendered photographs are softer than what people enlarge. Inputs are reduced from the result,
    so that nothing but the scene changes.
    """
    sigma, strength = float(rng.uniform(0.6, 1.6)), float(rng.uniform(0, most))

    def sharpened(frame: Image) -> Image:
        soft = cv2.GaussianBlur(frame, (0, 0), sigma)
        return np.asarray(cv2.addWeighted(frame, 1 + strength, soft, -strength, 0), np.uint8)

    frames = _each([scene.before, scene.frame0, scene.target, scene.frame1, scene.after], sharpened)
    before, frame0, target, frame1, after = frames
    assert frame0 is not None
    assert target is not None
    assert frame1 is not None
    return Scene(frame0, target, frame1, scene.t, scene.flow, before, after)


def _each(frames: list[Image | None], change: Callable[[Image], Image]) -> list[Image | None]:
    return [None if frame is None else change(frame) for frame in frames]
