"""Training samples: scenes cut, augmented and reduced to what the network sees and what it should answer.

Sample ``i`` is a function of the seed and ``i`` alone, so a resumed training sees what an uninterrupted one sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.data import Dataset

from safa.data.augment import augment, crisp
from safa.data.clips import Spans, draw_window
from safa.data.degrade import Degradation, degrade, sharpen
from safa.data.material import Material, Split, load_folder
from safa.data.pack import open_pack
from safa.data.scene import Image, Scene
from safa.data.stills import draw_motion
from safa.errors import SafaError
from safa.network.dis_flow import classical_flow
from safa.ops import SCALE

# Low-resolution pixels kept around a patch: so that the classical flow sees what moves in, and the reduction the
# neighbours of the patch.
FLOW_MARGIN, MARGIN = 16, 4


@dataclass
class Sample:
    """One training example; batched by ``collate`` along a first axis."""

    frame0: Tensor  # 3,h,w in [0, 1]
    frame1: Tensor
    t: Tensor  # scalar in (0, 1)
    targets: Tensor  # 3,3,4h,4w: truth at 0, t and 1
    prior: tuple[Tensor, Tensor] | None
    """Classical flow 0->1 and 1->0, ``2,h,w`` each; None for networks that do not start from it."""
    flow: Tensor | None
    """``3,4,h,w``: exact flow from 0, t and 1 to frame 0 (x, y) and frame 1 (x, y) in low-resolution pixels, NaN where
    it is not known; None when it was not asked for."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """The same with ``change`` applied to every tensor."""
        prior = None if self.prior is None else (change(self.prior[0]), change(self.prior[1]))
        flow = None if self.flow is None else change(self.flow)
        return Sample(change(self.frame0), change(self.frame1), change(self.t), change(self.targets), prior, flow)

    def to(self, device: torch.device) -> Sample:
        """The same on ``device``."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Sample:
        """The same in page-locked memory, from which copies to a GPU do not wait (called by the loader)."""
        return self.mapped(Tensor.pin_memory)


@dataclass(frozen=True)
class SampleSettings:
    """How samples are made.

    Attributes:
        patch: side of the high-resolution patch in pixels, a multiple of 32.
        still_share: probability of a sample made from photographs, when there are reels too.
        spans: distances of the two input frames.
        motion_blur: probability of motion blur in scenes made from photographs.
        degradation: of the input frames; None for clean ones (antialiased bicubic reduction).
        augment: flips and reversals.
        transpose: among them the exchange of rows and columns.
        with_prior: compute the classical flow.
        crispness: scenes are sharpened by a random strength up to this, truth and inputs alike; 0 for none.
        with_flow: hand out the exact flow of scenes made from photographs.
    """

    patch: int = 128
    still_share: float = 0.5
    spans: Spans = field(default_factory=Spans)
    motion_blur: float = 0.0
    crispness: float = 0.0
    degradation: Degradation | None = None
    augment: bool = True
    transpose: bool = True
    with_prior: bool = True
    with_flow: bool = False

    def __post_init__(self) -> None:
        if self.patch % 32 or self.patch < 32:
            raise SafaError(f"The patch size is {self.patch}; it must be a multiple of 32.")


def reduce_quarter(image: Image) -> Image:
    """Antialiased bicubic 1/4 of ``H,W,3``, stored as 8 bits, as the field makes its inputs."""
    height, width = image.shape[:2]
    reduced = PillowImage.fromarray(image).resize((width // SCALE, height // SCALE), PillowImage.Resampling.BICUBIC)
    return np.asarray(reduced)


def open_material(path: Path, held_out: float) -> Material:
    """A pack, or a folder with clips and photographs of which the part ``held_out`` is kept for validation.

    OpenCV's own threads are switched off: a forked loader worker would inherit the pool without its threads and wait
    for them forever.
    """
    cv2.setNumThreads(0)
    return open_pack(path) if path.is_file() else load_folder(path, held_out)


class TrainingData(Dataset[Sample]):
    """Random samples.

    Args:
        split: reels and photographs to make them from; at least one of either.
        settings: how they are made.
        seed: of everything random.
        length: number of samples before the data ends.
    """

    def __init__(self, split: Split, settings: SampleSettings, seed: int, length: int) -> None:
        if not split:
            raise SafaError("There is nothing to train on: the data hold neither clips nor photographs.")
        self.split, self.settings, self.seed, self.length = split, settings, seed, length
        self.still_share = settings.still_share if split.reels and split.stills else float(bool(split.stills))
        self.side = settings.patch + 2 * SCALE * (FLOW_MARGIN if settings.with_prior else MARGIN)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        settings = self.settings
        rng = np.random.Generator(np.random.Philox(key=(self.seed, index)))
        if rng.random() < self.still_share:
            scene = draw_motion(self.split.stills, self.side, rng, settings.motion_blur, settings.with_flow)
        else:
            scene = draw_window(self.split.reels, self.side, settings.spans, rng)
        if settings.crispness:
            scene = crisp(scene, settings.crispness, rng)
        return self._cut(augment(scene, rng, settings.transpose) if settings.augment else scene, rng)

    def _cut(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """Reduce the scene, compute its classical flow, then cut the patch out of the middle or near it."""
        settings = self.settings
        frames = [scene.frame0, scene.frame1]
        if settings.degradation is None:
            lows = [reduce_quarter(frame) for frame in frames]
        else:
            lows = degrade(frames, settings.degradation, rng)
            if settings.degradation.sharpen:
                sharp = (scene.frame0, scene.target, scene.frame1)
                first, middle, last = (sharpen(frame, settings.degradation.sharpen) for frame in sharp)
                scene = Scene(first, middle, last, scene.t, scene.flow)
        low0, low1 = lows
        low = settings.patch // SCALE
        if low0.shape[0] < low or low0.shape[1] < low:
            raise SafaError(f"A clip is smaller than the patch of {settings.patch} pixels; use a smaller patch.")
        # The busier of two places: flat sky teaches nothing.
        places = [
            (int(rng.integers(low0.shape[0] - low + 1)), int(rng.integers(low0.shape[1] - low + 1))) for _ in range(2)
        ]
        top, left = max(places, key=lambda place: float(low0[place[0] :, place[1] :][:low, :low].std()))
        near = slice(top, top + low), slice(left, left + low)
        far = slice(top * SCALE, (top + low) * SCALE), slice(left * SCALE, (left + low) * SCALE)
        prior = None
        if settings.with_prior:
            both = classical_flow(low0, low1), classical_flow(low1, low0)
            prior = (_channels_first(both[0][near]), _channels_first(both[1][near]))
        flow = None
        if settings.with_flow:
            flow = torch.full((3, 4, low, low), torch.nan)
            if scene.flow is not None:
                flow = torch.stack([_channels_first(at_time[near]) for at_time in scene.flow])
        return Sample(
            _to_tensor(low0[near]),
            _to_tensor(low1[near]),
            torch.tensor(scene.t, dtype=torch.float32),
            torch.stack([_to_tensor(frame[far]) for frame in (scene.frame0, scene.target, scene.frame1)]),
            prior,
            flow,
        )


def validation_settings(settings: SampleSettings) -> SampleSettings:
    """For the same task without augmentation, on real motion where there is some."""
    return dataclasses.replace(
        settings, still_share=0.0, augment=False, motion_blur=0.0, crispness=0.0, with_flow=False
    )


def collate(samples: list[Sample]) -> Sample:
    """Stack samples along a new first axis."""
    first = samples[0]
    priors = [sample.prior for sample in samples if sample.prior is not None]
    flows = [sample.flow for sample in samples if sample.flow is not None]
    return Sample(
        torch.stack([s.frame0 for s in samples]),
        torch.stack([s.frame1 for s in samples]),
        torch.stack([s.t for s in samples]),
        torch.stack([s.targets for s in samples]),
        None if first.prior is None else (torch.stack([p[0] for p in priors]), torch.stack([p[1] for p in priors])),
        None if first.flow is None else torch.stack(flows),
    )


def _to_tensor(image: Image) -> Tensor:
    return _channels_first(image).float() / 255


def _channels_first(field: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(field)).permute(2, 0, 1)
