"""Parameters of the module as arrays by name, and back. PyTorch is loaded when there is a module."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from safa.errors import SafaError

if TYPE_CHECKING:
    from torch import Tensor

    from safa.network.safa import Safa

Tensors = Mapping[str, NDArray[Any]]
"""Parameters and buffers by name, as in the module's state."""
BUFFERS = (".running_mean", ".running_var")
"""Endings of the names of tensors that are not parameters."""


def renamed(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """``name`` with its beginning changed by the first of ``rules`` (pattern, replacement) that fits; else as it is."""
    for pattern, replacement in rules:
        result, changed = re.subn(f"^{pattern}", replacement, name)
        if changed:
            return result
    return name


def persistent(network: Safa) -> dict[str, Tensor]:
    """The state that makes the network: batch counters are of no use to frozen batch normalisation."""
    return {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}


def arrays_of(network: Safa) -> dict[str, NDArray[np.float32]]:
    """Return a copy of the module's persistent state in float32."""
    return {name: tensor.detach().float().cpu().numpy().copy() for name, tensor in persistent(network).items()}


def fill(network: Safa, tensors: Tensors, source: str) -> None:
    """Give a module its parameters; raises SafaError naming all that are missing, left over or of another shape."""
    import torch

    expected = persistent(network)
    missing, surplus = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    wrong = sorted(name for name in set(expected) & set(tensors) if expected[name].shape != tensors[name].shape)
    problems = [
        f"{what} {', '.join(names)}"
        for what, names in (("missing:", missing), ("left over:", surplus), ("of another shape:", wrong))
        if names
    ]
    if problems:
        raise SafaError(f"The tensors in {source} do not fit the network; {'; '.join(problems)}.")
    network.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in tensors.items()}, strict=False)
