"""Estimate of a network's working memory from its settings, in bytes per pixel of the input frames.

Counted are the frames' states, what joins them, one result and everything in between, at the finest scale. What does
not grow with the frame (weights, scratch per thread) is not.
"""

from __future__ import annotations

from safa.network.config import SCALE, SafaConfig

FLOAT = 4
OUTPUT = SCALE * SCALE
"""Output pixels for each input pixel."""


def native_bytes(config: SafaConfig, held: int = 2) -> int:
    """Estimate for the native engine: the sizes of its workspace's slots (``native/layers.h``) and its states.

    Args:
        held: frames in a window.
    """

    def padded(channels: int) -> int:
        return -(-channels // 16) * 16

    paper = config.grid == "paper"
    grid = 4 if paper else 1  # feature pixels for each input pixel
    c, stem = padded(config.channels), padded(config.stem_channels)
    stages = _stages(config)
    levels = [(grid / 4 ** (k + 1), padded(config.stem_channels << k)) for k in range(stages)]
    widest = max([area * width for area, width in levels], default=0)
    encoder = grid * stem + max(4, levels[0][0] * stem if levels else 0) + 3 * widest
    encoder += sum(area * (width + c) for area, width in levels)
    unpacked = 8 * (OUTPUT if paper else 1)
    flow = grid * (32 if paper else 16) + 4 + unpacked
    blocks = 3 * grid * c
    decoder = 0 if config.fusion == "image" else 2 * c + 4 * OUTPUT
    if not config.propagation and config.fusion != "image":
        decoder += 4 * padded(config.channels // 2)
    if config.propagation:
        decoder += 4 * padded(config.enlarger_channels) + (c if config.joined_passes else 0)
    # A window's frames, the flow both ways, what the frames around make of it, features of all and backward states;
    # one forward state and the next.
    window = held * (3 + 10 + 2 * c) + 2 * c + 16 if config.propagation else 0
    frame = 4 * OUTPUT + grid * c + 3
    still = 0 if config.flow_prior == "dis" else sum(scale**2 for scale in config.scales)
    pair = grid * c * (1 + still) + 10
    result = 3 * OUTPUT + 5 * (OUTPUT if paper else 1)
    frames = 2 * frame
    return round(FLOAT * (encoder + flow + blocks + decoder + frames + window + pair + result))


def torch_bytes(config: SafaConfig, held: int = 2) -> int:
    """Rough estimate for PyTorch in float32: its kernels' own buffers differ between versions and devices.

    Args:
        held: frames in a window.
    """
    paper = config.grid == "paper"
    grid = 4 if paper else 1
    c = config.channels
    state = OUTPUT if paper else 1
    frame = 3 * OUTPUT + grid * c + 3
    block = grid * (3 * (3 * c + 7) + 3 * c) + 12 * state  # the input's parts, joined, and reordered for the kernels
    fusion = (4 + 1 + 3 + 3 + 2 + 6) * OUTPUT
    decoder = 0 if config.fusion == "image" else 2 * grid * (2 * c + 1) + 8 * c + (12 + 3 + 3) * OUTPUT
    if config.enlarger_channels:
        decoder += 2 * 4 * config.enlarger_channels
    # A window's frames, the flow both ways, what the frames around make of it, features before and after
    # propagation; only the latter stay.
    window = held * (3 + 10 + 2 * c + 1) if config.propagation else 0
    encoder = 4 * grid * config.stem_channels + 2 * grid * c
    frames = 2 * frame + grid * c
    return round(FLOAT * (frames + window + 6 + max(encoder, block, fusion, 6 * OUTPUT + decoder)))


def _stages(config: SafaConfig) -> int:
    return {"stem": 0, "stage1": 1, "stage2": 2, "stage3": 3, "bottleneck": 2}[config.extractor]
