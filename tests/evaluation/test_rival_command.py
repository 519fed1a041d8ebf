"""Other programs as methods: what they make is found and measured, and one that fails costs its own row alone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safa.errors import SafaError
from safa.evaluation.datasets import Dataset
from safa.evaluation.methods import BASELINES, Method
from safa.evaluation.protocols import Compression
from safa.evaluation.report import as_json, markdown
from safa.evaluation.rivals import RivalCommand
from safa.evaluation.run import evaluate
from tests.evaluation.footage import Held, moving

# Repeats every pixel four times and every input for the frames until the next one; what comes after it may spoil that.
PROGRAM = """
import sys, time
from pathlib import Path
import av, numpy as np
from PIL import Image
source, output, factor = sys.argv[1:4]
if Path(source).is_dir():
    inputs = [np.asarray(Image.open(path)) for path in sorted(Path(source).iterdir())]
else:
    inputs = [frame.to_ndarray(format="rgb24") for frame in av.open(source).decode(video=0)]
large = [one.repeat(4, 0).repeat(4, 1) for one in inputs]
frames = [one for one in large[:-1] for _ in range(int(factor))] + large[-1:]
folder = Path(output)
def save(frames):
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"out{number + 1}.png")
def video(frames, times=None):
    with av.open(str(folder / "out.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=int(sys.argv[4]))
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for number, frame in enumerate(frames):
            made = av.VideoFrame.from_ndarray(frame, format="rgb24")
            made.pts = number if times is None else times[number]
            container.mux(stream.encode(made))
        container.mux(stream.encode(None))
"""
PLACES = {"pictures": "{input} {output} {times} {fps}", "video": "{input_video} {output} {times} {fps}"}


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., RivalCommand]:
    def make(end: str, given: str = "pictures", timeout: float = 60) -> RivalCommand:
        script = tmp_path / "program.py"
        script.write_text(PROGRAM + end)
        return RivalCommand.parse(f"mine={sys.executable} {script} {PLACES[given]}", timeout)

    return make


def footage(factor: int = 2) -> Dataset:
    """Two sequences of different length."""
    return Dataset("made up", (Held("a", moving(4 * factor + 1)), Held("b", moving(2 * factor + 1, 32, 80))), factor)


def repeated() -> Method:
    """What the program should make, in this process."""

    def stream(inputs, place, times):  # type: ignore[no-untyped-def]
        for t in times:
            one = inputs[place + int(t)]
            yield one.repeat_interleave(4, 2).repeat_interleave(4, 3)

    return Method("expected", BASELINES[0].interpolate, stream=stream)


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("pictures", "save(frames)"),
        ("pictures", "save(frames + frames[-1:])"),
        ("video", "save(frames)"),
        ("video", "video(frames)"),
        ("pictures", "video(frames + frames[-1:])"),
    ],
)
@pytest.mark.parametrize("factor", [2, 3])
def test_what_a_program_makes_is_matched_by_time(
    program: Callable[..., RivalCommand], given: str, end: str, factor: int
) -> None:
    method = program(end, given).method(factor)
    results = evaluate([repeated(), method], footage(factor))
    assert not results.failures
    for part in ("inputs", "between"):
        assert results.mean("mine", "psnr_y", part) == results.mean("expected", "psnr_y", part)  # type: ignore[arg-type]
    cost = results.costs["mine"]
    assert cost.frames == 4 * factor + 1 + 2 * factor + 1
    assert cost.seconds > 0
    if sys.platform != "win32":
        assert cost.processor_seconds
        assert cost.peak_bytes
    assert "| mine | ? | ? |" in markdown(results)


FAILURES = {
    "sys.exit('out of\\nluck')": "mine ended with the code 1: luck",
    "pass": "mine left no videos and no pictures in its output folder.",
    "save(frames[:-1])": "mine made 8 frames instead of 9.",
    "save(frames * 2)": "mine made 18 frames instead of 9.",
    "save([one[:24] for one in frames])": "mine made frames of 64x24 pixels instead of 64x48.",
    "save(frames); (folder / 'out1.png').write_text('x')": "mine wrote a picture that cannot be read: out1.png.",
    "(folder / 'out.mkv').write_text('x')": "mine wrote a video that cannot be read.",
    "video(frames); (folder / 'again.mp4').touch()": "mine left 2 videos and no pictures in its output folder.",
    "video(frames[:-1], [0, 1, 2, 3, 4, 6, 7, 8])": "mine made a video without a frame at 1 of 9 times, the first of "
    "them 0.100 s.",
}


@pytest.mark.parametrize("end", FAILURES)
def test_a_program_that_fails_costs_its_own_row_alone(program: Callable[..., RivalCommand], end: str) -> None:
    alone = evaluate([BASELINES[0]], footage(), further=["detail"])
    results = evaluate([program(end).method(2), BASELINES[0]], footage(), further=["detail"])
    assert results.failures == {"mine": FAILURES[end]}
    assert results.scores == alone.scores
    assert FAILURES[end] in markdown(results)
    assert as_json(results)["failures"] == results.failures


def test_one_that_fails_on_a_later_sequence_is_left_out_of_all(program: Callable[..., RivalCommand]) -> None:
    method = program("save(frames if len(inputs) == 5 else frames[:2])").method(2)
    results = evaluate([method, BASELINES[0]], footage())
    assert results.failures == {"mine": "mine made 2 frames instead of 5."}
    assert {score.method for score in results.scores} == {BASELINES[0].name}


def test_a_program_that_hangs_is_stopped_with_its_children(program: Callable[..., RivalCommand]) -> None:
    hang = "import subprocess; subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE).wait()"
    results = evaluate([program(hang, timeout=2).method(2), BASELINES[0]], footage())
    assert results.failures["mine"].startswith("mine was stopped after 2 s without a result; --rival-timeout")
    assert results.costs.keys() == {BASELINES[0].name}


def test_nothing_left_to_measure_is_an_error(program: Callable[..., RivalCommand]) -> None:
    with pytest.raises(SafaError, match="made 2 frames"):
        evaluate([program("save(frames[:2])").method(2)], footage())


def test_compressed_inputs_reach_the_program(program: Callable[..., RivalCommand]) -> None:
    compressed = replace(footage(), compression=Compression("h264", 40))
    results = evaluate([repeated(), program("save(frames)").method(2)], compressed)
    values = [results.mean(name, "psnr_y", "average") for name in ("expected", "mine")]
    assert values[0] == pytest.approx(values[1], abs=1e-9)
    clean = evaluate([repeated()], footage()).mean("expected", "psnr_y", "average")
    assert clean is not None
    assert values[0] is not None
    assert np.isfinite(clean)
    assert values[0] < clean


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("program {input} {output}", "give NAME=COMMAND"),
        ("mine=", "give NAME=COMMAND"),
        ("mine=cp {input}", "and {output}"),
        ("mine=cp {output}", "{input} or {input_video}"),
        ("mine=cp {input} {output} {speed}", "there is no place {speed}"),
        ("mine=cp '{input} {output}", "cannot be read as a command"),
        ("mine=no-such-program {input} {output}", "there is no program 'no-such-program'"),
    ],
)
def test_commands_that_cannot_be_run_are_refused_before_work(text: str, message: str) -> None:
    with pytest.raises(SafaError) as error:
        RivalCommand.parse(text)
    assert message in str(error.value)
