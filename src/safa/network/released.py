"""The authors' weights: the only place that knows the names in their release."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from safa.errors import SafaError, needs_pytorch
from safa.network.config import SafaConfig
from safa.network.parameters import fill, persistent, renamed

if TYPE_CHECKING:
    from safa.network.safa import Safa


def import_released(pickle_path: str | Path) -> Safa:
    """Read the authors' ``flownet.pkl`` (a pickled state dict, keys with or without ``module.``).

    The width, the number of blocks and the depth of the decoder are read off the tensors.

    Raises:
        SafaError: not such a file, or keys missing or left over (all are named).
    """
    path = Path(pickle_path)
    if not path.is_file():
        raise SafaError(f"There is no file {path}.")
    with needs_pytorch("Reading the authors' file"):
        import torch

        from safa.network.safa import Safa
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is not a safe pickle
        raise SafaError(f"{path} cannot be read as a pickled state dict of plain tensors.") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SafaError(f"{path} is not a state dict: it must map names to tensors.")
    released = {str(name).removeprefix("module."): tensor.float().numpy() for name, tensor in state.items()}
    released = {name: tensor for name, tensor in released.items() if not name.endswith("num_batches_tracked")}
    try:
        channels = released["block.convimg.out0.weight"].shape[0]
        blocks = 1 + max(int(m[1]) for name in released if (m := re.match(r"block\.convblock\.(\d+)\.", name)))
        decoder_blocks = sum(1 for name in released if re.fullmatch(r"lastconv\.\d+\.beta", name))
    except (KeyError, ValueError) as error:
        raise SafaError(
            f"{path} does not hold the authors' SAFA network (no block.convimg, block.convblock)."
        ) from error
    network = Safa(SafaConfig(grid="paper", channels=channels, blocks=blocks, decoder_blocks=decoder_blocks))
    names = {released_name(name, decoder_blocks): name for name in persistent(network)}
    tensors = {names.get(name, f"released:{name}"): tensor for name, tensor in released.items()}
    fill(network, tensors, str(path))
    network.eval()
    return network


# The authors' key of each of our parts; patterns are tried in this order.
_RELEASED = [
    (r"extractor\.normalize\.", r"block.convimg.normalize."),
    (r"extractor\.stem\.", r"block.convimg.cnn0."),
    (r"extractor\.stages\.0\.(\d)\.", r"block.convimg.cnn1.1.\1."),
    (r"extractor\.stages\.1\.(\d)\.", r"block.convimg.cnn2.0.\1."),
    (r"extractor\.fuse\.(\d)\.", r"block.convimg.out\1."),
    (r"first_hidden\.", r"block.shuffle."),
    (r"selector\.squeeze\.", r"block.getscale.0."),
    (r"selector\.look\.", r"block.getscale.1."),
    (r"selector\.decide\.", r"block.getscale.4."),
    (r"flow_head\.0\.", r"block.convflow.0."),
    (r"blocks\.(\d+)\.branches\.0\.stem\.", r"block.convblock.\1.conv_stem."),
    (r"blocks\.(\d+)\.branches\.0\.body\.", r"block.convblock.\1.conv_backbone."),
    (r"decoder\.stem\.", r"lastconv.0."),
]


def released_name(name: str, decoder_blocks: int) -> str:
    """Return the authors' key (without ``module.``) of one of our parameters."""
    result = renamed(name, _RELEASED)
    if match := re.match(r"decoder\.body\.(\d+)\.", name):
        result = f"lastconv.{int(match[1]) + 1}.{name[match.end() :]}"
    result = result.replace("decoder.widen.", f"lastconv.{decoder_blocks + 1}.")
    result = result.replace("decoder.head.", f"lastconv.{decoder_blocks + 3}.")
    if name.startswith("extractor.stages."):
        return result.replace(".norm", ".bn").replace(".shortcut.", ".downsample.")
    residual = re.search(r"(conv_backbone|lastconv)\.\d+\.(conv1|conv2|act)\.", result)
    if residual and (".body." in name):
        result = result.replace(".conv1.conv.", ".conv.0.").replace(".conv1.act.", ".conv.1.")
        return result.replace(".conv2.", ".conv.2.").replace(".act.", ".prelu.")
    if ".beta" in name or name.startswith(("extractor.", "flow_head.", "decoder.head.", "selector.decide.")):
        return result
    return result.replace(".conv.", ".0.").replace(".act.", ".1.")
