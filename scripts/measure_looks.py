"""The figures of the README and of the model cards that the eye is asked about: one line of JSON a clip and method.

python scripts/measure_looks.py FOLDER bicubic fast real real@0.5 vivid "SPAN > RIFE" --compress h264:28

FOLDER holds sequences as folders of pictures that were not trained on; of each the first 9 frames, even ones the
inputs, reduced to a quarter and compressed as one video. All frames are compared, rounded to 8 bits. The extras
`perceptual` and `rivals` are needed. `safa evaluate` measures whole data sets by the field's protocols instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from safa.data.scene import Image, reduce_quarter
from safa.data.sequences import folders
from safa.evaluation.methods import blend
from safa.evaluation.perceptual import Measured, make_metrics, make_video_metrics
from safa.evaluation.pictures import image_of
from safa.evaluation.protocols import Compression, to_tensor
from safa.evaluation.rivals import RIVALS, rival_method
from safa.metrics import psnr_y
from safa.upscaler.upscaler import load

FRAMES = 9


def made_by(name: str, inputs: Sequence[Image]) -> list[Image]:
    """Every input frame and the one between each two, by a network given the stream, or by a route of two frames."""
    if name != "bicubic" and name not in RIVALS:
        return list(load(name).stream(inputs, 2))
    route = blend if name == "bicubic" else rival_method(name).interpolate
    frames = [to_tensor(frame) for frame in inputs]
    pairs = itertools.pairwise(frames)
    pictures = [picture for first, second in pairs for picture in route(first, second, [0, 0.5])]
    return [image_of(picture) for picture in (*pictures, *route(frames[-2], frames[-1], [1]))]


def main() -> None:
    """Measure every method on every sequence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--compress", type=Compression.parse)
    arguments = parser.parse_args()
    of_videos = make_video_metrics(["jod", "vmaf"])
    for sequence in folders(arguments.folder, None):
        truths = list(itertools.islice(sequence.frames(), FRAMES))
        inputs = [reduce_quarter(frame) for frame in truths[::2]]
        if arguments.compress:
            inputs = arguments.compress.applied(inputs)
        for name in arguments.methods:
            pictures = made_by(name, inputs)
            metrics = make_metrics(["detail", "false_detail", "tof", "stlpips"])
            rows: list[dict[str, float | None]] = []
            for number, (picture, truth) in enumerate(zip(pictures, truths, strict=True)):
                measured = Measured(name, sequence.name, number, to_tensor(picture), to_tensor(truth))
                values = {metric: value(measured) for metric, value in metrics.items()}
                rows.append({"psnr_y": float(psnr_y(measured.image, measured.truth)), **values})
            reported: dict[str, object] = {"sequence": sequence.name, "method": name}
            for metric in rows[0]:
                for part, some in (("inputs", rows[::2]), ("between", rows[1::2])):
                    found = [value for row in some if (value := row[metric]) is not None]
                    reported[f"{metric}_{part}"] = float(np.mean(found))
            for metric, of_video in of_videos.items():
                reported[metric] = float(np.mean(of_video(np.stack(pictures), np.stack(truths))))
            print(json.dumps(reported), flush=True)


if __name__ == "__main__":
    main()
