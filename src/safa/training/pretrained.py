"""Starting points: whole networks, and feature extractors from a ResNet-18 (the paper's ablation d)."""

from __future__ import annotations

import re
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from safa.checkpoint import load_checkpoint
from safa.errors import SafaError
from safa.network.safa import Safa

# torchvision's names of a ResNet and ours.
_RESNET = [
    (r"conv1\.", r"stem.0."),
    (r"bn1\.", r"stem.1."),
    (r"layer(\d)\.(\d)\.conv(\d)\.", r"stages.\1.\2.conv\3."),
    (r"layer(\d)\.(\d)\.bn(\d)\.", r"stages.\1.\2.norm\3."),
    (r"layer(\d)\.(\d)\.downsample\.(\d)\.", r"stages.\1.\2.shortcut.\3."),
]


def start_from(network: Safa, name_or_path: str) -> None:
    """Load whole weights of the same layout into ``network``.

    Raises:
        SafaError: no such weights, or of another layout.
    """
    start = load_checkpoint(name_or_path)
    if start.network.config != network.config:
        raise SafaError(f"The weights {name_or_path} have another layout than the recipe's [network]; make them agree.")
    network.load_state_dict(start.network.state_dict())


def load_extractor(network: Safa, path: Path) -> None:
    """Load a ResNet-18 (torchvision's names, in safetensors) into the network's feature extractor.

    What lies beyond the extractor's last stage is not used; the 1x1 convolutions that fuse the levels stay as they are.

    Raises:
        SafaError: no such file, or one whose tensors do not fit the stem and the stages.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SafaError(f"The extractor weights {path} are not a readable safetensors file.") from error
    named = {_our_name(name): tensor.float() for name, tensor in tensors.items()}
    state = network.extractor.state_dict()
    wanted = [n for n in state if n.startswith(("stem.", "stages.")) and not n.endswith("num_batches_tracked")]
    wrong = [name for name in wanted if name not in named or named[name].shape != state[name].shape]
    if wrong:
        raise SafaError(
            f"The extractor weights {path} do not fit the network: {wrong[0]} is missing or differs in shape."
        )
    network.extractor.load_state_dict({name: named[name] for name in wanted}, strict=False)


def _our_name(name: str) -> str:
    for pattern, replacement in _RESNET:
        renamed, changed = re.subn(f"^{pattern}", replacement, name)
        if changed:
            # torchvision counts stages from 1.
            return re.sub(r"^stages\.(\d)", lambda match: f"stages.{int(match[1]) - 1}", renamed)
    return name
