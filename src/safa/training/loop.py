"""The resumable training loop.

A run is a folder: ``config.json``, ``state.safetensors`` (weights, averaged weights, optimiser, step),
``last.safetensors`` (the averaged weights as a network file), ``log.jsonl`` and TensorBoard events. Everything random
is a function of the seed and the step, so a run that was stopped and resumed equals one that was not; only a run that
is measured in hours depends on how fast it goes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch.utils.data import DataLoader

from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.data.dataset import TrainingData, open_material
from safa.data.sample import StepSampler, collate
from safa.engine.process_memory import freed_is_kept
from safa.errors import SafaError
from safa.network.layers import ResidualBlock
from safa.network.safa import Safa
from safa.training.active_time import ActiveTime
from safa.training.basicvsr import load_basicvsr
from safa.training.config import TrainConfig
from safa.training.interrupt import Interrupt, ignore_in_worker
from safa.training.losses import Perceptual
from safa.training.monitor import Monitor
from safa.training.objective import Objective, fuse_operations, keep_features
from safa.training.pretrained import load_extractor, start_anew, start_from
from safa.training.state import RunParts, load_network, load_state, save_state, update_average
from safa.training.validation import Validation, Validator

# With one time per sample: how often it is 0, in between, or 1.
TIME_SHARES = (0.2, 0.6, 0.2)
# A discriminator has to follow a network that changes all the time.
DISCRIMINATOR_BETAS = (0.5, 0.99)
# More steps than a run that is measured in hours can make.
ENDLESS = 10**9


@dataclass(frozen=True)
class TrainProgress:
    """Progress of a run, reported after every step."""

    step: int
    steps: int
    """Of the whole run; of one that is measured in hours an estimate."""
    loss: float
    steps_per_second: float
    samples_per_second: float
    """Over all devices."""
    loader_wait: float
    """Share of the time spent waiting for data, 0..1; much of it calls for more workers or a pack."""
    seconds_left: float
    validation: Validation | None
    """The latest figures on held-out data; those of this step when their ``step`` is this one."""
    warning: str | None = None
    """Something to change about the run, once per logging interval."""


@freed_is_kept()
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
    """Train until ``config.steps`` or ``config.hours``, or for ``minutes`` of wall time, whichever comes first.

    Args:
        data: a pack, or a folder with clips and photographs.
        out: the run's folder.
        minutes: wall time of this call, loading included; the run can be resumed afterwards.
        resume: go on from ``out``; without it ``out`` must not hold a run.
        init: shipped name or file of weights to start from; their configuration must be the recipe's.
        accelerator, devices: as Lightning Fabric takes them; under torchrun its number of processes counts.
        on_progress: called after every step on the first device.

    Returns:
        The number of steps done in the whole run.

    Raises:
        SafaError: unusable data, settings or run folder, or a gradient that is not finite.
        KeyboardInterrupt: after Ctrl-C, once the step is done and the run is saved.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    state_path = out / "state.safetensors"
    if resume and not state_path.is_file():
        raise SafaError(f"There is no run to resume in {out}; start it without --resume.")
    if not resume and state_path.exists():
        raise SafaError(f"{out} already holds a run; add --resume to go on with it or choose another folder.")
    if not resume and (out / "last.safetensors").exists():
        raise SafaError(f"{out} holds weights that the run would replace, last.safetensors; choose another folder.")
    material = open_material(data, config.held_out)

    fabric = _fabric(accelerator, devices, config.precision)
    fabric.launch()
    if config.epochs is not None:
        windows = len(material.train.reels) or len(material.train.stills)
        steps = math.ceil(config.epochs * windows / (config.batch * fabric.world_size))
        config = dataclasses.replace(config, steps=max(1, steps))
    torch.manual_seed(config.seed)
    network = Safa(config.network)
    start_anew(network)
    if config.extractor_weights is not None:
        load_extractor(network, Path(config.extractor_weights))
    if init is not None:
        start_from(network, init)
    network = network.to(fabric.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    if resume:
        load_network(state_path, network)
    if config.plain_blocks:
        for module in network.modules():
            if isinstance(module, ResidualBlock):
                module.make_plain()
    if config.trained == "synthesis":
        keep_features(network)
    average = {name: value.detach().clone() for name, value in network.state_dict().items()}
    plain = _objective(network, config, fabric.device)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": trained, "betas": config.betas}]
    if plain.sharpness is not None:
        against = list(plain.sharpness.parameters())
        groups += [{"params": against, "betas": DISCRIMINATOR_BETAS}] if against else []
    optimizer = torch.optim.AdamW(groups, config.learning_rate, weight_decay=config.weight_decay)
    run = RunParts(network, average, optimizer, plain.shares, plain.sharpness)
    step, seconds = load_state(state_path, run) if resume else (0, 0.0)
    averaged = Safa(config.network).to(fabric.device)
    if config.compile:
        fuse_operations(network)
    prepared: Any
    objective, prepared = fabric.setup(plain, optimizer)

    last = config.steps if config.hours is None else ENDLESS
    total = last * config.batch * fabric.world_size
    samples = TrainingData(material.train, config.sample_settings(), config.seed, total)
    loader = DataLoader(
        samples,
        batch_sampler=StepSampler(step, last, config.batch, fabric.global_rank, fabric.world_size),
        collate_fn=collate,
        num_workers=config.workers,
        prefetch_factor=4 if config.workers else None,
        pin_memory=fabric.device.type == "cuda",
        worker_init_fn=ignore_in_worker,
    )
    monitor, validator = None, None
    if fabric.is_global_zero:
        validator = Validator(material, config, fabric.device)
        out.mkdir(parents=True, exist_ok=True)
        _write_text(out / "config.json", json.dumps(config.to_dict(), indent=1))
        monitor = Monitor(out, config, step)
    validation: Validation | None = None
    first, active, waited = step, ActiveTime(), 0.0
    interrupt, whole = Interrupt(), True

    def hours_passed() -> float:
        """Return the hours of the whole run, the same on all devices; 0 for a run that is measured in steps."""
        passed = (seconds + active.seconds()) / 3600
        return fabric.broadcast(passed) if config.hours is not None else 0.0

    def is_over() -> bool:
        return step >= last or (config.hours is not None and hours >= config.hours)

    def save() -> None:
        if fabric.is_global_zero:
            save_state(state_path, run, step, seconds + active.seconds())
            averaged.load_state_dict(average)
            save_checkpoint(averaged, out / "last.safetensors", {"steps": step, "training": config.to_dict()})

    active.begin()
    hours = hours_passed()
    interrupt.begin()
    try:
        batches = iter(loader)
        while not is_over():
            asked = time.monotonic()
            sample = next(batches).to(fabric.device)
            waited += time.monotonic() - asked
            torch.manual_seed(config.seed * 1_000_003 + step * fabric.world_size + fabric.global_rank)
            learning_rate = config.learning_rate_at(step, hours)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            pick = torch.multinomial(torch.tensor(TIME_SHARES), config.batch, replacement=True).to(fabric.device)
            losses = objective(sample, pick)
            prepared.zero_grad(set_to_none=True)
            fabric.backward(losses["loss"])
            norm = fabric.clip_gradients(network, prepared, max_norm=config.clip, error_if_nonfinite=False)
            # With loss scaling such a gradient is expected now and then, and the scaler leaves the step out.
            if norm is not None and not torch.isfinite(norm) and config.precision != "16-mixed":
                raise SafaError(
                    f"The gradient is not finite at step {step}; the weights before it are kept. Go on with --resume "
                    f"and a lower learning rate (now {config.learning_rate:g})."
                )
            whole = False  # until weights, moments and average belong to one step again
            prepared.step()
            step, hours = step + 1, hours_passed()
            update_average(average, network, min(config.average, (1 + step) / (10 + step)))
            whole = True
            if monitor is not None and validator is not None:
                elapsed = active.seconds()
                rate = (step - first) / elapsed
                monitor.add({name: value.detach() for name, value in losses.items()})
                warning = None
                if step % config.log_every == 0:
                    speed = {"steps_per_second": rate, "loader_wait": waited / elapsed}
                    warning = monitor.write(step, learning_rate=learning_rate, **speed)
                if step % config.picture_every == 0:
                    monitor.pictures(network, sample, step)
                if step % config.validate_every == 0 or is_over():
                    averaged.load_state_dict(average)
                    validation = validator.measure(averaged, step)
                    if validation is not None:
                        monitor.validation(validation)
                if on_progress is not None:
                    left = (last - step) / rate if config.hours is None else 3600 * max(0.0, config.hours - hours)
                    expected = step + round(left * rate)
                    left = min(left, max(0.0, deadline - time.monotonic()))
                    per_second = rate * config.batch * fabric.world_size
                    loss = float(losses["loss"].detach())
                    on_progress(
                        TrainProgress(
                            step, expected, loss, rate, per_second, waited / elapsed, left, validation, warning
                        )
                    )
            if step % config.save_every == 0:
                save()
            stop = interrupt.asked is not None or time.monotonic() > deadline
            # All devices must stop after the same step: the first one's word counts.
            if stop if fabric.world_size == 1 else fabric.broadcast(stop):
                break
    finally:
        interrupt.end()
        # A run that was killed between its two files lacks the second, or has that of an earlier step.
        if whole and (step > first or (resume and not _is_of_step(out / "last.safetensors", step))):
            save()
        active.end()
        if monitor is not None:
            monitor.close()
    interrupt.handle()
    return step


def _fabric(accelerator: str, devices: int | str, precision: str) -> Fabric:
    """Fabric with torchrun's number of processes and machines where torchrun started us."""
    environment = os.environ
    devices = int(environment["LOCAL_WORLD_SIZE"]) if "LOCAL_WORLD_SIZE" in environment else devices
    machines = int(environment.get("GROUP_WORLD_SIZE", 1))
    return Fabric(accelerator=accelerator, devices=devices, num_nodes=machines, precision=precision)  # type: ignore[arg-type]


def _objective(network: Safa, config: TrainConfig, device: torch.device) -> Objective:
    teacher, perceptual = None, None
    if config.teacher is not None:
        teacher = load_checkpoint(config.teacher).network.eval().requires_grad_(False)
        teacher = teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if config.perceptual_loss or config.perceptual_share or config.feature_adversarial_share:
        perceptual = Perceptual(Path(str(config.perceptual_weights))).to(device)
        perceptual.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    picture_teachers = [
        load_basicvsr(Path(path)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        for path in config.picture_teachers
    ]
    objective = Objective(network, config, teacher, perceptual, picture_teachers).to(device)
    return objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _is_of_step(path: Path, step: int) -> bool:
    try:
        return load_checkpoint(path).provenance.get("steps") == step
    except SafaError:
        return False


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
