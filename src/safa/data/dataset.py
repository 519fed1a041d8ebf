"""One training example: the network's inputs and its targets."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from safa.data.clips import Reel, Spans, draw_window, longest_span
from safa.data.degrade import Degradation, degrade, sharpen
from safa.data.drawn import draw_drawn_scene
from safa.data.graphics import draw_graphics
from safa.data.material import Material, Split, load_folder
from safa.data.pack import open_pack
from safa.data.scene import Image, Scene, augment, crisp, reduce_quarter
from safa.data.synthetic import draw_film, draw_motion
from safa.errors import SafaError
from safa.network.config import SCALE
from safa.network.dis_flow import flow_both_ways, motion_between


@dataclass
class Sample:
    """One training example of N input frames; batched by ``collate`` along a first axis."""

    frames: Tensor  # N,3,h,w in [0, 1]
    truths: Tensor  # N,3,4h,4w: truth at the frames
    between: Tensor  # 3,4h,4w: truth at the time t after frame `pair`
    pair: Tensor  # scalar, 0 to N-2
    t: Tensor  # scalar in (0, 1)
    prior: Tensor | None
    """``N-1,2,2,h,w``: classical flow from a frame to the next, and from the next back to it; None for networks that do
    not start from it."""
    motion: Tensor | None
    """``3,2,h,w``: ``dis_flow.motion_between`` of the frames of ``pair``; None without ``prior``."""
    taught: tuple[Tensor, Tensor] | None
    """``N,3,4h,4w`` and ``3,4h,4w``: the teacher's pictures of the frames and at the time t; None when they were not
    asked for."""
    clean: Tensor | None
    """``N,3,h,w``: the frames as they were before they were degraded, which teachers look at; None when they were not
    asked for."""
    flow: Tensor | None
    """``3,4,h,w``, for two frames: exact flow from 0, t and 1 to frame 0 (x, y) and frame 1 (x, y) in low-resolution
    pixels, NaN where it is not known; None when it was not asked for."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Sample:
        """Return a sample with ``change`` applied to every tensor."""
        prior, motion, clean, flow = (
            None if tensor is None else change(tensor) for tensor in (self.prior, self.motion, self.clean, self.flow)
        )
        frames, truths, between = change(self.frames), change(self.truths), change(self.between)
        taught = None if self.taught is None else (change(self.taught[0]), change(self.taught[1]))
        return Sample(frames, truths, between, change(self.pair), change(self.t), prior, motion, taught, clean, flow)

    def to(self, device: torch.device) -> Sample:
        """Return the sample on ``device``."""
        return self.mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Sample:
        """Return the sample in page-locked memory, from which copies to a GPU do not wait (called by the loader)."""
        return self.mapped(Tensor.pin_memory)


def collate(samples: list[Sample]) -> Sample:
    """Stack samples along a new first axis."""

    def stacked(tensors: list[Tensor | None]) -> Tensor | None:
        given = [tensor for tensor in tensors if tensor is not None]
        return torch.stack(given) if given else None

    return Sample(
        torch.stack([sample.frames for sample in samples]),
        torch.stack([sample.truths for sample in samples]),
        torch.stack([sample.between for sample in samples]),
        torch.stack([sample.pair for sample in samples]),
        torch.stack([sample.t for sample in samples]),
        stacked([sample.prior for sample in samples]),
        stacked([sample.motion for sample in samples]),
        _stacked_taught(samples),
        stacked([sample.clean for sample in samples]),
        stacked([sample.flow for sample in samples]),
    )


def _stacked_taught(samples: list[Sample]) -> tuple[Tensor, Tensor] | None:
    taught = [sample.taught for sample in samples if sample.taught is not None]
    return (torch.stack([one[0] for one in taught]), torch.stack([one[1] for one in taught])) if taught else None


class StepSampler(Sampler[list[int]]):
    """Sample numbers of each step from ``first`` to ``steps`` (excluded), for device ``rank`` of ``world`` devices."""

    def __init__(self, first: int, steps: int, batch: int, rank: int, world: int) -> None:
        self.range, self.batch, self.rank, self.world = range(first, steps), batch, rank, world

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.range:
            start = (step * self.world + self.rank) * self.batch
            yield list(range(start, start + self.batch))


# Training samples: scenes cut, augmented and reduced to what the network sees and what it should answer.

# Low-resolution pixels kept around a patch: so that the classical flow sees what moves in, and the reduction the
# neighbours of the patch. Neighbouring frames of a window are nearer to each other than the two of a pair.
FLOW_MARGIN, WINDOW_MARGIN, MARGIN = 16, 8, 4


@dataclass(frozen=True)
class SampleSettings:
    """Settings of training samples.

    Attributes:
        frames: 2 for pairs; more for windows of consecutive frames, of clips and of photographs that stay sharp.
        patch: side of the high-resolution patch in pixels, a multiple of 32.
        still_share: probability of a sample made from photographs, when there are reels too.
        spans: distances of neighbouring input frames.
        motion_blur: probability of motion blur in scenes made from photographs.
        degradation: of the input frames; None for clean ones (antialiased bicubic reduction).
        augment: flips and reversals.
        transpose: among them the exchange of rows and columns.
        with_prior: compute the classical flow.
        crispness: scenes are sharpened by a random strength up to this, truth and inputs alike; 0 for none.
        graphics: probability of subtitles, titles or logos before a scene (``draw_graphics``); such scenes come without
            exact flow.
        drawn: probability of a drawn scene instead of clips and photographs; for windows.
        with_taught: hand out the teacher's pictures, which packs have; for windows, without crispness, graphics and
            drawn scenes.
        with_clean: hand out degraded input frames as they were before, too.
        with_flow: hand out the exact flow of scenes made from photographs; for pairs.
    """

    frames: int = 2
    patch: int = 128
    still_share: float = 0.5
    spans: Spans = field(default_factory=Spans)
    motion_blur: float = 0.0
    crispness: float = 0.0
    graphics: float = 0.0
    drawn: float = 0.0
    degradation: Degradation | None = None
    augment: bool = True
    transpose: bool = True
    with_prior: bool = True
    with_taught: bool = False
    with_clean: bool = False
    with_flow: bool = False

    def __post_init__(self) -> None:
        if self.patch % 32 or self.patch < 32:
            raise SafaError(f"The patch size is {self.patch}; it must be a multiple of 32.")
        if self.frames < 2 or (self.frames > 2 and self.with_flow):
            raise SafaError("Samples have two frames, or more without exact flow.")
        if self.with_taught and (self.frames == 2 or self.crispness or self.graphics or self.drawn):
            raise SafaError("The teacher's pictures are for windows, and without crispness, graphics and drawn scenes.")
        if self.drawn and self.frames == 2:
            raise SafaError("Drawn scenes are windows of more than two frames; set drawn to 0.")

    @property
    def margin(self) -> int:
        """Low-resolution pixels around a patch on each side that are made, looked at and cut off."""
        if not self.with_prior:
            return MARGIN
        return FLOW_MARGIN if self.frames == 2 else WINDOW_MARGIN


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

    Raises:
        SafaError: nothing to make them from, or reels that are all too short for a window.
    """

    def __init__(self, split: Split, settings: SampleSettings, seed: int, length: int) -> None:
        if not split:
            raise SafaError("There is nothing to train on: the data hold neither clips nor photographs.")
        self.split, self.settings, self.seed, self.length = split, settings, seed, length
        self.reels = fitting_reels(split.reels, settings.frames)
        if split.reels and not self.reels and (settings.still_share < 1 or not split.stills):
            needed, longest = 2 * (settings.frames - 1) + 1, max(reel.count for reel in split.reels)
            raise SafaError(
                f"Windows of {settings.frames} frames and one between two of them need clips of {needed}, and the "
                f"longest has {longest}: pack with --frames {needed} or more, or set still_share to 1."
            )
        self.moving = fitting_reels(split.moving, settings.frames)
        stills = self.moving if settings.with_taught else (self.moving or split.stills)
        if settings.with_taught and not (self.reels or self.moving):
            raise SafaError("The data hold no pictures of a teacher: pack them with 'safa pack --teacher'.")
        self.still_share = settings.still_share if self.reels and stills else float(bool(stills))
        self.side = settings.patch + 2 * SCALE * settings.margin

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        settings = self.settings
        rng = np.random.Generator(np.random.Philox(key=(self.seed, index)))
        scene = self._draw(rng)
        if settings.crispness:
            scene = crisp(scene, settings.crispness, rng)
        if settings.augment:
            scene = augment(scene, rng, settings.transpose)
        if settings.graphics:
            of_graphics = np.random.Generator(np.random.Philox(key=(self.seed, index)).jumped())
            if of_graphics.random() < settings.graphics:
                scene = draw_graphics(scene, of_graphics)
        return self._cut(scene, rng)

    def _draw(self, rng: np.random.Generator) -> Scene:
        settings, stills = self.settings, self.split.stills
        if settings.drawn and rng.random() < settings.drawn:
            return draw_drawn_scene(stills, self.side, settings.frames, rng)
        if rng.random() >= self.still_share:
            return draw_window(self.reels, self.side, settings.spans, rng, settings.frames, settings.with_taught)
        if self.moving:
            return draw_window(self.moving, self.side, settings.spans, rng, settings.frames, settings.with_taught)
        if settings.frames > 2:
            return draw_film(stills, self.side, settings.frames, rng, settings.motion_blur)
        return draw_motion(stills, self.side, rng, settings.motion_blur, settings.with_flow)

    def _cut(self, scene: Scene, rng: np.random.Generator) -> Sample:
        """Reduce the scene, compute its classical flow, then cut the patch out of the middle or near it."""
        settings = self.settings
        clean = None
        if settings.with_clean and settings.degradation is not None:
            clean = [reduce_quarter(frame) for frame in scene.frames]
        if settings.degradation is None:
            lows = [reduce_quarter(frame) for frame in scene.frames]
        else:
            lows = degrade(scene.frames, settings.degradation, rng)
            if settings.degradation.sharpen:
                *frames, target = (
                    sharpen(frame, settings.degradation.sharpen) for frame in (*scene.frames, scene.target)
                )
                scene = dataclasses.replace(scene, frames=frames, target=target)
        top, left = self._place(lows[0], rng)
        low = settings.patch // SCALE
        near = slice(top, top + low), slice(left, left + low)
        far = slice(top * SCALE, (top + low) * SCALE), slice(left * SCALE, (left + low) * SCALE)
        prior = motion = None
        if settings.with_prior:
            prior, motion = (flows[..., near[0], near[1]] for flows in flows_of_window(lows, scene.pair))
        taught = None
        if scene.taught is not None:
            taught = (
                torch.stack([_to_tensor(frame[far]) for frame in scene.taught[0]]),
                _to_tensor(scene.taught[1][far]),
            )
        flow = None
        if settings.with_flow:
            flow = torch.full((3, 4, low, low), torch.nan)
            if scene.flow is not None:
                flow = torch.stack([_channels_first(at_time[near]) for at_time in scene.flow])
        return Sample(
            torch.stack([_to_tensor(frame[near]) for frame in lows]),
            torch.stack([_to_tensor(frame[far]) for frame in scene.frames]),
            _to_tensor(scene.target[far]),
            torch.tensor(scene.pair),
            torch.tensor(scene.t, dtype=torch.float32),
            prior,
            motion,
            taught,
            None if clean is None else torch.stack([_to_tensor(frame[near]) for frame in clean]),
            flow,
        )

    def _place(self, first: Image, rng: np.random.Generator) -> tuple[int, int]:
        """Top and left of the patch in the first low-resolution frame."""
        low = self.settings.patch // SCALE
        rows, columns = first.shape[0] - low, first.shape[1] - low
        if rows < 0 or columns < 0:
            raise SafaError(f"A clip is smaller than the patch of {self.settings.patch} pixels; use a smaller patch.")
        if self.settings.frames > 2:  # what moves in and out is seen for longer: the margin is needed on all sides
            return rows // 2, columns // 2
        # The one with more detail of two places: flat areas are of little use for training.
        places = [(int(rng.integers(rows + 1)), int(rng.integers(columns + 1))) for _ in range(2)]
        return max(places, key=lambda place: float(first[place[0] :, place[1] :][:low, :low].std()))


def flows_of_window(lows: Sequence[Image], pair: int) -> tuple[Tensor, Tensor]:
    """The classical flow of consecutive frames, as ``Sample.prior``, and ``Sample.motion`` of those after ``pair``."""
    steps = list(itertools.starmap(flow_both_ways, itertools.pairwise(lows)))
    before, now, after = [None, *steps, None][pair : pair + 3]
    assert now is not None
    prior = torch.stack([torch.stack([_channels_first(flow) for flow in both]) for both in steps])
    return prior, torch.stack([_channels_first(flow) for flow in motion_between(before, now, after)])


def fitting_reels(reels: Sequence[Reel], frames: int) -> tuple[Reel, ...]:
    """Return the ``reels`` long enough for a window of ``frames`` and a time between each two of them."""
    return tuple(reel for reel in reels if longest_span(reel.count, frames) >= 2)


def validation_settings(settings: SampleSettings, held_out: Split) -> SampleSettings:
    """Return settings for the same task without augmentation, on real motion where there is some."""
    still_share = 0.0 if fitting_reels(held_out.reels, settings.frames) else 1.0
    return dataclasses.replace(
        settings,
        still_share=still_share,
        augment=False,
        motion_blur=0.0,
        crispness=0.0,
        graphics=0.0,
        drawn=float(settings.drawn > 0.5),  # what is mostly trained on
        with_taught=False,
        with_clean=False,
        with_flow=False,
    )


def _to_tensor(image: Image) -> Tensor:
    return _channels_first(image).float() / 255


def _channels_first(field: NDArray[np.uint8] | NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(field)).permute(2, 0, 1)
