"""Draws docs/scales.png: the scales that the selector of `fast` chooses, by the height of the output.

python docs/scales.py CLIP ... prints the table as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

from safa.checkpoint import load_checkpoint
from safa.data.sequences import Video
from safa.evaluation.inspect import ScaleCounts, scales_by_height

COLOURS = ("#1b6ca8", "#7fb3d5", "#f0a04b")  # 1x, 1/2, 1/4
WIDTH, ROW, LEFT = 480, 22, 150


def draw(counts: list[ScaleCounts], target: Path) -> None:
    """A bar for each block at each height."""
    blocks = len(counts[0].counts)
    picture = Image.new("RGB", (LEFT + WIDTH + 20, len(counts) * (blocks * ROW + 14) + 34), "white")
    pen, y = ImageDraw.Draw(picture), 6
    for one in counts:
        for block in range(blocks):
            pen.text((8, y + 5), f"{one.height} lines, block {block + 1}", fill="black")
            x = float(LEFT)
            for share, colour in zip(one.shares(block), COLOURS, strict=True):
                pen.rectangle((x, y, x + share * WIDTH, y + ROW - 5), fill=colour)
                x += share * WIDTH
            y += ROW
        y += 14
    for number, (name, colour) in enumerate(zip(("1x", "1/2", "1/4"), COLOURS, strict=True)):
        pen.rectangle((LEFT + 80 * number, y, LEFT + 80 * number + 14, y + 14), fill=colour)
        pen.text((LEFT + 80 * number + 20, y + 2), name, fill="black")
    picture.save(target)


def main(clips: list[Path]) -> None:
    """The table on standard output and the picture."""
    sequences = [Video(clip.stem, clip) for clip in clips]
    counts = scales_by_height(load_checkpoint("fast").network, sequences, pairs_per_clip=1, times=(0.25, 0.5, 0.75))
    print("| output | clips | 1x | 1/2 | 1/4 |\n| --- | --- | --- | --- | --- |")
    for one in counts:
        shares = " | ".join(f"{100 * share:.0f} %" for share in one.shares())
        print(f"| {one.height} lines | {len(one.clips)} | {shares} |")
    draw(counts, Path(__file__).with_name("scales.png"))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
