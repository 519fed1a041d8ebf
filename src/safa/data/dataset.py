"""Training samples: scenes cut, augmented and reduced to what the network sees and what it should answer.

Sample ``i`` is a function of the seed and ``i`` alone, so a resumed training sees what an uninterrupted one sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import Dataset

from safa.data.clips import Clip, draw_window, find_clips, load_clip
from safa.data.scene import Image, Scene
from safa.data.stills import Still, draw_motion, find_stills, load_still
from safa.errors import SafaError
from safa.network.prior import classical_flow
from safa.ops import SCALE

# Low-resolution pixels kept around a patch while the classical flow is computed, so that it sees what moves in.
FLOW_MARGIN = 16


@dataclass
class Sample:
    """One training example; batched by ``collate`` along a first axis."""

    frame0: Tensor  # 3,h,w in [0, 1]
    frame1: Tensor
    prior: tuple[Tensor, Tensor]  # classical flow 0->1 and 1->0, 2,h,w each
    t: Tensor  # scalar in (0, 1)
    targets: Tensor  # 3,3,4h,4w: truth at 0, t and 1

    def to(self, device: torch.device) -> Sample:
        """The same on ``device``."""
        prior = (self.prior[0].to(device), self.prior[1].to(device))
        return Sample(self.frame0.to(device), self.frame1.to(device), prior, self.t.to(device), self.targets.to(device))


def reduce_quarter(image: Image) -> Image:
    """Antialiased bicubic 1/4 of ``H,W,3``, stored as 8 bits, as the field makes its inputs."""
    height, width = image.shape[:2]
    reduced = PillowImage.fromarray(image).resize((width // SCALE, height // SCALE), PillowImage.Resampling.BICUBIC)
    return np.asarray(reduced)


class TrainingData(Dataset[Sample]):
    """Random samples from the clips and photographs below a folder.

    Args:
        folder: searched for both kinds; at least one must be there.
        patch: side of the high-resolution patch in pixels, a multiple of 32.
        still_share: probability of a sample made from photographs, when both kinds are there.
        seed: of everything random.
        length: number of samples before the data ends.
    """

    def __init__(self, folder: Path, patch: int, still_share: float, seed: int, length: int) -> None:
        if patch % 32:
            raise SafaError(f"The patch size is {patch}; it must be a multiple of 32.")
        # A forked loader worker inherits OpenCV's thread pool without its threads and would wait for them forever.
        cv2.setNumThreads(0)
        self.patch, self.seed, self.length = patch, seed, length
        if not folder.is_dir():
            raise SafaError(f"There is no folder {folder} with training data.")
        self.clips: list[Clip] = [load_clip(path) for path in find_clips(folder)]
        self.stills: list[Still] = [load_still(path) for path in find_stills(folder)]
        if not self.clips and not self.stills:
            raise SafaError(f"The folder {folder} holds neither video clips nor photographs.")
        self.still_share = still_share if self.clips and self.stills else float(bool(self.stills))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        rng = np.random.Generator(np.random.Philox(key=(self.seed, index)))
        side = self.patch + 2 * FLOW_MARGIN * SCALE
        if rng.random() < self.still_share:
            scene = draw_motion(self.stills, side, rng)
        else:
            scene = draw_window(self.clips, side, rng)
        return self._cut(_augment(scene, rng), rng)

    def _cut(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """Reduce the scene, compute its classical flow, then cut the patch out of the middle or near it."""
        low0, low1 = reduce_quarter(scene.frame0), reduce_quarter(scene.frame1)
        forward, backward = classical_flow(low0, low1), classical_flow(low1, low0)
        low = self.patch // SCALE
        if low0.shape[0] < low or low0.shape[1] < low:
            raise SafaError(f"A clip is smaller than the patch of {self.patch} pixels; use a smaller patch.")
        # The busier of two places: flat sky teaches nothing.
        places = [
            (int(rng.integers(low0.shape[0] - low + 1)), int(rng.integers(low0.shape[1] - low + 1))) for _ in range(2)
        ]
        top, left = max(places, key=lambda place: float(low0[place[0] :, place[1] :][:low, :low].std()))
        near = slice(top, top + low), slice(left, left + low)
        far = slice(top * SCALE, (top + low) * SCALE), slice(left * SCALE, (left + low) * SCALE)
        truth = [_to_tensor(frame[far]) for frame in (scene.frame0, scene.target, scene.frame1)]
        return Sample(
            _to_tensor(low0[near]),
            _to_tensor(low1[near]),
            (_flow_to_tensor(forward[near]), _flow_to_tensor(backward[near])),
            torch.tensor(scene.t, dtype=torch.float32),
            torch.stack(truth),
        )


def _augment(scene: Scene, rng: np.random.Generator) -> Scene:
    """Flips, transposition, channel reversal and time reversal."""
    frames = [scene.frame0, scene.target, scene.frame1]
    t = scene.t
    if rng.random() < 0.5:
        frames, t = frames[::-1], 1 - t
    if rng.random() < 0.5:
        frames = [frame[:, ::-1] for frame in frames]
    if rng.random() < 0.5:
        frames = [frame[::-1] for frame in frames]
    if rng.random() < 0.5:
        frames = [frame.transpose(1, 0, 2) for frame in frames]
    if rng.random() < 0.5:
        frames = [frame[:, :, ::-1] for frame in frames]
    frames = [np.ascontiguousarray(frame) for frame in frames]
    return Scene(frames[0], frames[1], frames[2], t)


def collate(samples: list[Sample]) -> Sample:
    """Stack samples along a new first axis."""
    return Sample(
        torch.stack([s.frame0 for s in samples]),
        torch.stack([s.frame1 for s in samples]),
        (torch.stack([s.prior[0] for s in samples]), torch.stack([s.prior[1] for s in samples])),
        torch.stack([s.t for s in samples]),
        torch.stack([s.targets for s in samples]),
    )


def _to_tensor(image: Image) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


def _flow_to_tensor(flow: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(flow)).permute(2, 0, 1)
