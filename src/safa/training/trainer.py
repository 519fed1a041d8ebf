"""Time that a run has spent training, without the time in which it was paused."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.fabric import Fabric
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from safa.checkpoint import load_checkpoint, save_checkpoint
from safa.data.dataset import StepSampler, TrainingData, collate, open_material
from safa.engine.memory import freed_is_kept
from safa.errors import SafaError
from safa.files import atomic_write, write_text
from safa.network.layers import ResidualBlock
from safa.network.safa import Safa
from safa.training.basicvsr import load_basicvsr
from safa.training.config import TrainConfig
from safa.training.initialise import load_extractor, start_anew, start_from
from safa.training.losses import Perceptual
from safa.training.monitor import Monitor, Validation, Validator
from safa.training.objective import Objective, fuse_operations, keep_features

# Seconds between two looks at the clock, and the longest time between them in which nothing paused the process.
TICK, LONGEST = 1.0, 10.0


class ActiveTime:
    """Seconds from ``begin`` on, without those in which the process was stopped (SIGSTOP) or the computer slept.

    A thread looks at the clock every second; where it has not for long, it was not allowed to.

    Args:
        now: the clock, in seconds; None for the system's.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now = now or time.monotonic
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._total, self._last = 0.0, self._now()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        """Count from now on."""
        self._last = self._now()
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def seconds(self) -> float:
        """Until now."""
        with self._lock:
            now = self._now()
            passed, self._last = now - self._last, now
            self._total += passed if passed <= LONGEST else TICK
            return self._total

    def _run(self) -> None:
        while not self._ended.wait(TICK):
            self.seconds()


# Ctrl-C, and whatever else a program turns into an exception, ends training between two steps, never inside one.

# SIGTERM as well: the command line makes of it what Ctrl-C is.
SIGNALS = signal.SIGINT, signal.SIGTERM


class Interrupt:
    """Handler of signals: from ``begin`` to ``end`` the first one is only noted in ``asked``; a second one is handled
    at once.

    Signals that are ignored, or end the process without Python's doing, are left alone, and so are all outside the
    main thread.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def begin(self) -> None:
        """Take the signals over."""
        if threading.current_thread() is not threading.main_thread():
            return  # they cannot be handled here
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._note)

    def end(self) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def handle(self) -> None:
        """Do what the noted signal would have done: usually, raise ``KeyboardInterrupt``."""
        if self.asked is not None:
            self._before[self.asked](self.asked, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            self._before[number](number, frame)
        self.asked = number


def ignore_in_worker(worker: int) -> None:
    """Let a loader's process go on after Ctrl-C, which reaches it too, and so does SIGTERM where a service manager or a
    batch system stops a run: its death would be an error inside a step. It ends with the process that it works for.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


# State of a run on disk, from which it continues as if it had never stopped.


@dataclass
class RunParts:
    """Everything that a training step changes.

    Attributes:
        average: averaged weights.
        shares: ``Objective.shares``.
        sharpness: ``Objective.sharpness``, with the discriminators that are trained beside the network, or None.
    """

    network: Safa
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    shares: Tensor
    sharpness: nn.Module | None = None

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Everything that is trained, by names of its own."""
        yield from self.network.named_parameters()
        if self.sharpness is not None:
            yield from ((f"sharpness.{name}", parameter) for name, parameter in self.sharpness.named_parameters())


def save_state(path: Path, run: RunParts, step: int, seconds: float) -> None:
    """Write a run's state to one safetensors file, atomically; ``step`` and ``seconds``: how many are done, and the
    time they took.
    """
    tensors = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in run.average.items()}
    tensors["shares"] = run.shares
    if run.sharpness is not None:
        tensors |= {f"sharpness.{name}": value for name, value in run.sharpness.state_dict().items()}
    for name, parameter in run.parameters():
        for key, value in run.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    # Clones: a safetensors file must not hold two views of one memory, and channels_last is not contiguous.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with atomic_write(path) as temporary:
        save_file(plain, str(temporary), {"step": str(step), "seconds": str(seconds)})


def load_network(path: Path, network: Safa) -> None:
    """Load the network of a saved run alone, before an optimiser is made for it. Raises SafaError as ``load_state``."""
    tensors, _ = _read(path)
    _fill_network(path, network, tensors)


def load_state(path: Path, run: RunParts) -> tuple[int, float]:
    """Invert ``save_state``: fill the given run; return the step and the seconds.

    Raises:
        SafaError: the file is damaged, or the run has another layout of the network, or other losses.
    """
    tensors, metadata = _read(path)
    given = {name.split(".")[1] for name in tensors if name.startswith("sharpness.") and name.count(".") > 1}
    wanted: set[str] = set() if run.sharpness is None else {name for name, _ in run.sharpness.named_children()}
    if given != wanted:
        raise SafaError(
            f"The run in {path.parent} was made with {' and '.join(sorted(given)) or 'no discriminator'}; "
            "resume it with the adversarial_share and feature_adversarial_share it has."
        )
    _fill_network(path, run.network, tensors)
    try:
        if run.sharpness is not None:
            run.sharpness.load_state_dict(_part(tensors, "sharpness."))
        # Missing in runs from before blocks were balanced one by one.
        run.shares.copy_(tensors.get("shares", run.shares))
    except RuntimeError as error:
        raise _other_settings(path) from error
    for name, value in _part(tensors, "average.").items():
        run.average[name].copy_(value)
    for name, parameter in run.parameters():
        # A parameter that no step has touched, such as a branch for a scale that is never used, has no moments.
        for key in ("step", "exp_avg", "exp_avg_sq"):
            moment = tensors.get(f"optimizer.{key}.{name}")
            if moment is not None:
                kept = moment if key == "step" else torch.empty_like(parameter).copy_(moment)
                run.optimizer.state[parameter][key] = kept
    return int(metadata["step"]), float(metadata.get("seconds", 0))


def update_average(average: dict[str, Tensor], network: Safa, decay: float) -> None:
    """Move the averaged weights by ``1 - decay`` towards the current ones."""
    current = network.state_dict()
    floating = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floating], [current[n].detach() for n in floating], 1 - decay)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a saved state."""
    try:
        with safe_open(str(path), "pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise SafaError(
            f"{path} is damaged; start a run in another folder with --init {path.parent / 'last.safetensors'}."
        ) from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _fill_network(path: Path, network: Safa, tensors: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(_part(tensors, "network."))
    except RuntimeError as error:
        raise _other_settings(path) from error


def _other_settings(path: Path) -> SafaError:
    return SafaError(f"The run in {path.parent} was made with other network settings; resume it with its own.")


# The resumable training loop.

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
    """Steps of the whole run, estimated where the run is measured in hours."""
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
        write_text(out / "config.json", json.dumps(config.to_dict(), indent=1))
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
    return objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _is_of_step(path: Path, step: int) -> bool:
    try:
        return load_checkpoint(path).provenance.get("steps") == step
    except SafaError:
        return False
