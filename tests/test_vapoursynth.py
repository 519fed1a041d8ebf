"""``safa.vapoursynth`` gives a script the frames of ``Upscaler.stream``, at their times, with their properties."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import safa
from safa.errors import SafaError
from tests.media import write_video

vs: Any = pytest.importorskip("vapoursynth", reason="VapourSynth is not installed (it needs Python 3.12 or newer)")
README = Path(__file__).parents[1] / "README.md"
WIDTH, HEIGHT = 24, 16
WHITE = {8: 255, 16: 65535, 32: 1.0}


@pytest.fixture(scope="module")
def filters() -> ModuleType:
    return importlib.import_module("safa.vapoursynth")


@pytest.fixture(scope="module")
def upscaler() -> safa.Upscaler:
    return safa.load("fast", "cpu")


@pytest.fixture(autouse=True)
def _forget_outputs() -> Iterator[None]:
    yield
    vs.clear_outputs()


def picture(k: int, dtype: Any = np.uint8) -> np.ndarray:
    """Coloured stripes that move with ``k``."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    stripes = np.stack([(x * 9 + k * 12) % 256, (y * 11) % 256, (x * 3 + y * 5 + k * 9) % 256], axis=-1)
    return (
        (stripes / 255).astype(dtype)
        if np.dtype(dtype).kind == "f"
        else (stripes * (np.iinfo(dtype).max // 255)).astype(dtype)
    )


def make_clip(pictures: Iterable[np.ndarray], kind: Any, props: Callable[[int], dict[str, Any]] | None = None) -> Any:
    """A clip of RGB pictures at 25 frames per second."""
    pictures = list(pictures)
    height, width = pictures[0].shape[:2]
    blank = vs.core.std.BlankClip(
        width=width, height=height, format=kind, length=len(pictures), fpsnum=25, fpsden=1, keep=True
    )

    def draw(n: int, f: Any) -> Any:
        frame = f.copy()
        for plane in range(3):
            np.copyto(np.asarray(frame[plane]), pictures[n][:, :, plane])
        for name, value in (props(n) if props else {}).items():
            frame.props[name] = value
        return frame

    return vs.core.std.ModifyFrame(blank, blank, draw)


def pixels(frame: Any) -> np.ndarray:
    """``H,W,3`` of a frame whose planes are of one size."""
    return np.stack([np.asarray(frame[plane]) for plane in range(3)], axis=-1)


def assert_equal(clip: Any, other: Any) -> None:
    """The same values in every plane of every frame."""
    assert (len(clip), clip.format.id, clip.width, clip.height) == (
        len(other), other.format.id, other.width, other.height,
    )  # fmt: skip
    for frame, expected in zip(clip.frames(), other.frames(), strict=True):
        for plane in range(clip.format.num_planes):
            assert np.array_equal(np.asarray(frame[plane]), np.asarray(expected[plane]))


def held(frames: Iterable[np.ndarray], rate: int) -> list[np.ndarray]:
    """A stream's frames, the last for as long as a source frame."""
    frames = list(frames)
    return frames + [frames[-1]] * (rate - 1)


@pytest.mark.parametrize("length", [1, 2, 17, 18, 34])
def test_frames_are_those_of_a_stream_in_any_order(filters: ModuleType, upscaler: safa.Upscaler, length: int) -> None:
    """Around the borders of windows of 16 frames too."""
    pictures = [picture(k) for k in range(length)]
    output = filters.upscale(make_clip(pictures, vs.RGB24), rate=2, device="cpu")
    expected = held(upscaler.stream(pictures, 2), 2)
    assert len(output) == len(expected)
    assert (output.width, output.height, output.fps) == (4 * WIDTH, 4 * HEIGHT, Fraction(50))
    for n in sorted(range(len(expected)), key=lambda n: (n // 5, -n)):
        frame = output.get_frame(n)
        assert np.array_equal(pixels(frame), expected[n]), n
        assert (frame.props["_DurationNum"], frame.props["_DurationDen"]) == (1, 50)


def test_networks_that_see_a_pair(filters: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    network = safa.Safa(safa.SafaConfig(channels=8, blocks=2))
    safa.save_checkpoint(network, tmp_path / "pair.safetensors", {})
    pictures = [picture(k) for k in range(4)]
    output = filters.upscale(make_clip(pictures, vs.RGB24), 3, 2, tmp_path / "pair.safetensors", "cpu")
    stream = safa.load(tmp_path / "pair.safetensors", "cpu").stream(pictures, 3, scale=2)
    assert [pixels(frame).tolist() for frame in output.frames()] == [frame.tolist() for frame in held(stream, 3)]


@pytest.mark.parametrize(("name", "dtype"), [("RGB48", np.uint16), ("RGBS", np.float32), ("RGBH", np.float16)])
def test_formats_of_rgb(filters: ModuleType, upscaler: safa.Upscaler, name: str, dtype: Any) -> None:
    pictures = [picture(k, dtype) for k in range(2)]
    output = filters.upscale(make_clip(pictures, getattr(vs, name)), rate=2, scale="1.5", device="cpu")
    assert output.format.name == name
    computed = [frame.astype(np.float32) if dtype == np.float16 else frame for frame in pictures]
    expected = [frame.astype(dtype) for frame in held(upscaler.stream(computed, 2, scale=1.5), 2)]
    assert [pixels(frame).tolist() for frame in output.frames()] == [frame.tolist() for frame in expected]


@pytest.mark.parametrize(
    ("name", "props", "matrix"),
    [
        ("YUV420P8", {}, 6),
        ("YUV422P10", {"_Matrix": 9, "_Primaries": 9, "_Transfer": 16, "_ChromaLocation": 2}, 9),
        ("YUV444PS", {"_Matrix": 1}, 1),
        ("YUV420P8", {"_Matrix": 5, "_Range": 1}, 5),
        ("GRAY16", {}, 6),
    ],
)
def test_yuv_keeps_format_and_colour_properties(
    filters: ModuleType, upscaler: safa.Upscaler, name: str, props: dict[str, int], matrix: int
) -> None:
    kind = getattr(vs, name)
    full = props.get("_Range", 0)
    source = make_clip([picture(k) for k in range(2)], vs.RGB24).resize.Bicubic(format=kind, matrix=matrix, range=full)
    source = source.std.RemoveFrameProps(["_Matrix", "_Range", "_Primaries", "_Transfer", "_ChromaLocation"])
    source = source.std.SetFrameProps(**props) if props else source
    output = filters.upscale(source, rate=2, scale=4, device="cpu")

    rgb = vs.RGBS if source.format.sample_type == vs.FLOAT else vs.RGB48
    chroma = {"chromaloc": props.get("_ChromaLocation", 0)} if source.format.subsampling_w else {}
    given = {"matrix": matrix, "range": full, **chroma}
    frames = [
        pixels(frame)
        for frame in source.resize.Bicubic(format=rgb, **{f"{k}_in": v for k, v in given.items()}).frames()
    ]
    assert_equal(output, make_clip(held(upscaler.stream(frames, 2), 2), rgb).resize.Bicubic(format=kind, **given))
    told = output.get_frame(1).props
    assert told["_Matrix"] == matrix
    assert told["_Range"] == full
    for key, value in props.items():
        assert told[key] == value


def test_nothing_is_interpolated_across_a_cut(filters: ModuleType, upscaler: safa.Upscaler) -> None:
    pictures = [picture(0), picture(1), picture(30), picture(31), picture(32)]
    marked = make_clip(pictures, vs.RGB24, lambda n: {"_SceneChangePrev": int(n == 2), "_SceneChangeNext": int(n == 1)})
    output = filters.upscale(marked, rate=2, device="cpu")
    first, second = (list(upscaler.stream(scene, 2)) for scene in (pictures[:2], pictures[2:]))
    got = [pixels(frame) for frame in output.frames()]
    assert np.array_equal(got[2], got[3])
    for n, frame in [(0, first[0]), (1, first[1]), *zip(range(4, 10), held(second, 2), strict=True)]:
        assert np.array_equal(got[n], frame)
    # Frame 1 ends its scene: at its own time, so that a stream's last frame differs by rounding at most.
    assert np.abs(got[2].astype(int) - first[2]).max() <= 3
    props = [(frame.props["_SceneChangePrev"], frame.props["_SceneChangeNext"]) for frame in output.frames()]
    assert props == [(0, 0), (0, 0), (0, 0), (0, 1), (1, 0), *[(0, 0)] * 5]


def test_a_variable_frame_rate_stays(filters: ModuleType) -> None:
    durations = [(1, 25), (2, 25), (1, 30), (1, 25)]
    starts = [0.0, 0.04, 0.12, 0.12 + 1 / 30]

    def props(n: int) -> dict[str, Any]:
        return {"_DurationNum": durations[n][0], "_DurationDen": durations[n][1], "_AbsoluteTime": starts[n]}

    source = make_clip([picture(k) for k in range(4)], vs.RGB24, props)
    output = filters.upscale(source, rate=3, device="cpu")
    told = [frame.props for frame in output.frames()]
    for n, prop in enumerate(told):
        number, step = divmod(n, 3)
        expected = Fraction(*durations[number]) / 3
        assert Fraction(prop["_DurationNum"], prop["_DurationDen"]) == expected
        assert prop["_AbsoluteTime"] == pytest.approx(starts[number] + step * float(expected))


def test_bad_arguments_are_said_in_a_sentence(filters: ModuleType) -> None:
    good = make_clip([picture(0)], vs.RGB24)
    gray = vs.core.std.BlankClip(width=WIDTH, height=HEIGHT, format=vs.GRAY8)
    for arguments, words in [
        ({"clip": vs.core.std.Splice([good, gray], mismatch=True)}, "changes its format"),
        ({"clip": "in.mp4"}, "must be a VapourSynth video clip"),
        ({"clip": good, "rate": 1.5}, "whole number"),
        ({"clip": good, "scale": 5}, "from 1 to 4"),
        ({"clip": good, "weights": "none"}, "no weights"),
        ({"clip": good, "weights": "best", "detail": 0.3}, "more detail"),
        ({"clip": good.std.SetFieldBased(2)}, "interlaced"),
        ({"clip": vs.core.std.BlankClip(width=26, height=18, format=vs.YUV420P8), "scale": 1.5}, "another scale"),
    ]:
        with pytest.raises(SafaError, match=words):
            filters.upscale(**arguments)
    later = make_clip([picture(0), picture(1)], vs.RGB24, lambda n: {"_FieldBased": n})
    with pytest.raises(vs.Error, match="Frame 1 is interlaced"):
        filters.upscale(later, device="cpu").get_frame(2)


def test_the_script_of_the_readme(
    filters: ModuleType, upscaler: safa.Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("vapoursynth_bestsource") if not hasattr(vs.core, "bs") else None
    (script,) = re.findall(r"```python\n([^`]*safa\.vapoursynth[^`]*)```", README.read_text())
    assert len(script.split("\n")) <= 6
    write_video(tmp_path / "in.mp4", [picture(k) for k in range(5)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # of the index that BestSource keeps
    exec(script, {})
    output = vs.get_output(0).clip
    source = vs.core.bs.VideoSource("in.mp4")
    frames = [pixels(frame) for frame in source.resize.Bicubic(format=vs.RGB48, matrix_in=6, range_in=0).frames()]
    assert len(frames) == 5
    expected = make_clip(held(upscaler.stream(frames, 2), 2), vs.RGB48)
    assert_equal(output, expected.resize.Bicubic(format=vs.YUV420P8, matrix=6, range=0, chromaloc=0))
