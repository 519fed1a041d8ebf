"""No command overwrites an input, or an existing file without --overwrite."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from safa import cli
from safa.checkpoint import save_checkpoint
from safa.cli import common
from safa.cli.pictures import _distinct_names
from safa.errors import OutputError
from safa.export.export import CARD, _check_output
from safa.files import atomic_write
from safa.video.files import check_target
from tests.conftest import tiny_network
from tests.media import write_clip


def safa(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run a command and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["safa", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with inputs of all kinds."""
    monkeypatch.chdir(tmp_path)
    write_clip(Path("film.mp4"), frames=2, sound=False)
    for name, value in (("a", 40), ("b", 200)):
        cv2.imwrite(f"{name}.png", np.full((10, 12, 3), value, np.uint8))
    save_checkpoint(tiny_network(grid="input", flow_prior="dis"), "tiny.safetensors")
    return tmp_path


TINY = ["--weights", "tiny.safetensors"]
COMMANDS = [
    (["preview", "film.mp4", "-o", "film.png", *TINY], "film.mp4"),
    (["preview", "film.mp4", "-o", "other.png", *TINY], "other.mp4"),
    (["preview", "film.mp4", *TINY], "film-preview.png"),
    (["compare", "film.mp4", "film.mp4", "-o", "there.png"], "there.png"),
    (["between", "a.png", "b.png", "--at", "0.5", "-o", ".", *TINY], "a-b-0.5000.png"),
    (["inspect", "a.png", "b.png", "-o", ".", *TINY], "overview.png"),
    (["inspect", "a.png", "b.png", "-o", ".", *TINY], "decisions.json"),
    (["evaluate", "tiny.safetensors", "--on", "film.mp4", "--markdown", "table.md"], "table.md"),
    (["evaluate", "tiny.safetensors", "--on", "film.mp4", "--html", "page.html"], "page.html"),
    (["pack", ".", "-o", "train.pack"], "train.pack"),
    (["import-checkpoint", "a.png", "-o", "paper.safetensors"], "paper.safetensors"),
]


@pytest.mark.parametrize(("arguments", "name"), COMMANDS, ids=[f"{a[0]} {name}" for a, name in COMMANDS])
def test_an_existing_file_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], name: str
) -> None:
    if not Path(name).exists():
        Path(name).write_text("mine")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert safa(monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert ("add --overwrite" in told) or ("is the input itself" in told)
    assert told.count("\n") == 1
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["preview", "film.mp4", "-o", "film.png", *TINY], "film.mp4 is the input itself"),
        (["compare", "film.mp4", "film.mp4", "-o", "film.mp4"], "a name that ends in .png"),
        (["inspect", "a.png", "overview.png", "-o", ".", *TINY], "overview.png is the input itself"),
        (["evaluate", "tiny.safetensors", "--on", "film.mp4", "--html", "film.mp4"], "film.mp4 is the input itself"),
        (["evaluate", "--on", "film.mp4", "--html", "x", "--markdown", "x"], "Both --html and --markdown"),
        (["import-checkpoint", "a.png", "-o", "a.png"], "a.png is the input itself"),
    ],
)
def test_an_input_is_never_replaced(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    (place / "overview.png").write_bytes((place / "b.png").read_bytes())
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    assert safa(monkeypatch, *arguments, "--overwrite") == 2
    assert said in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_two_times_are_two_pictures(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = ["--at", "0.33333", "--at", "0.33334", "--at", "0.33334"]
    assert safa(monkeypatch, "between", "a.png", "b.png", *times, "-o", "made", *TINY) == 0
    assert {path.name for path in Path("made").iterdir()} == {"a-b-0.33333.png", "a-b-0.33334.png"}
    assert _distinct_names([0.25, 0.5]) == ["0.2500", "0.5000"]
    assert len(set(_distinct_names([1e-30, 2e-30]))) == 2


def test_overwrite_replaces_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("there.png").write_text("mine")
    assert safa(monkeypatch, "compare", "film.mp4", "film.mp4", "-o", "there.png", "--overwrite") == 0
    assert cv2.imread("there.png") is not None


def test_pictures_of_an_input_folder_are_inputs(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "1.png").write_text("mine")
    with pytest.raises(OutputError, match="lies in the input"):
        check_target(tmp_path / "frames" / "1.png", True, [tmp_path / "frames"])
    check_target(tmp_path / "frames" / "2.png", False, [tmp_path / "frames"])


def test_an_export_deletes_no_other_files(tmp_path: Path) -> None:
    (tmp_path / CARD).write_text('{"format": "safa-export/2", "parts": {"pair.onnx": {}}}')
    (tmp_path / "pair.onnx").touch()
    _check_output(tmp_path, overwrite=True)
    (tmp_path / "tiny.safetensors").touch()
    with pytest.raises(OutputError, match=r"holds tiny\.safetensors, which 'safa export' did not make"):
        _check_output(tmp_path, overwrite=True)


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with atomic_write(tmp_path / "link") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "", "-o", "wow.mp4"],
        ["upscale", "film.mp4", "-o", ""],
        ["preview", ""],
        ["compare", "a", "", "-o", "x"],
    ],
)
def test_an_empty_name_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    before = sorted(place.iterdir())
    assert safa(monkeypatch, *arguments) == 2
    assert "the name is empty" in capsys.readouterr().err
    assert sorted(place.iterdir()) == before


def test_several_inputs_need_a_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other.mp4").write_bytes(Path("film.mp4").read_bytes())
    assert safa(monkeypatch, "upscale", "film.mp4", "other.mp4", "-o", "both.mkv", *TINY) == 2
    assert "both.mkv is for one video" in capsys.readouterr().err
    assert not Path("both.mkv").exists()


def test_a_frame_rate_selects_the_pictures_of_a_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder also holds a video."""
    command = ["upscale", ".", "--source-fps", "24", "-o", "made.mp4", "--scale", "1", "--rate", "1", *TINY]
    assert safa(monkeypatch, *command) == 0
    assert Path("made.mp4").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-o", "%04d.png"], "give a new folder, such as frames/%04d.png"),
        (["-o", "x.mp4", "--start", "9" * 20], "after the end of any video"),
    ],
)
def test_odd_values_are_one_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    (place / "empty").mkdir()
    monkeypatch.chdir(place / "empty")
    weights = ["--weights", "../tiny.safetensors"]
    assert safa(monkeypatch, "upscale", "../film.mp4", *options, *weights) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert list(Path().iterdir()) == []


def test_work_continues_when_the_reader_of_messages_closes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        output = common.Output()
        output.file = stream
        output.print_line("a")
        output.print_line("b")
        output.print("c")
    assert capsys.readouterr().err.count("the work continues without") == 1


def test_names_are_printed_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    common.Reporter(as_json=False).say("film :cat: [bold].mp4")
    assert capsys.readouterr().out == "film :cat: [bold].mp4\n"
    with common.progress_bar("frames") as bar:
        task = bar.add_task("[b]:cat:", total=1, speed="-")
        column = bar.columns[0]
        assert str(column.render(bar.tasks[task])) == "[b]:cat:"  # type: ignore[attr-defined]


def test_closed_streams_get_a_number_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def fstat(number: int) -> SimpleNamespace:
        if number == 2:
            raise OSError
        return SimpleNamespace()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", fstat)
        patch.setattr(os, "open", lambda path, flags: opened.append(path))
        cli._open_standard_streams()
    assert opened == [os.devnull]
