"""The command evaluate: errors before it measures, and its report for every kind of subject."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from safa.checkpoint import save_checkpoint
from tests.cli.test_cli import Shell
from tests.conftest import tiny_network
from tests.media import write_clip


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


class Double(torch.nn.Module):
    """A model that only makes the middle frame."""

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate((first + second) / 2, scale_factor=4.0, mode="nearest")


@pytest.mark.parametrize("kind", ["model", "fixed scale", "one scale", "weights"])
def test_evaluate_writes_a_page_of_any_subject(shell: Shell, tmp_path: Path, kind: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=3, sound=False, size=(128, 96))
    subject = tmp_path / ("mine.pt" if kind == "model" else "mine.safetensors")
    if kind == "model":
        torch.jit.script(Double()).save(str(subject))
    else:
        settings = {"fixed scale": {"fixed_scale": 1}, "one scale": {"scales": (1.0,)}}.get(kind, {})
        save_checkpoint(tiny_network(grid="input", **settings), subject)
    page = tmp_path / "page.html"
    code, _, error = shell("evaluate", subject, "--on", clip, "--times", "2", "--no-baselines", "--html", page)
    assert (code, error) == (0, "")
    text = page.read_text()
    assert ("Flow, mask and scales" in text) == (kind != "model")
    assert ("Scales chosen by the selector" in text) == (kind == "weights")


@pytest.mark.parametrize(
    ("times", "message"), [("2,4", "takes no time: it can be measured at a time factor of 2 only"), ("2,8", "9 frames")]
)
def test_evaluate_refuses_a_later_time_factor_before_it_measures(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: str, message: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5, sound=False, size=(128, 96))
    subject = tmp_path / "mine.pt"
    torch.jit.script(Double()).save(str(subject))
    monkeypatch.setattr("safa.evaluation.run._score", lambda *_: pytest.fail("measured"))
    if "takes" not in message:
        subject = tmp_path / "tiny.safetensors"
        save_checkpoint(tiny_network(grid="input"), subject)
    code, _, error = shell("evaluate", subject, "--on", clip, "--times", times)
    assert (code, message in error) == (2, True)


def test_evaluate_refuses_a_folder_as_its_page(shell: Shell, tmp_path: Path) -> None:
    code, _, error = shell("evaluate", "--on", tmp_path, "--html", tmp_path)
    assert (code, "is a folder; give a file name" in error) == (2, True)
