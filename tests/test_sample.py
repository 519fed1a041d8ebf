"""The picture that the shipped sample gets by itself."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner

import safa
from safa.cli import app

SAMPLE = Path(__file__).parents[1] / "samples" / "hens.mp4"
GRASS = slice(256, 360), slice(0, 200)


def fine_detail(weights: str) -> float:
    """Return the mean absolute Laplacian of the grass in the sample's fifth frame."""
    with av.open(str(SAMPLE)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(container.decode(video=0), 5)]
    *_, last = safa.load(weights).stream(frames, 1)
    gray: NDArray[np.uint8] = cv2.cvtColor(last[GRASS], cv2.COLOR_RGB2GRAY)
    return float(np.abs(cv2.Laplacian(gray, cv2.CV_32F)).mean())


def test_grass_is_not_sharpened_into_dots_by_itself() -> None:
    """With detail 0.8 a mesh of dots can be seen there, with 0.5 faint ones, with 0.3 hardly a trace (docs/log.md)."""
    result = CliRunner().invoke(app, ["info", str(SAMPLE), "--json"])
    chosen = json.loads(result.stdout)["weights"]
    plain, chosen_detail, dotted = (fine_detail(weights) for weights in ("fast", chosen, "fast@0.8"))
    assert plain < chosen_detail < 1.2 * plain
    assert dotted > 1.3 * plain
