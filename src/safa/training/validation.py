"""Validation on held-out samples: one number at the input times and one between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from safa.data.dataset import TrainingData, validation_settings
from safa.data.material import Material
from safa.data.sample import Sample, collate
from safa.evaluation.metrics import psnr_y
from safa.network.operations import bicubic_upsample
from safa.network.safa import Safa
from safa.training.config import TrainConfig
from safa.training.views import synthesize_all

# Of the held-out samples; not the run's, so that runs that differ in their seed alone are compared on the same ones.
SEED = 1


@dataclass(frozen=True)
class Validation:
    """Y-PSNR in dB on the held-out samples, the mean over samples."""

    step: int
    inputs: float
    """At the times of the input frames."""
    between: float
    """At the time between two of them."""
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
        settings = validation_settings(config.sample_settings(), material.held_out)
        data = TrainingData(material.held_out, settings, SEED, config.validation_samples)
        for first in range(0, len(data), config.batch):
            self.batches.append(collate([data[k] for k in range(first, min(first + config.batch, len(data)))]))
        parts = [_score(*_bicubic(batch), batch) for batch in self.batches]
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
            parts.append(_score(*synthesize_all(network, batch), batch))
        return Validation(step, *_mean(parts), self.bicubic, self.blend)


def _bicubic(sample: Sample) -> tuple[Tensor, Tensor]:
    """All input frames enlarged, and the two around the time between blended."""
    enlarged = bicubic_upsample(sample.frames.flatten(0, 1)).unflatten(0, sample.frames.shape[:2])
    batch, t = torch.arange(len(sample.t)), sample.t.view(-1, 1, 1, 1)
    return enlarged, (1 - t) * enlarged[batch, sample.pair] + t * enlarged[batch, sample.pair + 1]


def _score(inputs: Tensor, between: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
    """Y-PSNR ``B`` at the inputs, the mean over them, and between."""
    at_inputs = psnr_y(inputs.clamp(0, 1).flatten(0, 1), sample.truths.flatten(0, 1))
    return at_inputs.unflatten(0, inputs.shape[:2]).mean(dim=1), psnr_y(between.clamp(0, 1), sample.between)


def _mean(parts: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    return tuple(float(torch.cat([part[k] for part in parts]).mean()) for k in range(2))  # type: ignore[return-value]
