"""Metrics beyond PSNR and SSIM: steadiness over time (tOF), detail, and perceptual ones if their packages are there."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safa.errors import SafaError
from safa.evaluation.pictures import image_of
from safa.metrics import SMALLEST, false_detail, local_detail
from safa.network.operations import luma

PACKAGES = {
    "tof": "cv2",
    "detail": "cv2",
    "false_detail": "torch",
    "stlpips": "stlpips_pytorch",
    "vmaf": "imageio_ffmpeg",
    "jod": "pycvvdp",
    "lpips": "lpips",
    "dists": "DISTS_pytorch",
}
"""The module that each metric needs; only OpenCV comes with this package."""

OF_VIDEOS = ("vmaf", "jod")
"""Metrics of whole sequences, see ``safa.evaluation.perceptual``."""

PERCEPTUAL = ("detail", "false_detail", "tof", "stlpips", "vmaf", "jod")
"""Metrics of how a result looks to people."""


@dataclass(frozen=True)
class Measured:
    """One frame of one method beside its truth."""

    method: str
    sequence: str
    number: int
    """Index of the frame in the sequence."""
    image: Tensor
    """``1,3,H,W`` in [0, 1]."""
    truth: Tensor
    """``1,3,H,W`` in [0, 1], on the same device."""


FrameMetric = Callable[[Measured], float | None]
"""None where the frame alone cannot be measured."""


def installed_metrics() -> list[str]:
    """Return the metrics of ``PACKAGES`` that can be computed here."""
    return [name for name, package in PACKAGES.items() if importlib.util.find_spec(package) is not None]


def make_metrics(names: Sequence[str]) -> dict[str, FrameMetric]:
    """Fresh metrics of frames by name; those of videos are only looked for.

    Raises:
        SafaError: an unknown name, or a package that is not installed.
    """
    makers: dict[str, Callable[[], FrameMetric]] = {
        "tof": FlowDifference,
        "detail": lambda: detail,
        "false_detail": lambda: _false_detail,
        "stlpips": _stlpips,
        "lpips": _lpips,
        "dists": _dists,
    }
    for name in names:
        if name not in PACKAGES:
            raise SafaError(f"There is no metric '{name}'; there are {', '.join(PACKAGES)}.")
        if name not in installed_metrics():
            raise SafaError(f"The metric {name} needs the package {PACKAGES[name]}; install it, or leave {name} out.")
    return {name: makers[name]() for name in names if name not in OF_VIDEOS}


class FlowDifference:
    """tOF: mean length in pixels of the difference between the results' optical flow and the truth's.

    As TecoGAN defines and computes it (Chu et al., 2020): Farneback's flow from each frame to the next on 8-bit grey,
    without a border of 8 pixels or more. A frame whose predecessor was not measured (the first of a sequence, or
    after windows that were left out) has no value.
    """

    def __init__(self) -> None:
        self._previous: dict[str, tuple[tuple[str, int], NDArray[np.uint8], NDArray[np.uint8]]] = {}
        self._truth_flow: tuple[tuple[str, int], NDArray[np.float32]] | None = None

    def __call__(self, measured: Measured) -> float | None:
        """The value for the step from the frame before to this one."""
        here = (measured.sequence, measured.number)
        image, truth = _grey(measured.image), _grey(measured.truth)
        before = self._previous.get(measured.method)
        self._previous[measured.method] = (here, image, truth)
        if before is None or before[0] != (measured.sequence, measured.number - 1):
            return None
        if self._truth_flow is None or self._truth_flow[0] != here:  # the same for all methods
            self._truth_flow = (here, _farneback(before[2], truth))
        difference = _farneback(before[1], image) - self._truth_flow[1]
        return float(np.linalg.norm(_without_border(difference), axis=-1).mean(dtype=np.float64))


def detail(measured: Measured) -> float | None:
    """Mean absolute Laplacian of luma over the truth's: 1 has as much fine detail as the truth, right or wrong; None
    where the truth has none.
    """
    image, truth = (
        float(np.abs(cv2.Laplacian(luma(picture)[0, 0].cpu().numpy(), cv2.CV_32F)).mean(dtype=np.float64))
        for picture in (measured.image, measured.truth)
    )
    return image / truth if truth else None


def _false_detail(measured: Measured) -> float | None:
    """Detail that the image has beyond the truth's, such as dots and grain, in percent of all of
    the truth's detail; None where the truth has none, or is too small. See ``safa.metrics``.
    """
    if min(measured.truth.shape[-2:]) < SMALLEST:
        return None
    truth = float(local_detail(measured.truth.float()).mean())
    return 100 * float(false_detail(measured.image, measured.truth)) / truth if truth else None


def _grey(image: Tensor) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(image_of(image)), cv2.COLOR_RGB2GRAY), np.uint8)


def _farneback(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    flow = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    return np.asarray(flow, np.float32)


def _without_border(flow: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest centred part with sides that are multiples of 32 and a border of 8 pixels at least."""
    height, width = ((size - 16) // 32 * 32 or size for size in flow.shape[:2])
    top, left = (flow.shape[0] - height) // 2, (flow.shape[1] - width) // 2
    return flow[top : top + height, left : left + width]


def _stlpips() -> FrameMetric:
    """ST-LPIPS (Ghildyal and Liu, 2022) with AlexNet, by the authors' package; lower is better."""
    try:
        from stlpips_pytorch import stlpips
    except (ImportError, RuntimeError) as error:  # a torchvision for another PyTorch fails with the latter
        raise SafaError(
            f"The package stlpips-pytorch cannot be used ({error}); it needs torchvision, torchsummary and IPython."
        ) from error

    return _network_metric(
        stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False), lambda image: image * 2 - 1
    )


def _lpips() -> FrameMetric:
    """LPIPS (Zhang et al., 2018) with AlexNet, version 0.1, by the authors' package."""
    import lpips

    return _network_metric(lpips.LPIPS(net="alex", verbose=False), lambda image: image * 2 - 1)


def _dists() -> FrameMetric:
    """DISTS (Ding et al., 2020) by the authors' package."""
    import DISTS_pytorch

    return _network_metric(DISTS_pytorch.DISTS(), lambda image: image)


def _network_metric(network: Any, prepare: Callable[[Tensor], Tensor]) -> FrameMetric:
    network.eval()

    @torch.inference_mode()
    def value(measured: Measured) -> float:
        network.to(measured.image.device)
        return float(network(prepare(measured.image), prepare(measured.truth)))

    return value


# Metrics of whole sequences, by the packages of their authors: VMAF and ColorVideoVDP. Higher is better.

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
            reported = json.loads((folder / "vmaf.json").read_text())
        return [float(frame["metrics"]["vmaf"]) for frame in reported["frames"]]

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
