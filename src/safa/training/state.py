"""What a run keeps on disk so that it can go on as if it had never stopped."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from safa.errors import SafaError
from safa.network.safa import Safa


def save_state(
    path: Path,
    network: Safa,
    average: dict[str, Tensor],
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    shares: Tensor,
) -> None:
    """Write a run's state to one safetensors file, atomically.

    Args:
        average: averaged weights.
        step, seconds: how many are done, and the time they took.
        shares: ``Objective.shares``.
    """
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.items()}
    tensors["shares"] = shares
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    # Clones: a safetensors file must not hold two views of one memory, and channels_last is not contiguous.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_suffix(".tmp")
    save_file(plain, str(temporary), {"step": str(step), "seconds": str(seconds)})
    os.replace(temporary, path)


def load_state(
    path: Path, network: Safa, average: dict[str, Tensor], optimizer: torch.optim.Optimizer, shares: Tensor
) -> tuple[int, float]:
    """The inverse of ``save_state``: fills what it is given, returns the step and the seconds.

    Raises:
        SafaError: the run has another layout of the network.
    """
    with safe_open(str(path), "pt", device="cpu") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)

    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    try:
        network.load_state_dict(part("network."))
        shares.copy_(tensors.get("shares", shares))  # missing in runs from before blocks were balanced one by one
    except RuntimeError as error:
        raise SafaError(
            f"The run in {path.parent} was made with other network settings; resume it with its own."
        ) from error
    for name, value in part("average.").items():
        average[name].copy_(value)
    for name, parameter in network.named_parameters():
        # A parameter that no step has touched, such as a branch for a scale that is never used, has no moments.
        for key in ("step", "exp_avg", "exp_avg_sq"):
            moment = tensors.get(f"optimizer.{key}.{name}")
            if moment is not None:
                optimizer.state[parameter][key] = moment if key == "step" else torch.empty_like(parameter).copy_(moment)
    return int(metadata["step"]), float(metadata.get("seconds", 0))


@torch.no_grad()
def update_average(average: dict[str, Tensor], network: Safa, decay: float) -> None:
    """Move the averaged weights by ``1 - decay`` towards the current ones."""
    current = network.state_dict()
    floating = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floating], [current[n].detach() for n in floating], 1 - decay)
