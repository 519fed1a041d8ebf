"""A network that starts from what a published one knows (`safa.training.basicvsr`).

Both carry features along a window in two passes of residual blocks. A network with 64 channels and ``joined_passes``
can hold the teacher's passes, or some of their blocks: its features begin with the frame's own colours, classical flow
takes the place of the teacher's, and everything that the teacher lacks begins without effect. The result is trained on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from safa.errors import SafaError
from safa.network.features import IMAGENET_DEVIATION, IMAGENET_MEAN, FeatureExtractor
from safa.network.layers import ResidualBlock
from safa.network.propagation import PropagationPass
from safa.network.safa import Safa
from safa.training.basicvsr import BLOCKS, CHANNELS, SLOPE, BasicVSR, Trunk

COLOURS = 3
# Blocks of a pass from the least needed on: how little the teacher's pictures of held-out clips change when a block is
# left out after those before it (``scripts/measure_teacher.py``).
LEAST_NEEDED = (
    23,
    21,
    14,
    7,
    25,
    9,
    12,
    27,
    10,
    6,
    16,
    8,
    26,
    13,
    24,
    22,
    19,
    11,
    20,
    15,
    18,
    5,
    2,
    0,
    17,
    29,
    1,
    28,
    3,
    4,
)


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
