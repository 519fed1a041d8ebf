"""What is measured: networks and the frames they are given."""

from __future__ import annotations

import torch

from safa.checkpoint import load_checkpoint
from safa.network.safa import Safa, SafaConfig

# The paper's layout with random weights: speed at a forced scale does not depend on their values.
PAPER = "paper"


def network_called(name: str) -> Safa:
    """Shipped weights, a file, or "paper"."""
    if name == PAPER:
        torch.manual_seed(0)
        return Safa(SafaConfig()).eval()
    return load_checkpoint(name).network


def random_frames(width: int, height: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames ``1,3,height,width`` of noise."""
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 3, height, width, generator=generator).to(device)
    return first, second


def constant_prior(width: int, height: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """A classical flow of one and a half pixels, both ways, each ``1,2,height,width``."""
    flow = torch.full((1, 2, height, width), 1.5, device=device)
    return flow, -flow


def synchronize(device: torch.device) -> None:
    """Wait for a GPU, which works behind the program's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
