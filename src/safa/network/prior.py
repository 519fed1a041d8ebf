"""A classical optical flow as the starting point of SAFA's flow (not in the paper).

The flow between two low-resolution frames, both ways (``dis_flow``), is turned into flow from any time t by Super
SloMo's quadratic (Jiang et al., CVPR 2018, equation 4), bent by the acceleration that the frames around the two tell;
the network's blocks refine it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from safa.network.dis_flow import Flow, flow_both_ways


def classical_flow_pair(frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
    """Classical flow both ways for a batch ``B,3,H,W`` in [0, 1]: ``(0->1, 1->0)``, each ``B,2,H,W`` on its device."""

    def to_uint8(frames: Tensor) -> NDArray[np.uint8]:
        return (frames.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()

    def to_tensor(flows: Sequence[Flow]) -> Tensor:
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).contiguous().to(frame0.device)

    pairs = zip(to_uint8(frame0), to_uint8(frame1), strict=True)
    forward, backward = zip(*(flow_both_ways(first, second) for first, second in pairs), strict=True)
    return to_tensor(forward), to_tensor(backward)


def flow_from_time(
    forward: Tensor, backward: Tensor, t: Tensor, acceleration: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Flow t->0 and t->1 at times ``t`` ``B`` in [0, 1] from flow 0->1 and 1->0 and its acceleration, if it is known
    (``dis_flow.motion_between``); ``B,2,H,W`` each.
    """
    t = t.view(-1, 1, 1, 1)
    to_0 = -(1 - t) * t * forward + t * t * backward
    to_1 = (1 - t) ** 2 * forward - t * (1 - t) * backward
    if acceleration is None:
        return to_0, to_1
    # What starts slowly has not come half of the way by half of the time: it is nearer to where it was.
    bend = t * (1 - t) / 2 * acceleration
    return to_0 + bend, to_1 + bend
