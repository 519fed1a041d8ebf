"""Sheets for blind looks: one part of a frame of each sequence as several networks make it, in an order drawn for it.

python scripts/blind_sheets.py FOLDER fast fast@0.5 fast@0.8 vivid -o sheets --seed 417
python scripts/blind_sheets.py FOLDER real real@0.8 --compress h264:28 -o sheets

FOLDER holds sequences as folders of pictures that were not trained on; the inputs are made as by measure_looks.py. Of
each sequence a part with more detail than most is shown three times as large, of a frame between and of an input frame
in turns. key.json says what A, B, C ... were: whoever looks must not have seen it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import string
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import folders
from safa.evaluation.protocols import Compression
from safa.upscaler.upscaler import load

FRAMES, HEIGHT, WIDTH, ZOOM = 7, 170, 240, 3
SHARE = 0.7
"""Share of all places that have less detail than the one that is shown."""


def typical_part(frame: Image) -> tuple[slice, slice]:
    """Return lines and columns of a typical part."""
    height, width = min(frame.shape[0], HEIGHT), min(frame.shape[1], WIDTH)
    steps = np.abs(cv2.Laplacian(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    means = cv2.boxFilter(steps, -1, (width, height), borderType=cv2.BORDER_REFLECT)
    inside = means[height // 2 : means.shape[0] - height // 2 + 1, width // 2 : means.shape[1] - width // 2 + 1]
    top, left = np.unravel_index(np.abs(inside - np.quantile(inside, SHARE)).argmin(), inside.shape)
    return slice(top, top + height), slice(left, left + width)


def labelled(picture: Image, letter: str) -> Image:
    """Enlarged, with a letter in its corner."""
    large = PillowImage.fromarray(np.ascontiguousarray(picture))
    large = large.resize((ZOOM * large.width, ZOOM * large.height), PillowImage.Resampling.LANCZOS)
    pen = ImageDraw.Draw(large)
    pen.rectangle((0, 0, 22, 18), fill="black")
    pen.text((6, 3), letter, fill="white")
    return np.asarray(large)


def main() -> None:
    """One sheet of two columns for each sequence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, help="draws the same order again")
    parser.add_argument("--compress", type=Compression.parse, help="CODEC:QUALITY, as in safa evaluate")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    draw, key = random.Random(arguments.seed), dict[str, dict[str, str]]()
    upscalers = {name: load(name) for name in arguments.networks}
    for number, sequence in enumerate(folders(arguments.folder, None)):
        frames = list(itertools.islice(sequence.frames(), FRAMES))
        inputs = [reduce_quarter(frame) for frame in frames[::2]]
        if arguments.compress:
            inputs = arguments.compress.applied(inputs)
        shown = FRAMES // 2 + (1 - number % 2)
        part = typical_part(frames[shown])
        order = draw.sample(arguments.networks, len(arguments.networks))
        key[sequence.name] = dict(zip(string.ascii_uppercase, order, strict=False))
        tiles = [
            labelled(list(upscalers[name].stream(inputs, 2))[shown][part], letter)
            for letter, name in key[sequence.name].items()
        ]
        tiles += [np.zeros_like(tiles[0])] * (len(tiles) % 2)
        rows = [np.hstack(tiles[k : k + 2]) for k in range(0, len(tiles), 2)]
        PillowImage.fromarray(np.vstack(rows)).save(arguments.output / f"{number:02d}.png")
    (arguments.output / "key.json").write_text(json.dumps(key, indent=1) + "\n")


if __name__ == "__main__":
    main()
