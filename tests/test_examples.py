"""The programs in examples/ do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

import safa
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
