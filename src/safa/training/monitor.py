"""Validation on held-out samples: one number at the input times and one between them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from safa.data.dataset import Sample, TrainingData, collate, validation_settings
from safa.data.material import Material
from safa.metrics import psnr_y
from safa.network.operations import bicubic_upsample
from safa.network.safa import Safa
from safa.training.config import TrainConfig
from safa.training.objective import SHARE, synthesize_all

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
    """PSNR of bicubic enlargement at the input times."""
    blend: float
    """PSNR of blended bicubic frames between them."""


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
    """Enlarge all input frames, and blend the two around the time between."""
    enlarged = bicubic_upsample(sample.frames.flatten(0, 1)).unflatten(0, sample.frames.shape[:2])
    batch, t = torch.arange(len(sample.t)), sample.t.view(-1, 1, 1, 1)
    return enlarged, (1 - t) * enlarged[batch, sample.pair] + t * enlarged[batch, sample.pair + 1]


def _score(inputs: Tensor, between: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
    """Y-PSNR ``B`` at the inputs, the mean over them, and between."""
    at_inputs = psnr_y(inputs.clamp(0, 1).flatten(0, 1), sample.truths.flatten(0, 1))
    return at_inputs.unflatten(0, inputs.shape[:2]).mean(dim=1), psnr_y(between.clamp(0, 1), sample.between)


def _mean(parts: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    return tuple(float(torch.cat([part[k] for part in parts]).mean()) for k in range(2))  # type: ignore[return-value]


# Logging of a run: log.jsonl, TensorBoard, pictures, and a warning when the selector has collapsed.

# A scale that gets this share of a block's choices has left nothing to the others.
COLLAPSED = 0.97


class Monitor:
    """Collects values over an interval of ``log_every`` steps and writes their means.

    Args:
        out: the run's folder; rows go to its ``log.jsonl``.
        config: of the run.
        step: how many are done. A killed run has logged some that were not saved: those rows are taken out, as the
            steps are done again.
    """

    def __init__(self, out: Path, config: TrainConfig, step: int = 0) -> None:
        self.out, self.config = out, config
        log = out / "log.jsonl"
        if log.is_file():
            log.write_text("".join(line for line in log.read_text().splitlines(True) if _step_of(line) <= step))
        self._writer = SummaryWriter(str(out))
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def close(self) -> None:
        """Flush and close the TensorBoard events."""
        self._writer.close()

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Take one step's values; they stay on their device, so that a GPU need not be waited for."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def write(self, step: int, **further: float) -> str | None:
        """Write the means since the last call; returns a warning for the user when there is reason for one."""
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        self._row({"step": step, **means, **further})
        shares = {name.removeprefix(SHARE): value for name, value in means.items() if name.startswith(SHARE)}
        most = max(shares, key=lambda name: shares[name], default=None)
        if most is None or shares[most] < COLLAPSED:
            return None
        block, scale = map(int, most.split("_"))
        return (
            f"The selector takes scale {self.config.network.scales[scale]:g} for {shares[most]:.0%} of the samples in "
            f"block {block + 1}: it has collapsed. Raise scale_balance (now {self.config.scale_balance:g}), lower "
            f"scale_cost (now {self.config.scale_cost:g}), or train on larger patches and faster motion so that there "
            "is something to choose."
        )

    def validation(self, result: Validation) -> None:
        """Write the figures of a validation."""
        values = {f"held_out_{name}": value for name, value in dataclasses.asdict(result).items() if name != "step"}
        self._row({"step": result.step, **values})

    @torch.no_grad()
    def pictures(self, network: Safa, sample: Sample, step: int) -> None:
        """The frame before t enlarged, the network's frame at t and the truth, side by side, for up to four samples."""
        few = sample.mapped(lambda tensor: tensor[:4])
        network.eval()
        result = synthesize_all(network, few)[1]
        network.train()
        before = bicubic_upsample(few.frames[torch.arange(len(few.pair), device=few.pair.device), few.pair]).clamp(0, 1)
        row = torch.cat((before, result.clamp(0, 1), few.between), dim=-1)
        self._writer.add_image("bicubic before t, result t, truth t", torch.cat(list(row), dim=-2).cpu(), step)

    def _row(self, row: dict[str, float]) -> None:
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps({name: round(value, 8) for name, value in row.items()}) + "\n")
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))


def _step_of(row: str) -> float:
    """Return the step of a row of the log; infinity for a row that was not written to its end."""
    try:
        return float(json.loads(row)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
