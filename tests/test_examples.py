"""The programs in examples/ do what they say."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import safa
from tests import vapoursynth_stand_in
from tests.media import HEIGHT, RATE, WIDTH, video_frames, write_clip

EXAMPLES = Path(__file__).parents[1] / "examples"


def picture(k: int, height: int = 21, width: int = 35) -> np.ndarray:
    """Coloured stripes that move with ``k``."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([(x * 9 + k * 20) % 256, (y * 11) % 256, (x * 3 + y * 5 + k * 9) % 256], axis=-1).astype(np.uint8)


def test_onnx_between_needs_no_torch_and_agrees_with_safa(exported_onnx: Path, tmp_path: Path) -> None:
    pictures = picture(0), picture(1)
    for name, array in zip("ab", pictures, strict=True):
        cv2.imwrite(str(tmp_path / f"{name}.png"), cv2.cvtColor(array, cv2.COLOR_RGB2BGR))
    arguments = [str(exported_onnx), *(str(tmp_path / name) for name in ("a.png", "b.png")), "0.3"]
    code = (
        "import runpy, sys; sys.modules['torch'] = sys.modules['safa'] = None\n"
        f"sys.argv[0] = {str(EXAMPLES / 'onnx_between.py')!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", code, *arguments, str(tmp_path / "out.png")], check=True)
    result = cv2.cvtColor(cv2.imread(str(tmp_path / "out.png")), cv2.COLOR_BGR2RGB)
    (expected,) = safa.load(exported_onnx.with_suffix(".safetensors"), "cpu", engine="torch").between(*pictures, [0.3])
    assert np.abs(result.astype(int) - expected).max() <= 1


def test_generator_enlarges_and_smooths_a_file(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", frames=3, sound=False)
    command = [sys.executable, str(EXAMPLES / "generator.py"), str(source), str(tmp_path / "out.mp4")]
    subprocess.run(command, check=True)
    frames = video_frames(tmp_path / "out.mp4")
    assert [time * 2 * RATE for time, _ in frames] == [0, 1, 2, 3, 4]
    assert {image.shape for _, image in frames} == {(4 * HEIGHT, 4 * WIDTH, 3)}


@pytest.fixture
def vs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """VapourSynth itself where it is installed."""
    if importlib.util.find_spec("vapoursynth") is None:
        monkeypatch.setitem(sys.modules, "vapoursynth", vapoursynth_stand_in)
    return importlib.import_module("vapoursynth")


def test_vapoursynth_filter_gives_the_frames_between(vs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("vapoursynth_filter")
    height, width = 24, 32

    def draw(n: int, f: object) -> object:
        result = f.copy()  # type: ignore[attr-defined]
        for plane in range(3):
            np.copyto(np.asarray(result[plane]), picture(n, height, width)[:, :, plane])
        result.props["_SceneChangeNext"] = int(n == 1)
        return result

    blank = vs.core.std.BlankClip(width=width, height=height, format=vs.RGB24, length=3, fpsnum=25, fpsden=1)
    output = example.upscale(vs.core.std.ModifyFrame(blank, blank, draw), rate=2)
    upscaler = safa.load()
    scenes = [[picture(n, height, width) for n in numbers] for numbers in ((0, 1), (2,))]
    # Nothing between frames 1 and 2, where a cut is marked; the last frame of a scene is held for its duration.
    expected = []
    for scene in scenes:
        frames = list(upscaler.stream(scene, 2))
        expected += [*frames, frames[-1]]
    assert len(output) == len(expected)
    for n in (3, 0, 1, 2, 5, 4):  # VapourSynth asks in any order
        frame = output.get_frame(n)
        assert np.array_equal(example.planes(frame), expected[n])
        assert (frame.props["_DurationNum"], frame.props["_DurationDen"]) == (1, 50)
    with pytest.raises(vs.Error, match="must be RGB"):
        example.upscale(vs.core.std.BlankClip(width=width, height=height, format=vs.YUV420P8))
