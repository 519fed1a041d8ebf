"""Detail where the truth has less: what sharp networks invent. A measure of results, and a term of training."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SQUARE, STEP = 12, 4
"""Side of the squares whose detail is compared, in pixels, and how far apart they lie."""
SMALLEST = SQUARE + 2
"""Sides of the smallest pictures that have such a square, in pixels."""


def false_detail(image: Tensor, truth: Tensor) -> Tensor:
    """Measure detail that the truth lacks, such as dots and grain on smooth areas.

    Detail is the mean absolute Laplacian of the grey picture over small squares. Those beside them count as well in the
    truth, so that detail may be a few pixels from where it belongs, as it is where motion is uncertain.

    Args:
        image, truth: ``B,3,H,W`` RGB in [0, 1], sides from ``SMALLEST`` pixels.

    Returns:
        a scalar, in the unit of the pictures.
    """
    made, real = (local_detail(pictures.float()) for pictures in (image, truth))
    return F.relu(made - F.max_pool2d(real, 3, stride=1, padding=1)).mean()


def local_detail(pictures: Tensor) -> Tensor:
    """Mean absolute Laplacian over squares of pictures ``B,3,H,W``: ``B,1,h,w``."""
    laplacian = pictures.new_tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    steps = F.conv2d(pictures.mean(dim=1, keepdim=True), laplacian)
    return F.avg_pool2d(steps.abs(), SQUARE, stride=STEP)
