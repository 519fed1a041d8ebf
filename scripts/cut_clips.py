"""Consecutive frames of clips as folders of pictures, for measure_looks.py, measure_levels.py and docs/detail.py.

python scripts/cut_clips.py OUT goats.mp4:40 walk.mp4:100 VID4/city ...

A video begins at the frame after the colon and is reduced as for training (compressed footage is no truth at its own
size); of a folder of pictures the middle is taken. Frames are cut to their middle, at most 576x464.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import cv2

from safa.data.clips import scaled_frames
from safa.data.scene import Image
from safa.data.sequences import Pictures, Video, find_pictures

WIDTH, HEIGHT, STEP = 576, 464, 16


def frames_of(source: Path, start: int, count: int) -> list[Image]:
    """``count`` frames of a video from number ``start`` on, or from the middle of a folder of pictures."""
    if not source.is_dir():
        return list(itertools.islice(scaled_frames(Video(source.stem, source)), start, start + count))
    pictures = find_pictures(source)
    middle = (len(pictures) - count) // 2
    return list(Pictures(source.name, pictures[middle : middle + count]).frames())


def main() -> None:
    """One folder for each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("sources", nargs="+")
    parser.add_argument("--frames", type=int, default=17)
    arguments = parser.parse_args()
    for text in arguments.sources:
        name, _, start = text.partition(":")
        frames = frames_of(Path(name), int(start or 0), arguments.frames)
        height, width = frames[0].shape[:2]
        rows, columns = min(HEIGHT, height) // STEP * STEP, min(WIDTH, width) // STEP * STEP
        top, left = (height - rows) // 2, (width - columns) // 2
        folder = arguments.output / Path(name).stem
        folder.mkdir(parents=True, exist_ok=True)
        for number, frame in enumerate(frames):
            part = cv2.cvtColor(frame[top : top + rows, left : left + columns], cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(folder / f"{number:04}.png"), part)
        print(f"{folder}: {len(frames)} frames of {columns}x{rows}")


if __name__ == "__main__":
    main()
