"""Allowed values of each setting of a training run on its own."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from safa.data.clips import Spans
from safa.data.dataset import SampleSettings
from safa.data.degrade import Degradation
from safa.errors import SafaError
from safa.network.config import SafaConfig

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (_whole(value) or isinstance(value, float)) and math.isfinite(value)


_RANGES: dict[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = {
    "a whole number of at least 1": (
        lambda value: _whole(value) and value >= 1,
        ("steps", "batch", "patch", "log_every", "save_every", "picture_every", "validate_every"),
    ),
    "a whole number of at least 1, or not there": (
        lambda value: value is None or (_whole(value) and value >= 1),
        ("epochs",),
    ),
    "a whole number of at least 0": (
        lambda value: _whole(value) and value >= 0,
        ("warmup", "workers", "seed", "validation_samples"),
    ),
    "a number above 0, or not there": (lambda value: value is None or (_number(value) and value > 0), ("hours",)),
    "a number above 0": (lambda value: _number(value) and value > 0, ("clip",)),
    "a number of at least 0": (
        lambda value: _number(value) and value >= 0,
        (
            "learning_rate",
            "final_learning_rate",
            "weight_decay",
            "crispness",
            "fused_loss",
            "between_loss",
            "frequency_loss",
            "perceptual_loss",
            "perceptual_share",
            "adversarial_share",
            "feature_adversarial_share",
            "lattice_loss",
            "false_detail_loss",
            "flow_loss",
            "truth_loss",
            "distillation_loss",
            "scale_cost",
            "scale_balance",
        ),
    ),
    "a number from 0 to 1": (
        lambda value: _number(value) and 0 <= value <= 1,
        ("still_share", "motion_blur", "graphics", "drawn", "pattern_share"),
    ),
    "a number of at least 0 and less than 1": (
        lambda value: _number(value) and 0 <= value < 1,
        ("held_out", "average"),
    ),
    "true or false": (lambda value: isinstance(value, bool), ("transpose", "compile", "plain_blocks", "checkpointing")),
    "a name or path, or not there": (
        lambda value: value is None or isinstance(value, str),
        ("perceptual_weights", "teacher", "extractor_weights"),
    ),
    f"one of {', '.join(PRECISIONS)}": (lambda value: value in PRECISIONS, ("precision",)),
}


def check_ranges(config: Any) -> None:
    """Raise ``SafaError`` for the first setting of a ``TrainConfig`` that no run can have."""
    for phrase, (is_possible, names) in _RANGES.items():
        for name in names:
            if not is_possible(getattr(config, name)):
                raise SafaError(f"{name} is {getattr(config, name)!r}; it must be {phrase}.")


# Recipes: TOML files of settings that may extend one another, and single settings from the command line.


def read_recipe(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return a recipe's values, on top of those of the recipe it ``extends`` (a name in the same folder).

    Raises:
        SafaError: a file that cannot be read, is not valid TOML, or extends itself.
    """
    if path.resolve() in below:
        raise SafaError(f"The recipe {path} extends itself.")
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise SafaError(f"The recipe {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SafaError(f"The recipe {path} is not valid TOML: {error}.") from error
    parent = values.pop("extends", None)
    if parent is None:
        return values
    return merge(read_recipe(path.parent / f"{parent}.toml", (*below, path.resolve())), values)


def parse_overrides(lines: Sequence[str]) -> dict[str, Any]:
    """Values from lines such as ``network.channels = 32``."""
    values: dict[str, Any] = {}
    for line in lines:
        try:
            values = merge(values, tomllib.loads(line))
        except tomllib.TOMLDecodeError as error:
            raise SafaError(f"The setting '{line}' is not valid TOML; write it as network.channels=32.") from error
    return values


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, table by table."""
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = merge(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def given(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` without those that are "default", table by table."""
    kept = {name: value for name, value in values.items() if value != "default"}
    return {name: given(value) if isinstance(value, dict) else value for name, value in kept.items()}


# Settings of a training run, and the recipes (TOML) they are kept in.

Times = Literal["one", "three"]
PixelLoss = Literal["l1", "charbonnier", "psnr"]
ScaleMode = Literal["selector", "random"]
Trained = Literal["all", "synthesis"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; a recipe holds the same names, nested ones in tables such as ``[network]``.

    Attributes:
        network: layout of the network.
        steps: optimiser steps of the whole run; the learning rate's cosine ends there.
        epochs: instead of ``steps``: how often the run sees as many samples as there are windows in the data.
        hours: instead of ``steps``: training time of the whole run, over all its parts; the learning rate's cosine goes
            by it, so runs of this kind are resumed with the same samples but do not come out equal to the bit.
        batch: samples per step and device.

        frames: input frames of a sample: 2, or more for a network with propagation, which is trained on windows of
            consecutive frames. Clips must be twice as long, so that there is a time between.
        patch: side of the high-resolution patch, a multiple of 32.
        still_share: probability of a sample made from photographs.
        spans: how far apart neighbouring input frames are, in source frames (``lengths``), and how often (``shares``).
        motion_blur: probability of motion blur in scenes made from photographs.
        crispness: sharpen whole scenes, truth and inputs alike, by a random strength up to this: footage at hand is
            mostly softer than what the network will be asked to enlarge.
        graphics: probability of subtitles, titles and logos that stand still or scroll before a scene.
        drawn: probability of a drawn scene (`safa.data.drawn`) instead of clips and photographs; for windows.
        transpose: exchange rows and columns at random, beside flips and reversals.
        degradation: what happens to the inputs before the network sees them; None for clean inputs.
        held_out: the part of a folder's clips that is kept for validation; a pack brings its own.

        trained: "all", or "synthesis": of windows, only what makes frames between the input frames. Features and
            enlarged input frames stay as they are, and a step takes about a third of the time.
        times: "three" compares the frames at 0, t and 1 of every sample (the paper); "one" draws one of them, which
            makes nearly three times the steps in the same time. Of a window all input frames are compared and the one
            at t.
        loss: "l1" (the paper), "charbonnier", its smooth variant, or "psnr", the logarithm of the squared error, for a
            last stage.
        fused_loss: weight of the same loss on the image fusion alone, which teaches motion faster.
        between_loss: in windows, the weight of all that concerns the time between, beside 1 for the input frames.
        frequency_loss: weight of the L1 distance between the Fourier transforms.
        perceptual_loss: weight of the distance between VGG features; needs ``perceptual_weights``.
        perceptual_weights: safetensors file with torchvision's VGG-16 or VGG-19, or None.
        perceptual_share: of windows: the same distance, each layer's in parts of the truth's features; its gradient at
            the picture is made so many times as long as the pixel loss's; needs ``perceptual_weights``.
        adversarial_share: of windows: the same for a discriminator that is trained beside the network, on frames and on
            their differences, so that results look sharp and do not flicker.
        feature_adversarial_share: of windows: the same for one that judges by the features of ``perceptual_weights``.
        lattice_loss: of windows: weight of a term against meshes of any period, which the discriminators let grow.
        false_detail_loss: of windows: weight of a term against detail where the truth has less; they let that grow too.
        flow_loss: weight of the distance, in low-resolution pixels, to the exact flow of scenes made from photographs
            and, for other scenes, to the flow of ``teacher``.
        truth_loss, distillation_loss: of windows: weight of ``loss`` against the truth, and of the same loss against
            the teacher's pictures, those that the data hold (``safa pack --teacher``) or those of ``teacher``.
        teacher: of pairs: shipped name or file of weights to learn flow from, or None.
        picture_teachers: of windows: files of the teacher BasicVSR (``scripts/teacher_weights.py``), for data that hold
            none of its pictures. Each step learns from one of them, drawn at random, which sees the input frames as
            they are or mirrored. In the mean over steps that is the mean of their pictures, better than each.
        scale_choice: "selector" draws each block's scale with the selector's probabilities, and the gradient passes the
            draw straight through; "random" draws it evenly, for the whole batch, to train a network with
            ``network.fixed_scale`` so that it works at all its scales.
        scale_pattern, pattern_share: what "random" takes instead of drawing, an index of ``network.scales`` for each
            block (default: ``network.fixed_scale`` in every block), and in what share of the steps.
        scale_cost: weight of the expected cost of the chosen scales (1 = every block at full scale).
        scale_balance: weight of a term that is 0 when each block's scales are used as often as ``scale_shares`` say, in
            the running mean of its probabilities over samples; without it the selector soon takes one scale for
            everything.
        scale_shares: how often each scale is to be used; default: equally often.

        learning_rate, final_learning_rate, warmup: linear warm-up over ``warmup`` steps, then cosine.
        weight_decay, clip: AdamW's decay; largest gradient norm.
        betas: AdamW's memory of the gradient and of its square.
        average: decay of the averaged weights, which are what is validated and kept.
        extractor_weights: safetensors file with a ResNet-18 in torchvision's names that the feature extractor starts
            from (ablation d), or None.

        precision: as Lightning Fabric names it ("32-true", "bf16-mixed", "16-mixed").
        compile: fuse the operations between the convolutions of the longest chains of residual blocks with
            torch.compile: a C++ compiler and some seconds at the start for faster steps.
        plain_blocks: train residual blocks that begin as ``x + conv(LeakyReLU(conv(x)))``, as those of a new network
            and of the teacher BasicVSR do, as just that: slopes and factors stay as they are, and steps are faster.
        checkpointing: compute activations again on the way back instead of keeping them: about a third slower, a
            fraction of the memory.
        workers: loader processes of each device.
        seed: of everything random.
        save_every, log_every, picture_every, validate_every: in steps.
        validation_samples: number of held-out samples that are measured; 0 for no validation.
    """

    network: SafaConfig = field(default_factory=SafaConfig)
    steps: int = 20_000
    epochs: int | None = None
    hours: float | None = None
    batch: int = 8

    frames: int = 2
    patch: int = 128
    still_share: float = 0.5
    spans: Spans = field(default_factory=Spans)
    motion_blur: float = 0.0
    crispness: float = 0.0
    graphics: float = 0.0
    drawn: float = 0.0
    transpose: bool = True
    degradation: Degradation | None = None
    held_out: float = 0.1

    trained: Trained = "all"
    times: Times = "one"
    loss: PixelLoss = "l1"
    fused_loss: float = 0.5
    between_loss: float = 0.7
    frequency_loss: float = 0.0
    perceptual_loss: float = 0.0
    perceptual_weights: str | None = None
    perceptual_share: float = 0.0
    adversarial_share: float = 0.0
    feature_adversarial_share: float = 0.0
    lattice_loss: float = 0.0
    false_detail_loss: float = 0.0
    flow_loss: float = 0.0
    truth_loss: float = 1.0
    distillation_loss: float = 0.0
    teacher: str | None = None
    picture_teachers: tuple[str, ...] = ()
    scale_choice: ScaleMode = "selector"
    scale_pattern: tuple[int, ...] | None = None
    pattern_share: float = 0.4
    scale_cost: float = 0.0
    scale_balance: float = 4e-3
    scale_shares: tuple[float, ...] | None = None

    learning_rate: float = 8e-4
    final_learning_rate: float = 4e-6
    warmup: int = 300
    weight_decay: float = 1e-4
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)
    average: float = 0.999
    extractor_weights: str | None = None

    precision: str = "32-true"
    compile: bool = False
    plain_blocks: bool = False
    checkpointing: bool = False
    workers: int = 1
    seed: int = 1
    save_every: int = 500
    log_every: int = 50
    picture_every: int = 2000
    validate_every: int = 1000
    validation_samples: int = 32

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, choices in (("trained", Trained), ("times", Times), ("loss", PixelLoss), ("scale_choice", ScaleMode)):
            if getattr(self, name) not in get_args(choices):
                raise SafaError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(get_args(choices))}.")
        for name in ("scale_pattern", "scale_shares", "betas", "picture_teachers"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.patch % 32:
            raise SafaError(f"patch is {self.patch}; it must be a multiple of 32.")
        for name in ("perceptual_loss", "perceptual_share", "feature_adversarial_share"):
            if getattr(self, name) and self.perceptual_weights is None:
                raise SafaError(f"{name} needs perceptual_weights, a safetensors file with VGG's weights.")
        if self.hours is not None and self.epochs is not None:
            raise SafaError("hours cannot be given beside epochs.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise SafaError(f"betas is {self.betas!r}; it must be two numbers from 0 to less than 1.")
        self._check_windows()
        self._check_scales()

    def _check_windows(self) -> None:
        if not isinstance(self.frames, int) or self.frames < 2:
            raise SafaError(f"frames is {self.frames!r}; it must be a whole number of at least 2.")
        if self.network.propagation and self.frames < 3:
            raise SafaError("A network with propagation is trained on windows: set frames to 3 or more, such as 5.")
        if self.frames > 2 and not self.network.propagation:
            raise SafaError(
                f"frames is {self.frames}, but a network without propagation looks at two frames only: set frames to "
                "2, or network.propagation to 1 or more."
            )
        if self.frames == 2 and self.trained != "all":
            raise SafaError('trained = "synthesis" is for windows: set frames to 3 or more.')
        shares = "perceptual_share", "adversarial_share", "feature_adversarial_share"
        for name in (*shares, "lattice_loss", "false_detail_loss"):
            if self.frames == 2 and getattr(self, name):
                raise SafaError(f"{name} is for windows: set frames to 3 or more.")
        if self.frames > 2 and self.flow_loss:
            raise SafaError("Windows have no exact flow: flow_loss is for frames = 2.")
        if self.frames == 2 and self.distillation_loss:
            raise SafaError("distillation_loss is for windows: set frames to 3 or more.")
        if self.frames > 2 and self.teacher is not None:
            raise SafaError("teacher is for frames = 2: windows learn from picture_teachers.")
        if self.picture_teachers and not self.distillation_loss:
            raise SafaError("picture_teachers count for nothing without distillation_loss; give that a weight.")
        if self.distillation_loss and not self.picture_teachers and (self.crispness or self.graphics or self.drawn):
            raise SafaError("Packed teacher frames show packed scenes only: set crispness, graphics and drawn to 0.")

    def _check_scales(self) -> None:
        if self.scale_choice == "random":
            if self.network.fixed_scale is None:
                raise SafaError(
                    'scale_choice "random" does not train the selector: give network.fixed_scale, the scale that is '
                    "used after training."
                )
            if self.scale_pattern is not None:
                self.network.forced_scales(self.scale_pattern)
        shares = self.scale_shares
        if shares is not None and (len(shares) != len(self.network.scales) or min(shares) <= 0):
            raise SafaError(f"scale_shares is {shares!r}; it must be one number above 0 for each of network.scales.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """The inverse of ``to_dict``; an unknown name is an error, a missing or "default" one takes its default."""
        values = given(values)
        unknown = sorted(set(values) - {f.name for f in dataclasses.fields(cls)})
        if unknown:
            raise SafaError(f"The training settings have unknown names: {', '.join(unknown)}.")
        try:
            values["network"] = SafaConfig.from_dict(values.get("network", {}))
            if values.get("degradation") is not None:
                values["degradation"] = Degradation.from_dict(values["degradation"])
            spans = {name: tuple(numbers) for name, numbers in values.pop("spans", {}).items()}
            return cls(**values, spans=Spans(**spans))
        except (TypeError, ValueError, AttributeError) as error:
            raise SafaError(
                f"The training settings hold a value of the wrong kind, or spans has unknown names: {error}."
            ) from error

    @classmethod
    def from_toml(cls, path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
        """Read a recipe; ``overrides`` are lines such as ``network.channels = 32`` that win over it."""
        return cls.from_dict(merge(read_recipe(path), parse_overrides(overrides)))

    @classmethod
    def of_run(cls, out: Path, resume: bool, overrides: Sequence[str] = ()) -> TrainConfig:
        """The settings an existing run was started with, or the defaults for a new one, changed by ``overrides``."""
        path = out / "config.json"
        values = json.loads(path.read_text()) if resume and path.is_file() else {}
        return cls.from_dict(merge(values, parse_overrides(overrides)))

    def sample_settings(self) -> SampleSettings:
        """Return the settings of the samples that such a run needs."""
        return SampleSettings(
            frames=self.frames,
            patch=self.patch,
            still_share=self.still_share,
            spans=self.spans,
            motion_blur=self.motion_blur,
            crispness=self.crispness,
            graphics=self.graphics,
            drawn=self.drawn,
            degradation=self.degradation,
            transpose=self.transpose,
            with_prior=self.network.needs_flow,
            with_taught=self.distillation_loss > 0 and not self.picture_teachers,
            with_clean=bool(self.picture_teachers),
            with_flow=self.flow_loss > 0,
        )

    def learning_rate_at(self, step: int, passed: float = 0.0) -> float:
        """Learning rate of step ``step`` (from 0); ``passed`` are the hours of training before it."""
        if self.hours is None:
            progress = min(1.0, max(0, step - self.warmup) / max(1, self.steps - self.warmup))
        else:
            progress = min(1.0, passed / self.hours)
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        rate = self.final_learning_rate + (self.learning_rate - self.final_learning_rate) * cosine
        return rate * min(1.0, (step + 1) / self.warmup) if self.warmup else rate
