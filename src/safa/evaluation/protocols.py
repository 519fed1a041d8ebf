"""Evaluation protocols of the literature: which frames are compared, and over what scores are averaged.

A sequence is cut into windows of k + 1 frames that share their ends (stride k). The two ends, reduced to a quarter,
are the inputs; frame i of a window is the truth at t = i / k. The last frame of a window is counted as the first of
the next one.

Two variants. "public" is the evaluation code of MoTIF and BF-STVSR: results are not rounded, the mean is over all
windows. "zooming" is that of Zooming Slow-Mo: results are rounded to 8 bits, the mean is over the means of the
sequences. The same network differs by up to 0.7 dB between the two.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, overload

import numpy as np
import torch
from torch import Tensor

from safa.data.codec import ENCODERS, CodecName, level_of, through_codec
from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import FrameSequence
from safa.errors import SafaError

Variant = Literal["public", "zooming"]
FrameGroup = Literal["inputs", "between", "centre", "average"]
"""Which frames of a window: its first (t = 0); those strictly between the inputs; the one at t = 0.5; all but the
last."""
PARTS: tuple[FrameGroup, ...] = get_args(FrameGroup)


@dataclass(frozen=True)
class Compression:
    """Compression of the inputs before a method sees them: all of a sequence are one compressed video."""

    codec: CodecName
    quality: float
    """Quality from 0, visibly damaged, to 1, nearly clean; above 1 the encoder's own scale (a CRF, of the MPEG ones a
    quantiser scale).
    """

    def __post_init__(self) -> None:
        scale = 31 if self.codec.startswith("mpeg") else 63 if self.codec == "vp9" else 51
        known = self.codec in ENCODERS and (self.quality <= 1 or float(self.quality).is_integer())
        if not known or not 0 <= self.quality <= scale:
            raise SafaError(
                f"Inputs cannot be compressed with '{self.codec}:{self.quality:g}'; give one of {', '.join(ENCODERS)} "
                "and a quality from 0 to 1, such as vp9:0.5, or a whole number on the encoder's scale, such as h264:28."
            )

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Parse "codec:quality", as ``--compress`` takes it; raises SafaError for what cannot be done."""
        codec, _, quality = text.partition(":")
        try:
            return cls(codec, float(quality))  # type: ignore[arg-type]
        except ValueError:
            raise SafaError(
                f"--compress is '{text}'; give a codec and a quality from 0 to 1, such as vp9:0.5."
            ) from None

    def __str__(self) -> str:
        scale = "quantiser scale" if self.codec.startswith("mpeg") else "CRF"
        return f"{self.codec} at {scale} {self.level}"

    @property
    def level(self) -> int:
        """On the encoder's own scale."""
        return level_of(self.codec, self.quality) if self.quality <= 1 else int(self.quality)

    def applied(self, frames: Sequence[Image]) -> list[Image]:
        """``frames``, at least one, after encoding as people encode (the encoder's usual groups of pictures) and
        decoding.
        """
        level = str(self.level)
        options = {"qmin": level, "qmax": level} if self.codec.startswith("mpeg") else {"crf": level}
        if self.codec == "vp9":
            options |= {"b": "0", "deadline": "good", "cpu-used": "4"}
        return through_codec(frames, self.codec, options)


class Inputs(Sequence[Tensor]):
    """Pictures ``H,W,3`` uint8 that are read as ``1,3,H,W`` float32 in [0, 1]: held as they are, a quarter of the
    memory. A slice is another object, which methods that keep what they know of a stream take for another stream.
    """

    def __init__(self, pictures: Sequence[Image]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> Inputs: ...

    def __getitem__(self, index: int | slice) -> Tensor | Inputs:
        return Inputs(self.pictures[index]) if isinstance(index, slice) else to_tensor(self.pictures[index])


@dataclass(frozen=True)
class EvaluationWindow:
    """k + 1 consecutive frames of a sequence."""

    sequence: str
    start: int
    """Index of the first frame in the sequence."""
    frames: tuple[Image, ...]
    """``H,W,3`` uint8 each, sides multiples of 4."""
    stream: Inputs = field(default_factory=lambda: Inputs(()))
    """All inputs of the sequence, ``1,3,h,w`` each, if they were asked for or compressed; this window's are the
    ``place``-th and the next."""

    @property
    def place(self) -> int:
        """Number of inputs of the sequence before this window's."""
        return self.start // (len(self.frames) - 1)

    @property
    def times(self) -> list[float]:
        """t of the counted frames: 0, 1/k, ... (k - 1)/k."""
        factor = len(self.frames) - 1
        return [index / factor for index in range(factor)]

    def inputs(self) -> tuple[Tensor, Tensor]:
        """Both ends reduced by antialiased bicubic (Pillow's, like MATLAB's) and stored as 8 bits: ``1,3,h,w``."""
        if self.stream:
            return self.stream[self.place], self.stream[self.place + 1]
        return to_tensor(reduce_quarter(self.frames[0])), to_tensor(reduce_quarter(self.frames[-1]))

    def truth(self, index: int) -> Tensor:
        """Frame ``index`` as ``1,3,H,W`` in [0, 1]."""
        return to_tensor(self.frames[index])


def window_starts(count: int, factor: int, limit: int | None = None) -> list[int]:
    """First frames of the windows in a sequence of ``count`` frames; at most ``limit``, evenly spread."""
    starts = list(range(0, count - factor, factor))
    if limit is None or len(starts) <= limit:
        return starts
    return [starts[int((index + 0.5) * len(starts) / limit)] for index in range(limit)]


def windows(
    sequence: FrameSequence,
    factor: int,
    starts: list[int],
    compression: Compression | None = None,
    with_stream: bool = True,
) -> Iterator[EvaluationWindow]:
    """Yield the windows of ``sequence`` that begin at ``starts``; without the stream they come sooner."""
    stream = Inputs(())
    if starts and (with_stream or compression is not None):
        numbers = [range(number, number + 1) for number in range(0, sequence.count(), factor)]
        inputs = [reduce_quarter(frame) for (frame,) in sequence.read(numbers)]
        stream = Inputs(inputs if compression is None else compression.applied(inputs))
    spans = [range(start, start + factor + 1) for start in starts]
    for start, loaded in zip(starts, sequence.read(spans), strict=True):
        frames = tuple(loaded)
        if min(frames[0].shape[:2]) < 16:
            raise SafaError(f"The frames of {sequence.name} are smaller than 16x16 pixels: too small to measure on.")
        yield EvaluationWindow(sequence.name, start, frames, stream)


def part_indices(part: FrameGroup, factor: int) -> range:
    """Indices in a window of k + 1 = ``factor`` + 1 frames that ``part`` means; no centre where k is odd."""
    centre = factor // 2
    return {
        "inputs": range(1),
        "between": range(1, factor),
        "centre": range(centre, centre + 1) if factor % 2 == 0 else range(0),
        "average": range(factor),
    }[part]


def prepare(image: Tensor, variant: Variant) -> Tensor:
    """A method's result as ``variant`` measures it: clamped to [0, 1], and rounded to 8 bits in "zooming"."""
    image = image.float().clamp(0, 1)
    return (image * 255).round() / 255 if variant == "zooming" else image


def combine(values: dict[str, list[float]], variant: Variant) -> float | None:
    """The mean of per-frame values, given by sequence, as ``variant`` takes it; None without any."""
    filled = [sequence for sequence in values.values() if sequence]
    if not filled:
        return None
    if variant == "zooming":
        return float(np.mean([np.mean(sequence) for sequence in filled]))
    return float(np.mean(np.concatenate(filled)))


def to_tensor(image: Image) -> Tensor:
    """``H,W,3`` uint8 -> ``1,3,H,W`` float32 in [0, 1]."""
    return torch.tensor(image).permute(2, 0, 1).unsqueeze(0).float() / 255


# Results that others have published, from the data file beside this one; nothing in them is measured here.

FILE = Path(__file__).with_name("published.toml")


@dataclass(frozen=True)
class PublishedRow:
    """One published number."""

    method: str
    part: FrameGroup
    psnr_y: float
    """dB."""
    ssim_y: float | None
    parameters: int
    variant: Variant
    source: str
    """Authors, method and place."""
    remark: str
    """Differences that make it not quite comparable; empty if there are none."""


def published_rows(dataset: str, factor: int) -> list[PublishedRow]:
    """The rows for a data set by its name at a time factor, by part and then in the file's order."""
    methods: list[dict[str, Any]] = tomllib.loads(FILE.read_text())["method"]
    rows = [
        PublishedRow(
            method["name"],
            part,
            values[0],
            values[1] if len(values) > 1 else None,
            method["parameters"],
            result["variant"],
            method["source"],
            method.get("remark", ""),
        )
        for method in methods
        for result in method["result"]
        if (result["dataset"], result["factor"]) == (dataset, factor)
        for part, values in result["parts"].items()
    ]
    return sorted(rows, key=lambda row: row.part, reverse=True)
