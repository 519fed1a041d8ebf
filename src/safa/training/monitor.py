"""Logging of a run: log.jsonl, TensorBoard, pictures, and a warning when the selector has collapsed."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from safa.data.sample import Sample
from safa.network.operations import bicubic_upsample
from safa.network.safa import Safa
from safa.training.config import TrainConfig
from safa.training.objective import SHARE
from safa.training.validation import Validation
from safa.training.views import synthesize_all

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
