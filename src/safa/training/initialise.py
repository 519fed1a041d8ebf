"""A network that starts from what a published one knows (`safa.training.basicvsr`).

Both carry features along a window in two passes of residual blocks. A network with 64 channels and ``joined_passes``
can hold the teacher's passes, or some of their blocks: its features begin with the frame's own colours, classical flow
takes the place of the teacher's, and everything that the teacher lacks begins without effect. The result is trained on.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from safa.checkpoint import load_checkpoint
from safa.errors import SafaError
from safa.network.config import SafaConfig
from safa.network.features import IMAGENET_DEVIATION, IMAGENET_MEAN, FeatureExtractor
from safa.network.layers import ResidualBlock
from safa.network.parameters import renamed
from safa.network.propagation import PropagationPass
from safa.network.safa import Safa
from safa.network.synthesis import Decoder
from safa.training.basicvsr import BLOCKS, CHANNELS, SLOPE, BasicVSR, Trunk, is_basicvsr, load_basicvsr

COLOURS = 3
# Blocks of a pass from the least needed on. The first six were found by ``scripts/measure_teacher.py``: leaving one out
# after those before it changes the teacher's pictures of held-out clips least (37.3 dB without all six). The order of
# the others is a rough one, by what leaving each out alone costs.
# fmt: off
LEAST_NEEDED = (
    23, 21, 22, 12, 11, 26, 14, 7, 25, 9, 27, 10, 6, 16, 8,
    13, 24, 19, 20, 15, 18, 5, 2, 0, 17, 29, 1, 28, 3, 4,
)
# fmt: on


def needed_blocks(count: int) -> list[int]:
    """Return the ``count`` blocks of a teacher's pass that it needs most, in their order."""
    if not 1 <= count <= BLOCKS:
        raise SafaError(f"The teacher has {BLOCKS} blocks a pass; {count} of them cannot be kept.")
    return sorted(LEAST_NEEDED[BLOCKS - count :])


@torch.no_grad()
def start_from_teacher(network: Safa, teacher: BasicVSR) -> None:
    """Fill the passes of ``network`` with the teacher's most needed blocks.

    Raises:
        SafaError: the network has another width, or does not join its passes.
    """
    config = network.config
    if network.propagation is None or config.channels != CHANNELS or not config.joined_passes:
        raise SafaError(
            f"A network that starts from the teacher needs channels = {CHANNELS}, propagation and joined_passes."
        )
    _pass_colours_on(network.extractor)
    kept = needed_blocks(config.propagation)
    own = network.propagation
    _fill_pass(own.backward_pass, teacher.backward_trunk, kept)
    _fill_pass(own.forward_pass, teacher.forward_trunk, kept)
    assert own.joint is not None
    own.joint.conv.weight.copy_(teacher.fusion.weight)
    _copy_bias(own.joint.conv, teacher.fusion)
    own.joint.act.weight.fill_(SLOPE)
    pass_on(own.refine)
    if own.decoder.widen is not None and config.enlarger_channels == CHANNELS:
        own.decoder.widen.conv.weight.copy_(teacher.upsample1.weight)
        _copy_bias(own.decoder.widen.conv, teacher.upsample1)
        own.decoder.widen.act.weight.fill_(SLOPE)


def pass_on(block: ResidualBlock) -> None:
    """Make a residual block return what it gets, until it is trained."""
    nn.init.zeros_(block.conv2.weight)
    assert block.conv2.bias is not None
    nn.init.zeros_(block.conv2.bias)
    nn.init.ones_(block.beta)
    nn.init.ones_(block.act.weight)


def _pass_colours_on(extractor: FeatureExtractor) -> None:
    """Make the first three features the frame's own red, green and blue."""
    convolution, norm = extractor.stem[0], extractor.stem[1]
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    middle = convolution.kernel_size[0] // 2
    for fuse in extractor.fuse:
        assert isinstance(fuse, nn.Conv2d)
        assert fuse.bias is not None
        fuse.weight[:COLOURS] = 0
        fuse.bias[:COLOURS] = 0
    for colour in range(COLOURS):
        convolution.weight[colour] = 0
        convolution.weight[colour, colour, middle, middle] = IMAGENET_DEVIATION[colour]
        norm.bias[colour] = IMAGENET_MEAN[colour]
        first = extractor.fuse[0]
        assert isinstance(first, nn.Conv2d)
        first.weight[colour, colour] = 1


def _fill_pass(own: PropagationPass, trunk: Trunk, kept: Sequence[int]) -> None:
    weight = own.join.conv.weight  # c, (features, the backward state in the forward pass, warped state), 3, 3
    weight.zero_()
    weight[:, :COLOURS] = trunk.join.weight[:, :COLOURS]
    weight[:, -CHANNELS:] = trunk.join.weight[:, COLOURS:]
    _copy_bias(own.join.conv, trunk.join)
    own.join.act.weight.fill_(SLOPE)
    for block, number in zip(own.body, kept, strict=True):
        assert isinstance(block, ResidualBlock)
        theirs = trunk.blocks[number]
        for ours, source in ((block.conv1.conv, theirs.conv1), (block.conv2, theirs.conv2)):
            assert isinstance(source, nn.Conv2d)
            ours.weight.copy_(source.weight)
            _copy_bias(ours, source)
        block.conv1.act.weight.fill_(0)  # ReLU
        block.act.weight.fill_(1)  # no activation after the sum
        block.beta.fill_(1)


def _copy_bias(ours: nn.Conv2d, source: nn.Conv2d) -> None:
    assert ours.bias is not None
    assert source.bias is not None
    ours.bias.copy_(source.bias)


# Starting points: new networks, whole networks, and feature extractors from a ResNet-18 (the paper's ablation d).

# torchvision's names of a ResNet and ours.
_RESNET = [
    (r"conv1\.", r"stem.0."),
    (r"bn1\.", r"stem.1."),
    (r"layer(\d)\.(\d)\.conv(\d)\.", r"stages.\1.\2.conv\3."),
    (r"layer(\d)\.(\d)\.bn(\d)\.", r"stages.\1.\2.norm\3."),
    (r"layer(\d)\.(\d)\.downsample\.(\d)\.", r"stages.\1.\2.shortcut.\3."),
]

DEEPENED = ("propagation", "decoder_blocks")
"""Names in ``SafaConfig`` of numbers of residual blocks, of which weights to start from may have fewer."""


def start_anew(network: Safa) -> None:
    """Set what a new network begins its training with, so that signals arrive where the loss is.

    Every residual block passes on what it gets, with a small change of it: with a nonlinearity after each sum, as these
    blocks are made, little would be left after a dozen. The convolutions of a pair network's decoder keep the deviation
    of what they get (He et al., 2015): as layers are made, a seventh of it reaches the last one, which begins at 0,
    and small networks on small batches do not begin to learn within thousands of steps.
    """
    if isinstance(network.decoder, Decoder):
        for name, module in network.decoder.named_modules():
            if isinstance(module, nn.Conv2d) and name != "head":
                nn.init.kaiming_normal_(module.weight, a=0.25)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            nn.init.constant_(module.conv1.act.weight, 0.1)
            nn.init.ones_(module.act.weight)
            nn.init.ones_(module.beta)
            nn.init.zeros_(module.conv2.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                module.conv2.weight *= 0.1


def start_from(network: Safa, name_or_path: str) -> None:
    """Load whole weights into ``network``, or what it can take over from the teacher BasicVSR.

    Their layout must be the same, but ``fixed_scale`` may differ, a selector that they lack begins anew, and the
    network may be deeper (``DEEPENED``): residual blocks that the weights lack begin by passing on what they get, so
    that at first the network gives what the weights gave.

    Raises:
        SafaError: no such weights, or of another layout.
    """
    if is_basicvsr(Path(name_or_path)):
        start_from_teacher(network, load_basicvsr(Path(name_or_path)))
        return
    start = load_checkpoint(name_or_path).network
    differ = [
        f"{field.name} is {theirs!r} instead of {ours!r}"
        for field in dataclasses.fields(SafaConfig)
        if (theirs := getattr(start.config, field.name)) != (ours := getattr(network.config, field.name))
        and field.name != "fixed_scale"
        and not (field.name in DEEPENED and 0 < theirs < ours)
    ]
    if differ:
        raise SafaError(
            f"The weights {name_or_path} have another layout than the recipe's [network] ({', '.join(differ)}); make "
            "them agree."
        )
    state = {name: value for name, value in start.state_dict().items() if not name.startswith("selector.")}
    if start.selector is not None and network.selector is not None:
        state = start.state_dict()
    for name, module in network.named_modules():
        if isinstance(module, ResidualBlock) and f"{name}.beta" not in state:
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(module.conv2.bias)  # type: ignore[arg-type]
            nn.init.ones_(module.beta)
            nn.init.ones_(module.act.weight)
    network.load_state_dict(state, strict=False)


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
    expected = [n for n in state if n.startswith(("stem.", "stages.")) and not n.endswith("num_batches_tracked")]
    wrong = [name for name in expected if name not in named or named[name].shape != state[name].shape]
    if wrong:
        raise SafaError(
            f"The extractor weights {path} do not fit the network: {wrong[0]} is missing or differs in shape."
        )
    network.extractor.load_state_dict({name: named[name] for name in expected}, strict=False)


def _our_name(name: str) -> str:
    ours = renamed(name, _RESNET)
    if ours == name:
        return name
    # torchvision counts stages from 1.
    return re.sub(r"^stages\.(\d)", lambda match: f"stages.{int(match[1]) - 1}", ours)
