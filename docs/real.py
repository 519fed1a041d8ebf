"""Draws docs/real.webp: two compressed frames and what is made of the moment between them, with `fast` and `real`.

Run it from the repository's root with a clip that was not trained on: python docs/real.py CLIP START LEFT TOP
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

from safa.checkpoint import load_checkpoint
from safa.data.scene import Image
from safa.data.sequences import Video
from safa.evaluation.baselines import Method, blend, network_method
from safa.evaluation.metrics import psnr
from safa.evaluation.protocols import Compression, windows
from safa.network.operations import luma

WIDTH, HEIGHT, ZOOM = 200, 150, 2
COMPRESSION = Compression("vp9", 0.0)


def to_picture(tensor: Tensor) -> Image:
    """``1,3,H,W`` in [0, 1] as ``H,W,3`` uint8."""
    return (tensor[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)


def main(clip: Path, start: int, left: int, top: int) -> None:
    """One panel for each method, and the truth."""
    (window,) = windows(Video(clip.stem, clip), 2, [start], COMPRESSION)
    truth = window.truth(1)
    methods = [
        Method("bicubic, blended", blend),
        *(network_method(load_checkpoint(name).network, name) for name in ("fast", "real")),
    ]
    shown = []
    for method in methods:
        (made,) = method.interpolate(*window.inputs(), [0.5])
        quality = float(psnr(luma(made.clamp(0, 1)), luma(truth)))
        shown.append((made, f"{method.name}: {quality:.2f} dB"))
    shown.append((truth, "truth"))
    panels = []
    for tensor, title in shown:
        part = to_picture(tensor)[top : top + HEIGHT, left : left + WIDTH]
        large = cv2.resize(part, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
        head = np.full((24, large.shape[1], 3), 255, np.uint8)
        cv2.putText(head, title, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        panels.append(np.vstack((head, large)))
    picture = np.vstack((np.hstack(panels[:2]), np.hstack(panels[2:])))
    target = Path(__file__).with_name("real.webp")
    cv2.imwrite(str(target), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, 92])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
