"""State of a run on disk, from which it continues as if it had never stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from safa.errors import SafaError
from safa.network.safa import Safa


@dataclass
class RunParts:
    """Everything that a training step changes.

    Attributes:
        average: averaged weights.
        shares: ``Objective.shares``.
        sharpness: ``Objective.sharpness``, with the discriminators that are trained beside the network, or None.
    """

    network: Safa
    average: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    shares: Tensor
    sharpness: nn.Module | None = None

    def parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Everything that is trained, by names of its own."""
        yield from self.network.named_parameters()
        if self.sharpness is not None:
            yield from ((f"sharpness.{name}", parameter) for name, parameter in self.sharpness.named_parameters())


def save_state(path: Path, run: RunParts, step: int, seconds: float) -> None:
    """Write a run's state to one safetensors file, atomically; ``step`` and ``seconds``: how many are done, and the
    time they took.
    """
    tensors = {f"network.{name}": value for name, value in run.network.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in run.average.items()}
    tensors["shares"] = run.shares
    if run.sharpness is not None:
        tensors |= {f"sharpness.{name}": value for name, value in run.sharpness.state_dict().items()}
    for name, parameter in run.parameters():
        for key, value in run.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value)
    # Clones: a safetensors file must not hold two views of one memory, and channels_last is not contiguous.
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_suffix(".tmp")
    save_file(plain, str(temporary), {"step": str(step), "seconds": str(seconds)})
    os.replace(temporary, path)


def load_network(path: Path, network: Safa) -> None:
    """Load the network of a saved run alone, before an optimiser is made for it. Raises SafaError as ``load_state``."""
    tensors, _ = _read(path)
    _fill_network(path, network, tensors)


def load_state(path: Path, run: RunParts) -> tuple[int, float]:
    """The inverse of ``save_state``: fills what it is given, returns the step and the seconds.

    Raises:
        SafaError: the file is damaged, or the run has another layout of the network, or other losses.
    """
    tensors, metadata = _read(path)
    given = {name.split(".")[1] for name in tensors if name.startswith("sharpness.") and name.count(".") > 1}
    wanted: set[str] = set() if run.sharpness is None else {name for name, _ in run.sharpness.named_children()}
    if given != wanted:
        raise SafaError(
            f"The run in {path.parent} was made with {' and '.join(sorted(given)) or 'no discriminator'}; "
            "resume it with the adversarial_share and feature_adversarial_share it has."
        )
    _fill_network(path, run.network, tensors)
    try:
        if run.sharpness is not None:
            run.sharpness.load_state_dict(_part(tensors, "sharpness."))
        # Missing in runs from before blocks were balanced one by one.
        run.shares.copy_(tensors.get("shares", run.shares))
    except RuntimeError as error:
        raise _other_settings(path) from error
    for name, value in _part(tensors, "average.").items():
        run.average[name].copy_(value)
    for name, parameter in run.parameters():
        # A parameter that no step has touched, such as a branch for a scale that is never used, has no moments.
        for key in ("step", "exp_avg", "exp_avg_sq"):
            moment = tensors.get(f"optimizer.{key}.{name}")
            if moment is not None:
                kept = moment if key == "step" else torch.empty_like(parameter).copy_(moment)
                run.optimizer.state[parameter][key] = kept
    return int(metadata["step"]), float(metadata.get("seconds", 0))


def update_average(average: dict[str, Tensor], network: Safa, decay: float) -> None:
    """Move the averaged weights by ``1 - decay`` towards the current ones."""
    current = network.state_dict()
    floating = [name for name, value in average.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floating], [current[n].detach() for n in floating], 1 - decay)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a saved state."""
    try:
        with safe_open(str(path), "pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)
    except SafetensorError as error:
        raise SafaError(
            f"{path} is damaged; start a run in another folder with --init {path.parent / 'last.safetensors'}."
        ) from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _fill_network(path: Path, network: Safa, tensors: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(_part(tensors, "network."))
    except RuntimeError as error:
        raise _other_settings(path) from error


def _other_settings(path: Path) -> SafaError:
    return SafaError(f"The run in {path.parent} was made with other network settings; resume it with its own.")
