"""Training: configuration, objective and the resumable loop.

A run is a folder: ``config.json``, ``state.safetensors`` (weights, averaged weights, optimiser, step),
``last.safetensors`` (the averaged weights as a network file), ``log.jsonl`` and TensorBoard events. Everything random
is a function of the seed and the step, so a run that was stopped and resumed equals one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning.fabric import Fabric
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from torch.utils.tensorboard import SummaryWriter

from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.data.dataset import Sample, TrainingData, collate
from safa.errors import SafaError
from safa.network.safa import Safa, SafaConfig
from safa.network.selector import branch_weights

Times = Literal["one", "three"]
# With one time per sample: how often it is 0, in between, or 1.
TIME_SHARES = (0.2, 0.6, 0.2)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; a TOML file holds the same names, with the network's under ``[network]``.

    Attributes:
        network: layout of the network.
        steps: optimiser steps of the whole run; the learning rate's cosine ends there.
        batch: samples per step and device.
        patch: side of the high-resolution patch, a multiple of 32.
        still_share: probability of a sample made from photographs.
        times: "three" compares the frames at 0, t and 1 of every sample (the paper); "one" draws one of them, which
            makes nearly three times the steps in the same time.
        learning_rate, final_learning_rate, warmup: linear warm-up over ``warmup`` steps, then cosine.
        weight_decay, clip: AdamW's decay; largest gradient norm.
        fused_loss: weight of the same loss on the image fusion alone, which teaches motion faster.
        scale_cost: weight of the expected cost of the chosen scales (1 = every block at full scale).
        scale_balance: weight of a term that is 0 when the scales are used equally often over blocks and samples and
            each choice is certain; without it the selector soon takes one scale for everything.
        average: decay of the averaged weights.
        precision: as Lightning Fabric names it ("32-true", "bf16-mixed", "16-mixed").
        compile: fuse operations with torch.compile (a minute or two at the start).
        workers: loader processes.
        seed: of everything random.
        save_every, log_every, picture_every: in steps.
    """

    network: SafaConfig = field(default_factory=SafaConfig)
    steps: int = 20_000
    batch: int = 8
    patch: int = 128
    still_share: float = 0.5
    times: Times = "one"
    learning_rate: float = 8e-4
    final_learning_rate: float = 4e-6
    warmup: int = 300
    weight_decay: float = 1e-4
    clip: float = 1.0
    fused_loss: float = 0.5
    scale_cost: float = 0.0
    scale_balance: float = 4e-3
    average: float = 0.999
    precision: str = "32-true"
    compile: bool = False
    workers: int = 1
    seed: int = 1
    save_every: int = 500
    log_every: int = 50
    picture_every: int = 2000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "patch", "log_every", "save_every", "picture_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise SafaError(f"{name} is {getattr(self, name)!r}; it must be a whole number of at least 1.")
        if self.times not in get_args(Times):
            raise SafaError(f"times is {self.times!r}; it must be one of {', '.join(get_args(Times))}.")
        if self.patch % 32:
            raise SafaError(f"patch is {self.patch}; it must be a multiple of 32.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of ``to_dict``; an unknown name is an error, a missing one takes its default."""
        values = dict(values)
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise SafaError(f"The training settings have unknown names: {', '.join(unknown)}.")
        values["network"] = SafaConfig.from_dict(values.get("network", {}))
        return cls(**values)

    @classmethod
    def from_toml(cls, path: Path) -> TrainConfig:
        """Read a recipe."""
        try:
            return cls.from_dict(tomllib.loads(path.read_text()))
        except OSError as error:
            raise SafaError(f"The recipe {path} cannot be read: {error.strerror}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SafaError(f"The recipe {path} is not valid TOML: {error}.") from error

    @classmethod
    def of_run(cls, out: Path, resume: bool) -> TrainConfig:
        """The settings an existing run was started with, or the defaults for a new one."""
        path = out / "config.json"
        return cls.from_dict(json.loads(path.read_text())) if resume and path.is_file() else cls()

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of step ``step`` (from 0)."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine


@dataclass
class TrainProgress:
    """What the loop reports after every step."""

    step: int
    steps: int
    loss: float
    steps_per_second: float
    seconds_left: float


class Objective(nn.Module):
    """The network together with its loss, so that one call is one training step's forward pass."""

    def __init__(self, network: Safa, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        self.costs: Tensor
        self.register_buffer("costs", torch.tensor([scale**2 for scale in network.config.scales]), persistent=False)

    def forward(self, sample: Sample, pick: Tensor) -> dict[str, Tensor]:
        """Losses of a batch; ``pick`` ``B`` chooses truth 0, 1 (time t) or 2 when one time per sample is compared."""
        pair = self.network.encode(sample.frame0, sample.frame1, sample.prior)
        times = torch.stack((torch.zeros_like(sample.t), sample.t, torch.ones_like(sample.t)))  # 3,B
        if self.config.times == "one":
            batch = torch.arange(len(pick), device=pick.device)
            parts = [self._at(pair, times[pick, batch], sample.targets[batch, pick])]
        else:
            parts = [self._at(pair, times[k], sample.targets[:, k]) for k in range(3)]
        return {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}

    def _at(self, pair: Any, t: Tensor, truth: Tensor) -> dict[str, Tensor]:
        result = self.network.synthesize(pair, t)
        losses = {"l1": (result.image - truth).abs().mean()}
        total = losses["l1"]
        if result.fused is not None and self.config.fused_loss:
            losses["fused"] = (result.fused - truth).abs().mean()
            total = total + self.config.fused_loss * losses["fused"]
        if result.probability.shape[-1]:
            share = branch_weights(result.probability.flatten(0, 1))  # B*blocks,K
            losses["cost"] = (share * self.costs).sum(dim=1).mean()
            losses["imbalance"] = _imbalance(share)
            total = total + self.config.scale_cost * losses["cost"] + self.config.scale_balance * losses["imbalance"]
        return {"loss": total, **losses}


def _imbalance(share: Tensor) -> Tensor:
    """How far ``share`` ``N,K`` is from certain choices that use all K scales equally; 0 is ideal, 1.2 log K worst.

    The entropy of the average choice is wanted high, the entropy of single choices low (less strongly: certainty too
    early would freeze a random preference).
    """

    def entropy(distribution: Tensor) -> Tensor:
        return -(distribution * (distribution + 1e-6).log()).sum(dim=-1)

    return math.log(share.shape[1]) - entropy(share.mean(dim=0)) + 0.2 * entropy(share).mean()


class _Steps(Sampler[list[int]]):
    """Sample numbers of each step, from ``first`` on, for one of ``world`` devices."""

    def __init__(self, first: int, steps: int, batch: int, rank: int, world: int) -> None:
        self.range, self.batch, self.rank, self.world = range(first, steps), batch, rank, world

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.range:
            start = (step * self.world + self.rank) * self.batch
            yield list(range(start, start + self.batch))


def train(
    config: TrainConfig,
    data: Path,
    out: Path,
    *,
    minutes: float | None = None,
    resume: bool = False,
    init: str | None = None,
    accelerator: str = "auto",
    devices: int | str = "auto",
    on_progress: Callable[[TrainProgress], None] | None = None,
) -> int:
    """Train until ``config.steps`` or for ``minutes`` of wall time, whichever comes first.

    Args:
        data: folder with clips and photographs.
        out: the run's folder.
        minutes: wall time of this call, loading included; the run can be resumed afterwards.
        resume: go on from ``out``; without it ``out`` must not hold a run.
        init: shipped name or file of weights to start from; their configuration must be the recipe's.
        accelerator, devices: as Lightning Fabric takes them.
        on_progress: called after every step on the first device.

    Returns:
        The number of steps done in the whole run.

    Raises:
        SafaError: unusable data, settings or run folder.
    """
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    state_path = out / "state.safetensors"
    if resume and not state_path.is_file():
        raise SafaError(f"There is no run to resume in {out}; start it without --resume.")
    if not resume and state_path.exists():
        raise SafaError(f"{out} already holds a run; add --resume to go on with it or choose another folder.")
    out.mkdir(parents=True, exist_ok=True)

    fabric = Fabric(accelerator=accelerator, devices=devices, precision=config.precision)  # type: ignore[arg-type]
    fabric.launch()
    torch.manual_seed(config.seed)
    network = Safa(config.network)
    if init is not None:
        start = load_checkpoint(init)
        if start.network.config != config.network:
            raise SafaError(f"The weights {init} have another layout than the recipe's [network]; make them agree.")
        network.load_state_dict(start.network.state_dict())
    network = network.to(fabric.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    step = 0
    if resume:
        step = _load_state(state_path, network, average, optimizer, fabric.device)
    objective: nn.Module = Objective(network, config).to(fabric.device)
    if config.compile:
        objective = torch.compile(objective)  # type: ignore[assignment]
    objective, prepared = fabric.setup(objective, optimizer)

    samples = TrainingData(data, config.patch, config.still_share, config.seed, config.steps * config.batch * 4096)
    loader = DataLoader(
        samples,
        batch_sampler=_Steps(step, config.steps, config.batch, fabric.global_rank, fabric.world_size),
        collate_fn=collate,
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
    )
    _write_text(out / "config.json", json.dumps(config.to_dict(), indent=1))
    writer = SummaryWriter(str(out)) if fabric.is_global_zero else None
    recent: dict[str, float] = {}
    first, began = step, time.monotonic()

    def save() -> None:
        if fabric.is_global_zero:
            _save_state(state_path, network, average, optimizer, step)
            averaged = Safa(config.network)
            averaged.load_state_dict({name: value.cpu() for name, value in average.items()})
            save_checkpoint(averaged, out / "last.safetensors", {"steps": step, "training": config.to_dict()})

    try:
        for batch in loader:
            torch.manual_seed(config.seed * 1_000_003 + step * fabric.world_size + fabric.global_rank)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate_at(step)
            sample = batch.to(fabric.device)
            pick = torch.multinomial(torch.tensor(TIME_SHARES), config.batch, replacement=True).to(fabric.device)
            losses = objective(sample, pick)
            prepared.zero_grad(set_to_none=True)
            fabric.backward(losses["loss"])
            fabric.clip_gradients(objective, prepared, max_norm=config.clip)
            prepared.step()
            step += 1
            _update_average(average, network, min(config.average, (1 + step) / (10 + step)))
            for name, value in losses.items():
                recent[name] = recent.get(name, 0.0) + float(value.detach()) / config.log_every
            rate = (step - first) / (time.monotonic() - began)
            if on_progress is not None and fabric.is_global_zero:
                left = (config.steps - step) / rate
                if deadline is not None:
                    left = min(left, max(0.0, deadline - time.monotonic()))
                on_progress(TrainProgress(step, config.steps, float(losses["loss"].detach()), rate, left))
            if step % config.log_every == 0:
                if writer is not None:
                    _log(out, writer, step, recent, config.learning_rate_at(step - 1), rate)
                recent = {}
            if step % config.picture_every == 0 and writer is not None:
                _log_pictures(writer, network, sample, step)
            if step % config.save_every == 0:
                save()
            if deadline is not None and time.monotonic() > deadline:
                break
    finally:
        if step > first:
            save()
        if writer is not None:
            writer.close()
    return step


@torch.no_grad()
def _update_average(average: dict[str, Tensor], network: Safa, decay: float) -> None:
    current = network.state_dict()
    floating = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floating], [current[n].detach() for n in floating], 1 - decay)


def _log(out: Path, writer: SummaryWriter, step: int, values: dict[str, float], rate: float, speed: float) -> None:
    row = {"step": step, **values, "learning_rate": rate, "steps_per_second": speed}
    with (out / "log.jsonl").open("a") as file:
        file.write(json.dumps({name: round(value, 8) for name, value in row.items()}) + "\n")
    for name, value in row.items():
        if name != "step":
            writer.add_scalar(name, value, step)


@torch.no_grad()
def _log_pictures(writer: SummaryWriter, network: Safa, sample: Sample, step: int) -> None:
    """Bicubic frame 0, the network's frame at t and the truth, side by side, for up to four samples."""
    network.eval()
    prior = (sample.prior[0][:4], sample.prior[1][:4])
    pair = network.encode(sample.frame0[:4], sample.frame1[:4], prior)
    result = network.synthesize(pair, sample.t[:4])
    network.train()
    row = torch.cat((pair.frame0.enlarged.clamp(0, 1), result.image, sample.targets[:4, 1]), dim=-1)
    writer.add_image("bicubic 0, result t, truth t", torch.cat(list(row), dim=-2).cpu(), step)


def _save_state(
    path: Path, network: Safa, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, step: int
) -> None:
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    # Clones: a safetensors file must not hold two views of one memory, and channels_last is not contiguous.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_suffix(".tmp")
    save_file(plain, str(temporary), {"step": str(step)})
    os.replace(temporary, path)


def _load_state(
    path: Path, network: Safa, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    with safe_open(str(path), "pt", device="cpu") as file:
        step = int(file.metadata()["step"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    try:
        network.load_state_dict(part("network."))
    except RuntimeError as error:
        raise SafaError(
            f"The run in {path.parent} was made with other network settings; resume it with its own."
        ) from error
    for name, value in part("average.").items():
        average[name].copy_(value)
    for name, parameter in network.named_parameters():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = tensors[f"optimizer.{key}.{name}"]
            optimizer.state[parameter][key] = value if key == "step" else torch.empty_like(parameter).copy_(value)
    return step


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
