"""PSNR, sharpness and time at each size of result, and whether a reduced input would do below twice.

python scripts/measure_sizes.py FOLDER [--weights fast] [--frames 17] [--scales 1 1.5 2 3 4]

FOLDER holds sequences as folders of pictures that were not trained on. Of each the first frames are taken, even ones
the inputs: their antialiased bicubic quarter. The truth is the original, reduced to the size by the filter that results
are reduced with. All pictures are rounded to 8 bits. For each output frame: seconds of the wall, and of all processors,
which other programs beside this one change less. One line of JSON a sequence, scale and way; then a table of means.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import folders
from safa.evaluation.protocols import to_tensor
from safa.metrics import psnr_y
from safa.network.config import SCALE
from safa.network.operations import luma
from safa.upscaler.resize import Reduction, result_size
from safa.upscaler.upscaler import Upscaler, load

Size = tuple[int, int]
METRICS = ("psnr_inputs", "psnr_between", "sharp_inputs", "sharp_between", "seconds", "processor")
FILTERS = {"bicubic": PillowImage.Resampling.BICUBIC, "Lanczos": PillowImage.Resampling.LANCZOS}


def reduced(image: Image, size: Size) -> Image:
    """``H,W,3``, whose sides 4 divides, to ``size`` (height, width) by the filter that results are made with."""
    reduction = Reduction(image.shape[0] // SCALE, image.shape[1] // SCALE, size)
    result = np.empty((*size, 3), np.uint8)
    reduction.store(image.astype(np.float32) / np.float32(255), (0, 0), result, (slice(0, size[0]), slice(0, size[1])))
    return result


def resized(image: Image, size: Size, kernel: str) -> Image:
    """Pillow's filters, which are antialiased where pictures get smaller."""
    return np.asarray(PillowImage.fromarray(image).resize(size[::-1], FILTERS[kernel]))


def blended(inputs: Sequence[Image], size: Size, kernel: str) -> list[Image]:
    """Enlarged inputs and the mean of each two."""
    enlarged = [resized(frame, size, kernel) for frame in inputs]
    pictures = [enlarged[0]]
    for before, after in itertools.pairwise(enlarged):
        mean = (before.astype(np.uint16) + after + 1) // 2
        pictures += [mean.astype(np.uint8), after]
    return pictures


def sharpness(image: Image) -> float:
    """Mean absolute Laplacian of Y in [0, 255]."""
    brightness = 255 * luma(to_tensor(image))[0, 0].numpy()
    return float(np.abs(cv2.Laplacian(brightness, cv2.CV_32F)).mean())


def ways_of(upscaler: Upscaler, inputs: Sequence[Image], scale: float, size: Size) -> dict[str, Callable[[], object]]:
    """Return what is compared at this size: name -> function that makes all frames."""

    def by_network(frames: Sequence[Image], factor: float) -> Callable[[], object]:
        return lambda: list(upscaler.stream(frames, 2, scale=factor))

    ways: dict[str, Callable[[], object]] = {
        f"{kernel} + blending": partial(blended, inputs, size, kernel) for kernel in FILTERS
    }
    ways["network"] = by_network(inputs, scale)
    if scale <= SCALE / 2 and not any(side % 2 for side in inputs[0].shape[:2]):
        half = inputs[0].shape[0] // 2, inputs[0].shape[1] // 2
        ways["network, input halved"] = by_network([resized(frame, half, "bicubic") for frame in inputs], 2 * scale)
    return ways


def measured(pictures: Sequence[Image], truths: Sequence[Image]) -> dict[str, float]:
    """Means over the frames at the inputs and over those between."""
    pairs = zip(pictures, truths, strict=True)
    quality = [float(psnr_y(to_tensor(picture), to_tensor(truth))) for picture, truth in pairs]
    sharp = [sharpness(picture) for picture in pictures]
    means = (quality[::2], quality[1::2], sharp[::2], sharp[1::2])
    return {name: float(np.mean(values)) for name, values in zip(METRICS, means, strict=False)}


def main() -> None:
    """Measure every way at every scale on every sequence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", default="fast")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--scales", type=float, nargs="+", default=[1, 1.5, 2, 3, 4])
    arguments = parser.parse_args()
    upscaler = load(arguments.weights, "cpu", engine=arguments.engine)
    rows: dict[tuple[float, str], list[dict[str, float]]] = {}
    for sequence in folders(arguments.folder, None):
        originals = list(itertools.islice(sequence.frames(), arguments.frames))
        originals = originals[: len(originals) - (len(originals) + 1) % 2]
        inputs = [reduce_quarter(frame) for frame in originals[::2]]
        four_times: list[Image] = []
        list(upscaler.stream(inputs[:2], 2))  # the first time is slower
        for scale in sorted(arguments.scales, reverse=True):
            height, width = inputs[0].shape[:2]
            size = result_size(height, width, scale)
            truths = [reduced(frame, size) for frame in originals]
            reported = {"truth": measured(truths, truths) | {"seconds": 0.0, "processor": 0.0}}
            for name, make in ways_of(upscaler, inputs, scale, size).items():
                began = time.perf_counter(), time.process_time()
                pictures: list[Image] = make()  # type: ignore[assignment]
                spent = time.perf_counter() - began[0], time.process_time() - began[1]
                each = dict(zip(METRICS[-2:], (one / len(pictures) for one in spent), strict=True))
                reported[name] = measured(pictures, truths) | each
                if name == "network" and scale == SCALE:
                    four_times = pictures
            if four_times and scale < SCALE:
                reported["network x4 in 8 bits, then reduced"] = measured(
                    [reduced(picture, size) for picture in four_times], truths
                )
            for name, values in reported.items():
                print(json.dumps({"sequence": sequence.name, "scale": scale, "way": name, **values}), flush=True)
                rows.setdefault((scale, name), []).append(values)
    print("| scale | way | " + " | ".join(METRICS) + " |")
    for (scale, name), found in sorted(rows.items(), key=lambda entry: entry[0][0]):
        means = [np.mean([values.get(metric, np.nan) for values in found]) for metric in METRICS]
        print(f"| {scale:g} | {name} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")


if __name__ == "__main__":
    main()
