"""Draws docs/time-factors.png: how good frames between are, by how many are made for each input frame.

safa evaluate fast --on vid4 --data VID4 --times 2,4,8,16 --windows 2 --json > factors.json
python docs/time_factors.py factors.json prints the table as well.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

COLOURS = ("#d55e00", "#cc79a7", "#e69f00", "#56b4e9", "#0072b2")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 360, 60, 190, 16, 44


def draw(factors: list[int], series: dict[str, list[float]], target: Path) -> None:
    """One line for each method over the time factors, evenly spaced."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    values = [value for line in series.values() for value in line]
    low, high = int(min(values)), int(max(values)) + 1

    def place(number: int, value: float) -> tuple[float, float]:
        across = LEFT + number * (WIDTH - LEFT - RIGHT) / (len(factors) - 1)
        return across, HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    for tick in range(low, high + 1):
        y = place(0, tick)[1]
        pen.line((LEFT, y, WIDTH - RIGHT, y), fill="#dddddd")
        pen.text((LEFT - 8, y), f"{tick} dB", fill="black", font=font, anchor="rm")
    for number, factor in enumerate(factors):
        pen.text((place(number, low)[0], HEIGHT - BOTTOM + 8), f"x{factor}", fill="black", font=font, anchor="mt")
    pen.text(((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6), "time factor", fill="black", font=font, anchor="mb")
    # Names beside the ends of their lines, apart from each other.
    lowest = float("inf")
    for colour, (name, line) in zip(COLOURS, sorted(series.items(), key=lambda one: one[1][-1]), strict=False):
        points = [place(number, value) for number, value in enumerate(line)]
        pen.line(points, fill=colour, width=2)
        for x, y in points:
            pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        lowest = min(points[-1][1], lowest - 18)
        pen.text((WIDTH - RIGHT + 12, lowest), name, fill=colour, font=font, anchor="lm")
    picture.save(target)


def main(path: Path) -> None:
    """The table on standard output and the picture."""
    results = json.loads(path.read_text())
    factors = [one["time_factor"] for one in results]
    series: dict[str, list[float]] = {}
    for one in results:
        for method in one["methods"]:
            series.setdefault(method["name"], []).append(method["mean"]["between"]["psnr_y"])
    print("| between the inputs | " + " | ".join(f"x{factor}" for factor in factors) + " |")
    print("| --- |" + " --- |" * len(factors))
    for name, line in series.items():
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in line) + " |")
    draw(factors, series, Path(__file__).with_name("time-factors.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
