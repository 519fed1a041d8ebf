"""Is text readable afterwards? PSNR-Y around a subtitle and a title on a plate, drawn before sequences that move.

python scripts/measure_text.py FOLDER fast best --font /usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf
python scripts/measure_text.py FOLDER fast --font FONT --picture text.png  # the first sequence's, to look at
python scripts/measure_text.py FOLDER real vivid --font FONT --compress h264:28

FOLDER holds sequences as folders of pictures. Of each the first frames are taken, and text is drawn over all of them;
even ones, reduced to a quarter and perhaps compressed as one video, are the inputs. Training draws text in Pillow's and
OpenCV's typefaces, so another font should be given here. One line for each network and height of the letters: inputs /
between for subtitle and title.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import folders
from safa.evaluation.protocols import Compression, to_tensor
from safa.metrics import psnr_y
from safa.upscaler.upscaler import Upscaler, load

Box = tuple[slice, slice]
TEXTS = {"subtitle": "But I never said that to him.", "title": "LIVE 12:45 | 3-0"}
EDGE = 6
"""Pixels around the text that count too."""


def titled(frame: Image, kind: str, font: Path, height: int) -> tuple[Image, Box]:
    """The frame with a white text with a black outline at the bottom, or one on a plate at the top, and where it is."""
    picture = PillowImage.fromarray(frame)
    draw, letters, text = ImageDraw.Draw(picture), ImageFont.truetype(font, height), TEXTS[kind]
    if kind == "subtitle":
        at, outline = (picture.width / 2, picture.height - 1.2 * height), max(1, height // 14)
        left, top, right, bottom = draw.textbbox(at, text, letters, "mm", stroke_width=outline)
        draw.text(at, text, (255, 255, 255), letters, "mm", stroke_width=outline, stroke_fill=(0, 0, 0))
    else:
        left, top, right, bottom = draw.textbbox((height, height), text, letters)
        draw.rectangle((left - EDGE, top - EDGE, right + EDGE, bottom + EDGE), (140, 20, 30))
        draw.text((height, height), text, (250, 240, 200), letters)
    rows, columns = (
        slice(max(0, int(first) - EDGE), min(side, int(last) + EDGE))
        for first, last, side in ((top, bottom, picture.height), (left, right, picture.width))
    )
    return np.asarray(picture), (rows, columns)


def measured(made: Sequence[Image], truths: Sequence[Image], box: Box) -> tuple[float, float]:
    """PSNR-Y inside the box, the mean over the inputs and over the frames between."""
    values = [
        float(psnr_y(to_tensor(np.ascontiguousarray(picture[box])), to_tensor(np.ascontiguousarray(truth[box]))))
        for picture, truth in zip(made, truths, strict=True)
    ]
    return float(np.mean(values[::2])), float(np.mean(values[1::2]))


def main() -> None:
    """One line for each network and height."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights", nargs="+")
    parser.add_argument("--font", type=Path, required=True, help="a TrueType font")
    parser.add_argument("--heights", type=int, nargs="+", default=[24, 36, 56], help="of letters, in pixels")
    parser.add_argument("--frames", type=int, default=7, help="of each sequence, an odd number from 5")
    parser.add_argument("--compress", type=Compression.parse, help="the inputs, by a codec at a level, such as h264:28")
    parser.add_argument("--picture", type=Path, help="each network's text between the inputs, and the truth")
    arguments = parser.parse_args()
    if arguments.frames < 5 or not arguments.frames % 2:
        parser.error("--frames must be an odd number from 5")
    scenes = [
        list(itertools.islice(sequence.frames(), arguments.frames)) for sequence in folders(arguments.folder, None)
    ]
    networks: dict[str, Upscaler] = {name: load(name) for name in arguments.weights}
    shown: dict[tuple[int, str], list[Image]] = {}
    for height in arguments.heights:
        for name, upscaler in networks.items():
            figures: dict[str, list[tuple[float, float]]] = {kind: [] for kind in TEXTS}
            for number, scene in enumerate(scenes):
                for kind, of_kind in figures.items():
                    drawn = [titled(frame, kind, arguments.font, height) for frame in scene]
                    truths, box = [picture for picture, _ in drawn], drawn[0][1]
                    inputs = [reduce_quarter(truth) for truth in truths[::2]]
                    if arguments.compress:
                        inputs = arguments.compress.applied(inputs)
                    made = list(upscaler.stream(inputs, rate=2))
                    of_kind.append(measured(made, truths, box))
                    if number == 0:
                        pictures = shown.setdefault((height, kind), [truths[3][box]])
                        pictures.insert(-1, made[3][box])
            cells = [f"{kind} {inputs:.2f} / {between:.2f}" for kind, (inputs, between) in means(figures).items()]
            print(f"{name}, {height} pixels: {', '.join(cells)}", flush=True)
    if arguments.picture:
        rows = [picture for pictures in shown.values() for picture in pictures]
        sheet = np.zeros((sum(row.shape[0] for row in rows), max(row.shape[1] for row in rows), 3), np.uint8)
        top = 0
        for row in rows:
            sheet[top : top + row.shape[0], : row.shape[1]] = row
            top += row.shape[0]
        PillowImage.fromarray(sheet).save(arguments.picture)


def means(figures: dict[str, list[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Return the means over the sequences."""
    return {kind: (float(np.mean(values, 0)[0]), float(np.mean(values, 0)[1])) for kind, values in figures.items()}


if __name__ == "__main__":
    main()
