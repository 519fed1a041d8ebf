"""The command line: what it prints, its exit codes, and that bad input leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file

from safa import cli
from safa.checkpoint import save_checkpoint
from tests.conftest import tiny_network
from tests.media import write_clip


class Shell:
    """Runs ``safa`` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["safa", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        out, err = self.capsys.readouterr()
        return int(exit_info.value.code or 0), out, err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid and invalid inputs of every kind."""
    folder = tmp_path_factory.mktemp("files")
    write_clip(folder / "good.mp4", frames=2)
    (folder / "cut.mp4").write_bytes((folder / "good.mp4").read_bytes()[:900])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("this is a letter, not a film\n" * 50)
    (folder / "folder").mkdir()
    sound = write_clip(folder / "with_sound.mp4", frames=2)
    _keep_sound_only(sound, folder / "sound.m4a")
    save_checkpoint(tiny_network(grid="input", flow_prior="dis"), folder / "tiny.safetensors", {"steps": 1})
    data = bytearray((folder / "tiny.safetensors").read_bytes())
    data[-50] ^= 4
    (folder / "flipped.safetensors").write_bytes(data)
    save_file({"a": __import__("torch").zeros(2)}, folder / "other.safetensors")
    for name, value in (("a", 40), ("b", 200)):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((10, 12, 3), value, np.uint8))
    return folder


def _keep_sound_only(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.audio[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.size:
                packet.stream = copy
                output.mux(packet)


BAD = [
    (["missing.mp4"], "no such file"),
    (["folder"], "folder"),
    (["empty.mp4"], "empty"),
    (["cut.mp4"], "cut off or damaged"),
    (["text.mp4"], "not a video file"),
    (["sound.m4a"], "no video stream"),
    (["good.mp4", "--weights", "other.safetensors"], "not a SAFA network"),
    (["good.mp4", "--weights", "flipped.safetensors"], "damaged"),
    (["good.mp4", "--weights", "nonsense"], "neither a file nor a shipped name"),
    (["good.mp4", "-o", "nowhere/out.mp4"], "no folder"),
    (["good.mp4", "-o", "out.xyz"], "must end in"),
    (["good.mp4", "-o", "good.mp4"], "the input itself"),
    (["good.mp4", "--rate", "0"], "whole number from 1"),
    (["good.mp4", "--rate", "1.5"], "whole number from 1"),
    (["good.mp4", "--rate", "fast"], "whole number from 1"),
    (["good.mp4", "--fps", "0"], "frames per second"),
    (["good.mp4", "--start", "9:99"], "a time must look like"),
    (["good.mp4", "--start", "2", "--end", "1"], "end"),
    (["good.mp4", "--start", "99"], "no picture at or after"),
    (["good.mp4", "--device", "cuda:7"], "not available"),
    (["good.mp4", "--unknown"], "--help"),
    (["good.mp4", "--rate", "2", "--fps", "60"], "choose one"),
    (["good.mp4", "--workers", "2"], "add --cluster"),
    (["good.mp4", "--cpus-per-worker", "2"], "add --cluster"),
    (["good.mp4", "--source-fps", "24"], "folders of pictures"),
    (["good.mp4", "--scale", "4.5"], "a number from 1 to 4"),
    (["good.mp4", "--scale", "0.9"], "a number from 1 to 4"),
    (["good.mp4", "--scale", "big"], "a number from 1 to 4"),
    (["good.mp4", "--size", "8k"], "must be 4k or look like 1080p"),
    (["good.mp4", "--size", "4k"], "4k is more than 4 times the source's 48x32; give --size 192x128"),
    (["good.mp4", "--size", "40x30"], "smaller than the source's 48x32; give --scale 1"),
    (["good.mp4", "--size", "-1x65"], "even sides, and -1x65 has an odd one; give --size -1x66"),
    (["good.mp4", "--size", "1080p", "--scale", "2"], "choose one"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_one_sentence_and_leaves_nothing(
    shell: Shell, files: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(files)
    before = sorted(files.rglob("*"))
    output = [] if "-o" in arguments else ["-o", "out.mp4"]
    weights = [] if "--weights" in arguments else ["--weights", "tiny.safetensors"]
    code, out, err = shell("upscale", *arguments, *output, *weights)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert sorted(files.rglob("*")) == before


def test_upscale_prints_its_result(shell: Shell, files: Path, tmp_path: Path) -> None:
    weights = files / "tiny.safetensors"
    code, out, err = shell("upscale", files / "good.mp4", "-o", tmp_path / "out.mp4", "--weights", weights)
    assert code == 0
    assert "192x128, 3 frames" in out
    assert err == ""


@pytest.mark.parametrize(("option", "value"), [("--scale", "1.5"), ("--size", "72x48"), ("--size", "-1x48")])
def test_results_have_the_size_asked_for(shell: Shell, files: Path, tmp_path: Path, option: str, value: str) -> None:
    weights = ["--weights", files / "tiny.safetensors"]
    code, out, err = shell("upscale", files / "good.mp4", "-o", tmp_path / "out.mp4", option, value, *weights)
    assert (code, "72x48, 3 frames" in out, err) == (0, True, "")
    pictures = [files / f"{name}.png" for name in "ab"]  # 12 x 10
    code, _, _ = shell("between", *pictures, "--at", 0.5, "-o", tmp_path / "between", "--scale", 1.5, *weights)
    (made,) = (tmp_path / "between").iterdir()
    assert (code, cv2.imread(str(made)).shape) == (0, (15, 18, 3))


def test_json_lines_end_with_the_verification(shell: Shell, files: Path, tmp_path: Path) -> None:
    weights = files / "tiny.safetensors"
    arguments = ["upscale", files / "good.mp4", "-o", tmp_path / "out.mp4", "--weights", weights, "--json"]
    code, out, _ = shell(*arguments)
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [e["event"] for e in events] == ["start", "forecast", *["progress"] * 3, "done"]
    assert events[-1]["verification"]["ok"]
    assert events[-1]["frames"] == 3


def test_a_dry_run_prints_the_forecast_and_makes_nothing(shell: Shell, files: Path, tmp_path: Path) -> None:
    arguments = ["upscale", files / "good.mp4", "-o", tmp_path / "out.mp4", "--dry-run", "--scale", "2"]
    arguments += ["--weights", files / "tiny.safetensors"]
    code, out, err = shell(*arguments)
    assert (code, err, len(out.splitlines())) == (0, "", 3)
    assert "48x32 at 10 fps becomes 96x64 at 20 fps, 3 frames" in out
    code, out, _ = shell(*arguments, "--json")
    (event,) = map(json.loads, out.splitlines())
    assert (code, event["event"], event["width"], event["frames"]) == (0, "forecast", 96, 3)
    assert list(tmp_path.iterdir()) == []
    assert shell(*arguments, "--cluster", "auto")[0] == 2


def test_a_dry_run_of_a_folder(shell: Shell, files: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(files / "good.mp4", tmp_path / "in" / "a.mp4")
    shutil.copy(files / "text.mp4", tmp_path / "in" / "b.mp4")
    arguments = ["upscale", tmp_path / "in", "-o", tmp_path / "out", "--weights", files / "tiny.safetensors"]
    code, out, err = shell(*arguments, "--dry-run")
    assert (code, len(out.splitlines())) == (1, 3)
    assert "b.mp4 is not a video file" in err
    assert not (tmp_path / "out").exists()
    shell(*arguments)
    code, out, _ = shell(*arguments, "--dry-run")
    assert (code, out.count("finished before")) == (1, 1)


def test_a_folder_is_done_file_by_file_and_failures_are_named(shell: Shell, files: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.copy(files / "good.mp4", tmp_path / "in" / "a.mp4")
    shutil.copy(files / "text.mp4", tmp_path / "in" / "b.mp4")
    shutil.copy(files / "good.mp4", tmp_path / "in" / "deep" / "c.mp4")
    arguments = ["upscale", tmp_path / "in", "-o", tmp_path / "out", "--weights", files / "tiny.safetensors"]
    code, out, err = shell(*arguments)
    assert code == 1
    assert "2 of 3 files are done, 1 failed" in out
    assert "b.mp4 is not a video file" in err
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.mp4"))
    assert made == ["a.mp4", "deep/c.mp4"]
    assert shell(*arguments)[1].count("finished before") == 2


def test_a_batch_counts_only_its_own_results_as_done(shell: Shell, files: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(files / "good.mp4", tmp_path / "in" / "a.mp4")
    weights = ["--weights", files / "tiny.safetensors"]
    code, _, err = shell("upscale", tmp_path / "in", "-o", tmp_path / "in", *weights)
    assert (code, "choose another folder" in err) == (2, True)
    for _ in range(2):  # the results of the first run are no inputs of the second
        code, out, _ = shell("upscale", tmp_path / "in", "-o", tmp_path / "in" / "big", *weights)
        assert (code, "1 of 1 files are done, 0 failed" in out) == (0, True)
    code, out, err = shell("upscale", tmp_path / "in", "-o", tmp_path / "in" / "big", *weights, "--rate", 4)
    assert (code, "made with another rate" in err) == (1, True)
    assert "0 of 1 files are done, 1 failed" in out


def test_two_inputs_that_would_become_one_output_are_refused(shell: Shell, files: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    shutil.copy(files / "good.mp4", tmp_path / "a" / "good.mp4")
    code, _, err = shell("upscale", files / "good.mp4", tmp_path / "a" / "good.mp4", "-o", tmp_path / "out")
    assert code == 2
    assert "would both become" in err


def test_an_interrupt_prints_what_is_kept(
    shell: Shell, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("safa.upscaler.upscaler.Upscaler.render", interrupt)
    weights = files / "tiny.safetensors"
    code, _, err = shell("upscale", files / "good.mp4", "-o", tmp_path / "out.mp4", "--weights", weights)
    assert code == 130
    assert "kept" in err
    assert not (tmp_path / "out.mp4").exists()


def test_between_writes_a_picture_per_time(shell: Shell, files: Path, tmp_path: Path) -> None:
    weights = files / "tiny.safetensors"
    pictures = files / "a.png", files / "b.png"
    code, out, _ = shell("between", *pictures, "--at", 0.25, "--at", 0.5, "-o", tmp_path / "d", "--weights", weights)
    assert code == 0
    assert len(out.splitlines()) == 2
    assert [cv2.imread(line).shape for line in out.splitlines()] == [(40, 48, 3)] * 2


def test_a_ceiling_too_low_names_the_minimum(shell: Shell, files: Path, tmp_path: Path) -> None:
    pictures = files / "a.png", files / "b.png"
    code, _, error = shell("between", *pictures, "--at", "0.5", "-o", tmp_path / "out", "--memory", "100M")
    assert code == 2
    assert "need a memory ceiling of at least" in error
    assert not (tmp_path / "out").exists()


def test_between_refuses_other_files(shell: Shell, files: Path, tmp_path: Path) -> None:
    code, _, err = shell("between", files / "text.mp4", files / "b.png", "--at", 0.5, "-o", tmp_path / "d")
    assert code == 2
    assert "not a picture" in err
    assert not (tmp_path / "d").exists()


def test_info_describes_videos_weights_and_the_installation(shell: Shell, files: Path) -> None:
    assert "48x32" in shell("info", files / "good.mp4")[1]
    assert "8 channels" in shell("info", files / "tiny.safetensors")[1]
    assert "fast (the default)" in shell("info")[1]
    assert json.loads(shell("info", "--json")[1])["torch"]
    assert json.loads(shell("info", files / "tiny.safetensors", "--json")[1])["channels"] == 8


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("film", "48x32"),
        ("weights", "8 channels"),
        ("capital.SAFETENSORS", "8 channels"),
        ("fast", "million parameters"),  # a shipped name wins, as it does for --weights
        ("nothing", "neither a file nor a shipped name"),
        ("deep/nothing", "no such file"),
        ("folder", "is a folder, not a video file"),
        ("letter", "not a video file"),
        ("nothing.safetensors", "neither a file nor a shipped name"),
    ],
)
def test_info_recognises_files_by_their_content(
    shell: Shell, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(files / "good.mp4", "film")
    shutil.copy(files / "good.mp4", "fast")
    shutil.copy(files / "tiny.safetensors", "weights")
    shutil.copy(files / "tiny.safetensors", "capital.SAFETENSORS")
    shutil.copy(files / "text.mp4", "letter")
    Path("folder").mkdir()
    code, out, error = shell("info", name)
    assert expected in out + error
    assert code == (0 if out else 2)


def test_finish_joins_the_segments_of_a_stopped_run(
    shell: Shell, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safa.jobs.plan.SEGMENT_FRAMES", 2)
    clip = write_clip(tmp_path / "in.mp4", frames=6)
    command = "upscale", clip, "-o", tmp_path / "out.mp4", "--weights", files / "tiny.safetensors"
    code, _, error = shell(*command, "--finish")
    assert (code, "no unfinished work" in error) == (2, True)

    def stop(meter: object) -> None:
        meter.done += 1  # type: ignore[attr-defined]
        if meter.done == 7:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("safa.jobs.pipeline.Meter.tick", stop)
        code, _, error = shell(*command)
    assert (code, "--finish" in error) == (130, True)
    code, out, _ = shell(*command, "--finish")
    assert (code, out.splitlines()[0].startswith(f"{tmp_path / 'out.so-far.mp4'}: the first ")) == (0, True)
    code, _, error = shell(*command, "--finish", "--restart")
    assert (code, "leave out" in error) == (2, True)
    code, out, _ = shell(*command)
    assert (code, "from an earlier run" in out) == (0, True)
    assert {path.name for path in tmp_path.iterdir()} == {"in.mp4", "out.mp4", "out.so-far.mp4"}


def test_preview_shows_an_excerpt(shell: Shell, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    weights = "--weights", files / "tiny.safetensors"
    code, out, _ = shell("preview", files / "good.mp4", *weights, "--scale", "2")
    assert code == 0
    assert out.splitlines()[0].startswith("tiny: whole file: about")
    assert out.splitlines()[-2:] == ["good-preview.png", "good-preview.mp4"]
    assert {path.name for path in tmp_path.iterdir()} == {"good-preview.png", "good-preview.mp4"}
    code, out, _ = shell("preview", files / "good.mp4", *weights, "--at", "0.1", "--json", "--overwrite")
    assert (code, json.loads(out)["start"]) == (0, 0.1)
    code, _, error = shell("preview", files / "good.mp4", *weights, "--rate", "2", "--fps", "30")
    assert (code, "choose one" in error) == (2, True)


def test_compare_puts_both_side_by_side(shell: Shell, files: Path, tmp_path: Path) -> None:
    weights = files / "tiny.safetensors"
    shell("upscale", files / "good.mp4", "-o", tmp_path / "out.mp4", "--weights", weights)
    code, _, _ = shell("compare", files / "good.mp4", tmp_path / "out.mp4", "-o", tmp_path / "both.png")
    assert code == 0
    assert cv2.imread(str(tmp_path / "both.png")).shape == (128, 2 * 192 + 8, 3)


def test_compare_takes_the_options_of_the_result(shell: Shell, files: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "in.mp4", frames=6, sound=False)
    made_with = ["--slow", "2", "--start", "0.2"]
    shell("upscale", clip, "-o", tmp_path / "out.mp4", "--weights", files / "tiny.safetensors", *made_with)
    pair = clip, tmp_path / "out.mp4", "-o", tmp_path / "both.png"
    assert shell("compare", *pair, *made_with, "--at", "0.3")[0] == 0
    code, _, error = shell("compare", *pair, *made_with, "--at", "0.1", "--overwrite")
    assert (code, "before the start of the result" in error) == (2, True)


def test_evaluate_measures_a_clip_against_itself(shell: Shell, tmp_path: Path, files: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5, sound=False, size=(128, 96))
    arguments = ["--on", clip, "--times", "2,4", "--markdown", tmp_path / "t.md", "--json"]
    code, out, _ = shell("evaluate", files / "tiny.safetensors", *arguments)
    assert code == 0
    assert [results["time_factor"] for results in json.loads(out)] == [2, 4]
    assert "| tiny |" in (tmp_path / "t.md").read_text()


def test_evaluate_refuses_impossible_times(shell: Shell) -> None:
    code, _, err = shell("evaluate", "--times", "2,x")
    assert code == 2
    assert "whole numbers from 2 to 16" in err


def test_inspect_writes_pictures(shell: Shell, files: Path, tmp_path: Path) -> None:
    weights = files / "tiny.safetensors"
    code, out, _ = shell("inspect", files / "a.png", files / "b.png", "-o", tmp_path / "d", "--weights", weights)
    assert code == 0
    assert cv2.imread(out.splitlines()[0]) is not None


def test_debug_shows_the_traceback(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFA_DEBUG", "1")
    monkeypatch.setattr(sys, "argv", ["safa", "info", str(files / "empty.mp4")])
    with pytest.raises(cli.SafaError):
        cli.main()
