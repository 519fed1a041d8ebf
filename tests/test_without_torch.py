"""Without PyTorch, everything that makes pictures works, and other commands say what to install."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from safa.engine.library import native_precision
from safa.video.pictures import save_picture
from tests.engine.nets import builds
from tests.media import write_video

BLOCKED = "import sys; sys.modules['torch'] = None"
COMMAND = f"{BLOCKED}\nfrom safa.cli import main\nsys.argv[0] = 'safa'\nmain()"

pytestmark = pytest.mark.skipif(not builds(), reason="the native engine was not built here")


def python(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a new interpreter in which PyTorch cannot be imported."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Four small frames."""
    path = tmp_path / "in.mkv"
    frames = [np.random.default_rng(k).integers(0, 256, (24, 32, 3), np.uint8) for k in range(4)]
    write_video(path, frames)
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "in.mkv", "-o", "out.mkv"],
        ["upscale", "in.mkv", "-o", "small.mkv", "--scale", "1.5", "--detail", "0.5", "--memory", "2G"],
        ["upscale", "in.mkv", "-o", "dry.mkv", "--dry-run"],
        ["preview", "in.mkv"],
        ["between", "a.png", "b.png", "--at", "0.5", "-o", "made"],
        ["info"],
        ["info", "in.mkv"],
        ["info", "fast"],
        ["bench", "--rounds", "1", "--size", "16x16", "--engines", "native"],
        ["bench", "--rounds", "1", "--size", "16x16", "--engines", "native", "--profile"],
        ["bench", "--rounds", "1", "--size", "16x16", "--engines", "native", "--stream", "3"],
        ["serve", "--help"],
    ],
    ids=" ".join,
)
def test_a_command_runs(tmp_path: Path, clip: Path, arguments: list[str]) -> None:
    for number, name in enumerate(("a.png", "b.png")):
        save_picture(np.full((16, 24, 3), 80 * number, np.uint8), tmp_path / name)
    run = python(COMMAND, *arguments, cwd=tmp_path)
    assert (run.returncode, run.stderr.count("Traceback")) == (0, 0), run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "in.mkv", "-o", "out.mkv", "--engine", "torch"],
        ["upscale", "in.mkv", "-o", "out.mkv", "--device", "cuda"],
        ["inspect", "in.mkv"],
        ["export", "fast", "-o", "exported"],
        ["evaluate", "fast", "--on", "in.mkv"],
        ["train", "--config", "none.toml", "--data", "none.pack", "--out", "run"],
        ["bench", "paper"],
    ],
    ids=" ".join,
)
def test_commands_that_need_pytorch_say_so(tmp_path: Path, clip: Path, arguments: list[str]) -> None:
    run = python(COMMAND, *arguments, cwd=tmp_path)
    assert (run.returncode, run.stderr.count("Traceback")) == (2, 0), run.stderr
    assert "orch" in run.stderr
    assert "pip install" in run.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mkv"]


def test_a_worker_of_a_cluster_and_the_page_load_and_work(tmp_path: Path, clip: Path) -> None:
    script = (
        f"{BLOCKED}\nimport safa.cluster.worker, safa.web.server, safa.web.worker\n"
        "from safa.checkpoint import load_checkpoint\nfrom safa.options import ComputeOptions\n"
        "worker = safa.cluster.worker.Worker(load_checkpoint(), ComputeOptions('cpu', threads=1))\n"
        "print(worker.facts()['same']['engine'])\n"
        "print(sys.modules['torch'] is None)"
    )
    run = python(script, cwd=tmp_path)
    engine, torch_is_absent = run.stdout.splitlines()
    assert engine.startswith(f"native {native_precision()}, "), run.stderr
    assert torch_is_absent == "True"


def test_pytorch_is_not_loaded_if_it_is_installed(tmp_path: Path, clip: Path) -> None:
    work = "import sys\nfrom safa import upscale\nupscale('in.mkv', 'out.mkv', device='auto')\n"
    script = f"{work}print('torch' in sys.modules)"
    run = python(script, cwd=tmp_path)
    assert run.stdout.split() == ["False"], run.stderr


def test_info_describes_the_installation(tmp_path: Path) -> None:
    run = python(COMMAND, "info", "--json", cwd=tmp_path)
    facts = json.loads(run.stdout)
    assert facts["torch"] is None
    assert "native" in facts["engines"]
