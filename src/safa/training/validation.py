"""Validation on held-out samples: one number at the input times and one between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from safa.data.dataset import Sample, TrainingData, collate, validation_settings
from safa.data.material import Material
from safa.metrics import psnr_y
from safa.network.safa import Safa
from safa.ops import enlarge
from safa.training.config import TrainConfig


@dataclass(frozen=True)
class Validation:
    """Y-PSNR in dB on the held-out samples, the mean over samples."""

    step: int
    inputs: float
    """At the times of the two input frames."""
    between: float
    """At the time between them."""
    bicubic: float
    """What bicubic enlargement reaches at the input times."""
    blend: float
    """What the blended bicubic frames reach between them."""


class Validator:
    """Measures a network on the same held-out samples every time.

    Args:
        material: without held-out reels or photographs nothing is measured.
        config: decides the task (patch, spans, degradation) and the number of samples.
        device: where the network is.
    """

    def __init__(self, material: Material, config: TrainConfig, device: torch.device) -> None:
        self.device = device
        self.batches: list[Sample] = []
        if not material.held_out or not config.validation_samples:
            return
        settings = validation_settings(config.sample_settings())
        data = TrainingData(material.held_out, settings, config.seed, config.validation_samples)
        for first in range(0, len(data), config.batch):
            self.batches.append(collate([data[k] for k in range(first, min(first + config.batch, len(data)))]))
        parts = [_score(enlarge(batch.frame0), enlarge(batch.frame1), _blend(batch), batch) for batch in self.batches]
        self.bicubic, self.blend = _mean(parts)

    @torch.no_grad()
    def measure(self, network: Safa, step: int) -> Validation | None:
        """The figures of ``network`` after ``step`` steps; None without held-out material. Leaves it in eval mode."""
        if not self.batches:
            return None
        network.eval()
        parts = []
        for held in self.batches:
            batch = held.to(self.device)
            pair = network.encode(batch.frame0, batch.frame1, batch.prior)
            first, middle, last = (network.synthesize(pair, t).image for t in (0.0, batch.t, 1.0))
            parts.append(_score(first, last, middle, batch))
        return Validation(step, *_mean(parts), self.bicubic, self.blend)


def _blend(sample: Sample) -> Tensor:
    t = sample.t.view(-1, 1, 1, 1)
    return (1 - t) * enlarge(sample.frame0) + t * enlarge(sample.frame1)


def _score(first: Tensor, last: Tensor, middle: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
    """Y-PSNR ``B`` at the inputs, the mean of both, and between."""
    at = [psnr_y(image.clamp(0, 1), sample.targets[:, k]) for k, image in enumerate((first, middle, last))]
    return (at[0] + at[2]) / 2, at[1]


def _mean(parts: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    return tuple(float(torch.cat([part[k] for part in parts]).mean()) for k in range(2))  # type: ignore[return-value]
