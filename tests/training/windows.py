"""A tiny network that looks along a window, and how it is trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import TINY

from safa.data.dataset import Sample, TrainingData, collate, open_material
from safa.network.config import SafaConfig
from safa.network.safa import Safa
from safa.training import TrainConfig, TrainProgress, train
from safa.training.initialise import start_anew

NETWORK = SafaConfig(**TINY, grid="input", blend_prior=True, flow_prior="dis", propagation=1, fixed_scale=1)  # type: ignore[arg-type]
SELECTING = dataclasses.replace(NETWORK, fixed_scale=None)
CONFIG = TrainConfig(
    network=NETWORK,
    frames=3,
    steps=4,
    batch=2,
    patch=32,
    warmup=2,
    workers=0,
    loss="charbonnier",
    scale_choice="random",
    scale_pattern=(0, 1),
    learning_rate=2e-3,
    log_every=2,
    save_every=2,
    picture_every=2,
    held_out=0.0,
)
CHOOSING = {"network": SELECTING, "scale_choice": "selector"}
ANY = torch.zeros(4, dtype=torch.long)


def run(config: TrainConfig, data: Path, out: Path, **options: object) -> int:
    return train(config, data, out, accelerator="cpu", devices=1, **options)  # type: ignore[arg-type]


def changed(**changes: object) -> TrainConfig:
    return dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]


class Stopped(Exception):
    """Stands for a crash."""


def resumed_to_the_last_bit(
    config: TrainConfig, data: Path, folder: Path, **options: object
) -> dict[str, torch.Tensor]:
    """A run of four steps, and one that crashed after three and was resumed, are equal; their state."""

    def stop(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise Stopped

    assert run(config, data, folder / "whole", **options) == 4
    with pytest.raises(Stopped):
        run(config, data, folder / "parts", on_progress=stop, **options)
    run(config, data, folder / "parts", resume=True)
    whole, parts = (load_file(folder / name / "state.safetensors") for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    return whole


def batch_of(data: Path, config: TrainConfig) -> Sample:
    samples = TrainingData(open_material(data, 0.0).train, config.sample_settings(), seed=1, length=4)
    return collate([samples[k] for k in range(4)])


def lively_network(config: SafaConfig) -> Safa:
    """Heads are not zero, so that every part matters."""
    torch.manual_seed(0)
    network = Safa(config).train()
    start_anew(network)
    with torch.no_grad():
        for head in (network.flow_head[0], network.decoder.head, network.propagation.decoder.head):  # type: ignore[union-attr]
            head.weight.normal_(std=0.05)
    return network
