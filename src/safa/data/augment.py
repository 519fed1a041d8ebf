"""Flips, transposition, channel reversal and time reversal of a scene, its flow included."""

from __future__ import annotations

import numpy as np

from safa.data.scene import Scene


def augment(scene: Scene, rng: np.random.Generator, transpose: bool = True) -> Scene:
    """Each of the changes with probability 1/2; ``transpose`` off leaves that one out (the paper has it not)."""
    frames, t, flow = [scene.frame0, scene.target, scene.frame1], scene.t, scene.flow
    if rng.random() < 0.5:
        frames, t = frames[::-1], 1 - t
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
    frames = [np.ascontiguousarray(frame) for frame in frames]
    flow = None if flow is None else np.ascontiguousarray(flow, dtype=np.float32)
    return Scene(frames[0], frames[1], frames[2], t, flow)
