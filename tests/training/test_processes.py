"""Training on several devices, as torchrun starts it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.data_fixtures import write_frames, write_training_data

from safa.training import TrainConfig, train

SMALL = """
patch = 32
network = { grid = "input", channels = 8, blocks = 1, stem_channels = 4, decoder_blocks = 1, fixed_scale = 0 }
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
        (tmp_path / f"{name}.toml").write_text(f'steps = 1\nbatch = {batch}\ntimes = "three"\nworkers = 0\n{SMALL}')
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
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    one, two = (load_file(tmp_path / name / "state.safetensors") for name in ("one", "two"))
    moments = [name for name in one if name.startswith("optimizer.exp_avg.")]
    assert sum(float(one[name].abs().sum()) for name in moments) > 0
    assert all(torch.allclose(one[name], two[name], rtol=1e-3, atol=1e-7) for name in moments)


LONG = f"""
steps = 100000
batch = 2
workers = 1
validate_every = 1
validation_samples = 2
{SMALL}"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no process groups")
def test_a_signal_to_the_loader_too_ends_a_run_that_can_be_resumed(tmp_path: Path) -> None:
    data, recipe, out = tmp_path / "data", tmp_path / "long.toml", tmp_path / "run"
    for k in range(2):  # one is held out, so that every step is reported
        write_frames(data / str(k), seed=k)
    recipe.write_text(LONG)
    safa = [sys.executable, "-m", "safa", "train", "--data", data, "--out", out, "--accelerator", "cpu"]
    unbuffered = {**os.environ, "PYTHONUNBUFFERED": "1"}
    pipes = {
        "env": unbuffered,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "start_new_session": True,
    }
    with subprocess.Popen([*map(str, safa), "--config", str(recipe), "--set", "held_out=0.5"], **pipes) as run:  # type: ignore[call-overload]
        assert any(line.startswith("step ") for line in run.stdout)
        os.killpg(run.pid, signal.SIGTERM)
        error = run.communicate(timeout=300)[1]
    assert run.returncode == 130
    assert "Traceback" not in error
    assert (out / "state.safetensors").is_file()
