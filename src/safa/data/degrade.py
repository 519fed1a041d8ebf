"""Degraded inputs for training on real footage: second-order degradation, consistent over time.

After Real-ESRGAN (Wang et al., 2021): two rounds of blur, resize, noise and JPEG between the high-resolution frames
and the low-resolution ones; and after RealBasicVSR (Chan et al., 2022) a video codec at the end. What a camera or a
site does to a whole clip (kernel, sizes, noise level, quality, codec) is drawn once for all frames of a scene; only
the noise itself differs from frame to frame. The codec is a real encoder with prediction between the frames, so its
artefacts move as real ones do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from safa.data.codec import CodecName, pass_codec
from safa.data.scene import Image, reduce_quarter
from safa.errors import SafaError
from safa.network.config import SCALE

ImageStep = Callable[[Image], Image]

# Beyond 11 OpenCV filters by Fourier transform, which takes six times as long.
KERNEL_SIDE = 11
# Rows and columns, less than this many, by which a second codec's blocks are moved against the first one's.
MOST_SHIFT = 8


@dataclass(frozen=True)
class Degradation:
    """Damage that input frames may get; with all probabilities 0 they are only reduced.

    Attributes:
        blur: probability of a blur in each of the two rounds (Gaussian, anisotropic, or a ringing low-pass).
        sigma: least and largest standard deviation of the blur, in high-resolution pixels; half of it in round two.
        resize: probability that a round's resizing takes a detour through another size.
        noise: probability of noise in each round.
        noise_level: least and largest standard deviation of the noise, of 255.
        jpeg: probability of JPEG in each round.
        jpeg_quality: worst and best.
        rounds: 2 as in Real-ESRGAN, or 1: what a site does to good footage, a slight blur and one reduction.
        unsharp: probability that the reduced frames are sharpened, as sites and cameras do.
        codec: probability of a video codec at the end.
        codecs: which ones, equally often (name one twice for twice as often): h264, hevc, mpeg2, mpeg4
            or vp9.
        again: probability that what a codec left goes through a codec once more, whose blocks lie elsewhere.
        clean: probability that frames are only reduced, by bicubic, and nothing else happens to them.
        sharpen: strength of the unsharp mask on the target, 0 = none (Real-ESRGAN: 0.5).
    """

    blur: float = 0.7
    sigma: tuple[float, float] = (0.4, 2.0)
    resize: float = 0.5
    noise: float = 0.5
    noise_level: tuple[float, float] = (1.0, 10.0)
    jpeg: float = 0.3
    jpeg_quality: tuple[int, int] = (50, 95)
    rounds: int = 2
    unsharp: float = 0.0
    codec: float = 0.7
    codecs: tuple[CodecName, ...] = ("h264", "hevc", "mpeg2")
    again: float = 0.0
    clean: float = 0.0
    sharpen: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds not in (1, 2):
            raise SafaError(f"degradation.rounds is {self.rounds!r}; it must be 1 or 2.")
        for name in ("blur", "resize", "noise", "jpeg", "unsharp", "codec", "again", "clean"):
            if not 0 <= getattr(self, name) <= 1:
                raise SafaError(f"degradation.{name} is {getattr(self, name)!r}; it is a probability from 0 to 1.")
        for name in ("sigma", "noise_level", "jpeg_quality", "codecs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("sigma", "noise_level", "jpeg_quality"):
            values = getattr(self, name)
            if len(values) != 2 or not 0 <= values[0] <= values[1]:
                raise SafaError(f"degradation.{name} is {values!r}; it must be two numbers, the least and the largest.")
        unknown = [codec for codec in self.codecs if codec not in get_args(CodecName)]
        if unknown or not self.codecs:
            raise SafaError(
                f"degradation.codecs is {self.codecs!r}; it must name some of {', '.join(get_args(CodecName))}."
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Degradation:
        """Make settings from plain values; an unknown name is an error, a missing one takes its default."""
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise SafaError(f"The degradation settings have unknown names: {', '.join(unknown)}.")
        return cls(**values)


def degrade(frames: Sequence[Image], settings: Degradation, rng: np.random.Generator) -> list[Image]:
    """Low-resolution frames as a bad camera and a codec would have left them.

    Args:
        frames: consecutive high-resolution frames ``H,W,3``, sides multiples of 4.
        rng: decides everything; the same state gives the same frames.

    Returns:
        As many frames ``H/4,W/4,3``.
    """
    height, width = frames[0].shape[:2]
    small = (width // SCALE, height // SCALE)
    if settings.clean and rng.random() < settings.clean:
        return [reduce_quarter(frame) for frame in frames]
    steps = []
    if settings.rounds == 2:
        between = float(rng.uniform(0.35, 1.0))  # the size after round one, relative to the input
        steps = _round(settings, rng, settings.sigma[1], (round(width * between), round(height * between)))
    steps += _round(settings, rng, settings.sigma[1] / settings.rounds, small)
    if settings.unsharp and rng.random() < settings.unsharp:
        steps.append(_unsharp(rng))
    use_codec = rng.random() < settings.codec
    # The codec needs a past to predict from: the scene played to and fro before it, from none to two frames long.
    lead = int(rng.integers(3)) if use_codec else 0
    run = [*(frames[(index + lead) % 2] for index in range(lead)), *frames]
    result = []
    for frame in run:
        image = frame
        for step in steps:
            image = step(image)
        result.append(image)
    if use_codec:
        result = _encode(result, settings, rng)
        if settings.again and rng.random() < settings.again:
            top, left = (int(edge) for edge in rng.integers(MOST_SHIFT, size=2))
            moved = [np.pad(frame, ((top, 0), (left, 0), (0, 0)), "edge") for frame in result]
            result = [np.ascontiguousarray(frame[top:, left:]) for frame in _encode(moved, settings, rng)]
    return result[lead:]


def _encode(frames: Sequence[Image], settings: Degradation, rng: np.random.Generator) -> list[Image]:
    return pass_codec(frames, settings.codecs[rng.integers(len(settings.codecs))], float(rng.random()), rng)


def sharpen(image: Image, amount: float) -> Image:
    """Unsharp mask as Real-ESRGAN applies it to its targets: only where the detail is stronger than 10 of 255."""
    exact = image.astype(np.float32)
    residual = exact - cv2.GaussianBlur(exact, (51, 51), 0)
    mask = cv2.GaussianBlur((np.abs(residual) > 10).astype(np.float32), (51, 51), 0)
    sharper = np.clip(exact + amount * residual, 0, 255)
    return np.asarray(np.rint(mask * sharper + (1 - mask) * exact), np.uint8)


def _round(settings: Degradation, rng: np.random.Generator, sigma: float, size: tuple[int, int]) -> list[ImageStep]:
    """Return the steps of one round, with everything drawn except the noise of each frame."""
    steps: list[ImageStep] = []
    if rng.random() < settings.blur:
        kernel = blur_kernel(rng, settings.sigma[0], max(settings.sigma[0], sigma))
        steps.append(lambda image: _filter(image, kernel))
    if rng.random() < settings.resize:
        detour = float(rng.uniform(0.6, 1.4))
        steps.append(_resizing((round(size[0] * detour), round(size[1] * detour)), rng))
    steps.append(_resizing(size, rng))
    if rng.random() < settings.noise:
        steps.append(_noise(settings, rng))
    if rng.random() < settings.jpeg:
        quality = int(rng.integers(settings.jpeg_quality[0], settings.jpeg_quality[1] + 1))
        steps.append(lambda image: _jpeg(image, quality))
    return steps


def blur_kernel(rng: np.random.Generator, least: float, largest: float) -> NDArray[np.float32]:
    """``11,11`` kernel of sum 1: an anisotropic Gaussian of any direction, or (1 in 10) a ringing low-pass."""
    if rng.random() < 0.1:
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
        response = np.fft.fftshift(np.real(np.fft.ifft2(frequency < rng.uniform(0.12, 0.45))))
        near = slice(32 - KERNEL_SIDE // 2, 33 + KERNEL_SIDE // 2)
        kernel = response[near, near]
    else:
        angle, (along, across) = rng.uniform(0, np.pi), rng.uniform(least, largest, 2)
        axis = np.arange(KERNEL_SIDE) - KERNEL_SIDE // 2
        x, y = np.meshgrid(axis, axis)
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        kernel = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    return np.asarray(kernel / kernel.sum(), np.float32)


def _filter(image: Image, kernel: NDArray[np.float32]) -> Image:
    # OpenCV filters float32 twice as fast as uint8.
    blurred = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT)
    return np.asarray(np.clip(np.rint(blurred), 0, 255), np.uint8)


def _unsharp(rng: np.random.Generator) -> ImageStep:
    amount = float(rng.uniform(0.2, 0.8))

    def step(image: Image) -> Image:
        exact = image.astype(np.float32)
        sharper = exact + amount * (exact - cv2.GaussianBlur(exact, (0, 0), 1.0))
        return np.asarray(np.rint(np.clip(sharper, 0, 255)), np.uint8)

    return step


def _resizing(size: tuple[int, int], rng: np.random.Generator) -> ImageStep:
    # Pillow's filters widen with the reduction (antialiased), as cameras and encoders do; bilinear and box are worse.
    kinds = (PillowImage.Resampling.BICUBIC, PillowImage.Resampling.BILINEAR, PillowImage.Resampling.BOX)
    kind = kinds[rng.integers(len(kinds))]
    return lambda image: np.asarray(PillowImage.fromarray(image).resize(size, kind))


def _noise(settings: Degradation, rng: np.random.Generator) -> ImageStep:
    level = float(rng.uniform(*settings.noise_level))
    grey = rng.random() < 0.4
    shot = rng.random() < 0.5  # grows with brightness, as a sensor's does

    def step(image: Image) -> Image:
        noise = rng.normal(size=(*image.shape[:2], 1 if grey else 3)).astype(np.float32) * level
        if shot:
            noise = noise * np.sqrt(image.astype(np.float32) / 128)
        return np.asarray(np.clip(np.rint(image + noise), 0, 255), np.uint8)

    return step


def _jpeg(image: Image, quality: int) -> Image:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
