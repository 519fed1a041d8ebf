"""Training on several devices, as torchrun starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.data_fixtures import write_training_data

from safa.training import TrainConfig, train

RECIPE = """
steps = 1
batch = {batch}
patch = 32
times = "three"
workers = 0
network = {{ grid = "input", channels = 8, blocks = 1, stem_channels = 4, decoder_blocks = 1, fixed_scale = 0 }}
"""
PROGRAM = """
import sys
from pathlib import Path
from safa.training import TrainConfig, train
recipe, data, out = map(Path, sys.argv[1:])
train(TrainConfig.from_toml(recipe), data, out, accelerator="cpu")
"""


def test_two_processes_see_the_gradient_of_the_double_batch(tmp_path: Path) -> None:
    data = write_training_data(tmp_path / "data")
    for name, batch in (("half", 2), ("whole", 4)):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(batch=batch))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "GROUP_WORLD_SIZE": "1",
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", PROGRAM, *map(str, (tmp_path / "half.toml", data, tmp_path / "two"))]
    processes = [
        subprocess.Popen(command, env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]
    whole = TrainConfig.from_toml(tmp_path / "whole.toml")
    train(whole, data, tmp_path / "one", accelerator="cpu", devices=1)
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("one", "two"))
    moments = [name for name in one if name.startswith("optimizer.exp_avg.")]
    assert sum(float(one[name].abs().sum()) for name in moments) > 0
    assert all(torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-7) for name in moments)
