"""Metrics of whole sequences, by the packages of their authors: VMAF and ColorVideoVDP. Higher is better."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from safa.errors import SafaError
from safa.evaluation.further import Measured
from safa.evaluation.pictures import image_of

RATE = 25
"""Frames per second at which the sequences are taken to be shown; Vid4 and most others do not say."""

DISPLAY = "standard_4k"
"""The display that ColorVideoVDP takes them to be shown on, by its own name."""

Frames = NDArray[np.uint8]
"""``N,H,W,3`` RGB."""


class VideoMetric(Protocol):
    """Measures a sequence of one method's frames beside the truth."""

    def __call__(self, images: Frames, truths: Frames) -> list[float]:
        """A value for each frame; of a metric that gives one for all, that one again and again."""


class Gathered:
    """The frames of a sequence by method, as 8 bits, until its end."""

    def __init__(self) -> None:
        self._images: dict[str, list[Frames]] = {}
        self._truths: dict[str, list[Frames]] = {}

    def add(self, measured: Measured) -> None:
        """Keep a frame."""
        self._images.setdefault(measured.method, []).append(image_of(measured.image))
        self._truths.setdefault(measured.method, []).append(image_of(measured.truth))

    def forget(self, method: str) -> None:
        """Leave out a method that failed."""
        self._images.pop(method, None)
        self._truths.pop(method, None)

    def measure(self, metrics: dict[str, VideoMetric]) -> dict[str, list[dict[str, float]]]:
        """The values of each method's frames, in their order, and a fresh start."""
        found: dict[str, list[dict[str, float]]] = {}
        for method, images in self._images.items():
            truths = self._truths[method]
            columns = {name: metric(np.stack(images), np.stack(truths)) for name, metric in metrics.items()}
            found[method] = [{name: values[k] for name, values in columns.items()} for k in range(len(images))]
        self._images, self._truths = {}, {}
        return found


def make_video_metrics(names: Sequence[str]) -> dict[str, VideoMetric]:
    """Fresh metrics by name: vmaf, jod."""
    makers: dict[str, Callable[[], VideoMetric]] = {"vmaf": _vmaf, "jod": _jod}
    return {name: makers[name]() for name in names}


def _vmaf() -> VideoMetric:
    """VMAF (Netflix, model 0.6.1) by the ffmpeg program of the package imageio-ffmpeg."""
    import imageio_ffmpeg

    program = imageio_ffmpeg.get_ffmpeg_exe()

    def values(images: Frames, truths: Frames) -> list[float]:
        with tempfile.TemporaryDirectory(prefix="safa-") as place:
            folder = Path(place)
            for name, frames in (("result", images), ("truth", truths)):
                # BT.601, which VMAF reads the luma of.
                write_lossless(folder / f"{name}.mkv", frames, "yuv444p")
            # Relative paths: a filter's options have characters of their own.
            command = [program, "-v", "error", "-i", "result.mkv", "-i", "truth.mkv"]
            command += ["-lavfi", "libvmaf=log_fmt=json:log_path=vmaf.json", "-f", "null", "-"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode or not (folder / "vmaf.json").is_file():
                raise SafaError(f"VMAF could not be measured: {done.stderr.strip() or 'ffmpeg wrote nothing'}.")
            told = json.loads((folder / "vmaf.json").read_text())
        return [float(frame["metrics"]["vmaf"]) for frame in told["frames"]]

    return values


def _jod() -> VideoMetric:
    """ColorVideoVDP (Mantiuk et al., 2024) by its authors' package cvvdp: just-objectionable differences below 10."""
    import pycvvdp

    metric = pycvvdp.cvvdp(display_name=DISPLAY, quiet=True)

    def values(images: Frames, truths: Frames) -> list[float]:
        value, _ = metric.predict(images, truths, dim_order="FHWC", frames_per_second=RATE)
        return [float(value)] * len(images)

    return values


def write_lossless(path: Path, frames: Frames, pixel_format: str) -> None:
    """Frames as an FFV1 video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(RATE))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
