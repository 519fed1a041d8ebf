"""Allowed values of each setting of a training run on its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from safa.errors import SafaError

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
        ("still_share", "motion_blur", "graphics", "pattern_share"),
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
