"""Every command of docs/recipes.md does what the page says, on tiny videos; so do the examples of `--help`."""

from __future__ import annotations

import hashlib
import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from safa import checkpoint
from safa.checkpoint import save_checkpoint
from safa.cli.upscale import EXAMPLES
from safa.jobs.pipeline import Meter
from safa.video.file_source import VideoReader
from safa.video.probe import look_at
from tests.cli.test_cli import Shell
from tests.conftest import tiny_network
from tests.media import write_clip
from tests.video.making import make_interlaced, make_video

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
SECTIONS = {
    title: [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    for title, text in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny networks under the names of the shipped ones."""
    folder = tmp_path_factory.mktemp("shipped")
    for name in ("fast", "real", "vivid"):
        save_checkpoint(tiny_network(grid="input", flow_prior="dis", blocks=1), folder / f"{name}.safetensors")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    return folder


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, shipped: Path) -> Shell:
    """A shell in an empty folder, with tiny weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoint, "SHIPPED", shipped)
    return Shell(monkeypatch, capsys)


def make(name: str) -> None:
    """Make the source of a recipe with its special properties."""
    path = Path(name)
    if name == "dvd.vob":
        make_interlaced(path)
    elif name == "phone.mp4":
        write_clip(path, times=[Fraction(k, 30) + Fraction(k % 3, 200) for k in range(6)])
    elif name == "screen.mkv":
        make_video(path, range(3))
    elif name == "cartoon.mp4":
        write_clip(path, times=[Fraction(k, 24) for k in range(6)])
    elif name == "holiday.mp4":
        write_clip(path, times=[Fraction(k) for k in (0, 30, 62, 63, 64, 65)])
    elif name == "holidays":
        (path / "below").mkdir(parents=True)
        write_clip(path / "a.mp4", frames=2)
        write_clip(path / "below" / "b.mkv", frames=2)
    else:
        write_clip(path, frames=4)


def source_of(command: str) -> str:
    return shlex.split(command)[2]


def stop(shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    """Run a command and interrupt it in the middle."""
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)

    def tick(meter: Meter) -> None:
        meter.done += 1
        if meter.done == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "tick", tick)
        assert shell(*shlex.split(command)[1:])[0] == 130


@pytest.mark.parametrize("title", SECTIONS)
def test_every_command_works(shell: Shell, monkeypatch: pytest.MonkeyPatch, title: str) -> None:
    commands = SECTIONS[title]
    assert commands
    make(source_of(commands[0]))
    for command in commands:
        assert command.startswith("safa ")
        if "--finish" in command:
            stop(shell, monkeypatch, command.replace(" --finish", ""))
        code, _, error = shell(*shlex.split(command)[1:])
        assert code == 0, error
        if match := re.search(r" -o (\S+)", command):
            assert Path(match[1]).exists() != ("--dry-run" in command or "--finish" in command), command


def test_results_are_as_the_page_describes(shell: Shell) -> None:
    def run(title: str) -> Any:
        (command,) = SECTIONS[title]
        make(source_of(command))
        assert shell(*shlex.split(command)[1:])[0] == 0
        with VideoReader(shlex.split(command)[shlex.split(command).index("-o") + 1]) as reader:
            return reader.info

    dvd = run("An old DVD")
    assert (dvd.interlaced, dvd.width) == (False, 128)
    assert run("A clip from a phone").average_rate == pytest.approx(60, rel=0.05)
    assert (look_at("phone.mp4").variable_rate, look_at("phone-60.mp4").variable_rate) == (True, False)
    assert run("A recording of a screen").frames in (3, None)
    slow = run("Slow motion")
    assert (slow.frames, float(slow.duration)) == (13, pytest.approx(1.6))
    smooth = run("24 to 60 frames per second, same size")
    assert smooth.average_rate == pytest.approx(60, rel=0.05)
    assert (smooth.width, smooth.height) == (48, 32)
    assert float(run("One part of a file").duration) < 8
    (command,) = SECTIONS["A folder overnight"]
    make("holidays")
    shell(*shlex.split(command)[1:])
    results = {path.name for path in Path("holidays-large").rglob("*") if path.suffix in (".mp4", ".mkv")}
    assert results == {"a.mp4", "b.mkv"}
    assert "finished before" in shell(*shlex.split(command)[1:])[1]


def test_examples_of_help_are_on_the_page(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {command for section in SECTIONS.values() for command in section}
    assert set(EXAMPLES.values()) <= commands
    monkeypatch.setenv("COLUMNS", "100")
    code, out, _ = shell("upscale", "--help")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    assert all(command in lines for command in EXAMPLES.values())
