"""PSNR of networks over bicubic enlargement, by codec and strength of compression: the table of the model card `real`.

python scripts/measure_levels.py FOLDER real fast [--levels h264:26 hevc:30]

FOLDER holds sequences as folders of pictures that were not trained on; of each the first 11 frames, even ones the
inputs, reduced to a quarter and compressed as one video, of which networks are given all. PSNR-Y in dB over bicubic
enlargement at the inputs / over blending between them: mean of the sequences, in brackets the one with the least.
All pictures are rounded to 8 bits.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measure_looks import made_by

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import folders
from safa.evaluation.protocols import Compression, to_tensor
from safa.metrics import psnr_y

FRAMES = 11
LEVELS = ("none", "h264:26", "h264:28", "h264:30", "h264:34", "hevc:30", "mpeg2:6", "vp9:40")


def scores(name: str, inputs: Sequence[Image], truths: Sequence[Image]) -> np.ndarray:
    """Mean PSNR-Y of a method at the inputs and between them."""
    pairs = zip(made_by(name, inputs), truths, strict=True)
    each = [float(psnr_y(to_tensor(picture), to_tensor(truth))) for picture, truth in pairs]
    return np.array([np.mean(each[::2]), np.mean(each[1::2])])


def main() -> None:
    """One line of a table for each level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--levels", nargs="+", default=LEVELS)
    arguments = parser.parse_args()
    print("| inputs | " + " | ".join(arguments.methods) + " |", "| --- |" + " --- |" * len(arguments.methods), sep="\n")
    sequences = folders(arguments.folder, None)
    for level in arguments.levels:
        compression = None if level == "none" else Compression.parse(level)
        gains: dict[str, list[np.ndarray]] = {name: [] for name in arguments.methods}
        for sequence in sequences:
            truths = list(itertools.islice(sequence.frames(), FRAMES))
            inputs = [reduce_quarter(frame) for frame in truths[::2]]
            if compression is not None:
                inputs = compression.applied(inputs)
            bicubic = scores("bicubic", inputs, truths)
            for name, found in gains.items():
                found.append(scores(name, inputs, truths) - bicubic)
        cells = []
        for found in gains.values():
            mean, least = np.mean(found, axis=0), np.min(found, axis=0)
            cells.append(f"{mean[0]:+.2f} / {mean[1]:+.2f} ({least[0]:+.2f} / {least[1]:+.2f})")
        print(f"| {compression or 'not compressed'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
