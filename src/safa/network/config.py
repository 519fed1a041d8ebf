"""Settings of a network's layout and behaviour."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from safa.errors import SafaError

SCALE = 4
# Far beyond any use; a damaged or hostile file must not ask for more.
MOST_CHANNELS, MOST_BLOCKS = 4096, 1000
"""Spatial enlargement of SAFA: an output frame is four times as wide and high as an input frame."""

Extractor = Literal["stem", "stage1", "stage2", "stage3", "bottleneck"]
Grid = Literal["paper", "input"]
Fusion = Literal["both", "image", "feature"]
FlowPrior = Literal["none", "dis"]

Scale = int | Sequence[int | None] | None
"""Scales that are forced on the selector: an index of ``SafaConfig.scales`` for every block, or one for each block
where None leaves the block to the selector; None leaves it all of them.
"""

Region = tuple[int, int, int, int]
"""Top, left, bottom and right of a part of an input frame in pixels, bottom and right excluded; all even."""


@dataclass(frozen=True)
class SafaConfig:
    """Everything that decides the network's layout and behaviour; stored inside every checkpoint.

    Attributes:
        grid: where features and flow live (see `safa.network.safa`).
        channels: c, an even number; the compute dial (paper: 80).
        blocks: number of flow iterations (ablation c; paper: 6).
        extractor: depth and kind of the feature extractor (ablation a; paper: "stage2").
        stem_channels: width of the extractor's stem (64 in ResNet-18).
        fusion: image fusion, feature fusion or both (ablation b; paper: "both").
        scales: resolutions a block may work at, finest first, each 1 or a power of 1/2 (ablation c).
        fixed_scale: index into ``scales`` used by every block instead of the selector's choice (ablation c).
        shared_branches: one set of weights for all scales of a block (ablation c; paper: True).
        decoder_blocks: residual blocks of the decoder (paper: 12).
        blend_prior: start the blend mask at the time's own weighting instead of one half, and with a classical flow in
            favour of the frame that a place is in, where that leads out of the other one.
        flow_prior: "dis" starts the flow from a classical estimate instead of zero.
        propagation: residual blocks in each of the two passes that carry features along a window of frames; 0 for a
            network that looks at the two frames of a pair alone, as the paper's does.
        joined_passes: make a frame's features from the states of both passes; otherwise from the forward pass's alone,
            which has seen the backward pass's.
        enlarger_channels: width, at twice the input size, of what enlarges an input frame's features and those at t in
            two steps; 0 to do it in one.
    """

    grid: Grid = "paper"
    channels: int = 80
    blocks: int = 6
    extractor: Extractor = "stage2"
    stem_channels: int = 64
    fusion: Fusion = "both"
    scales: tuple[float, ...] = (1.0, 0.5, 0.25)
    fixed_scale: int | None = None
    shared_branches: bool = True
    decoder_blocks: int = 12
    blend_prior: bool = False
    flow_prior: FlowPrior = "none"
    propagation: int = 0
    joined_passes: bool = False
    enlarger_channels: int = 0

    def __post_init__(self) -> None:
        for name in ("shared_branches", "blend_prior", "joined_passes"):
            if not isinstance(getattr(self, name), bool):
                raise SafaError(f"{name} is {getattr(self, name)!r}; it must be true or false.")
        for name, choices in (("grid", Grid), ("extractor", Extractor), ("fusion", Fusion), ("flow_prior", FlowPrior)):
            value = getattr(self, name)
            if value not in get_args(choices):
                raise SafaError(f"{name} is {value!r}; it must be one of {', '.join(get_args(choices))}.")
        for name in ("channels", "stem_channels"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 2 <= value <= MOST_CHANNELS or value % 2:
                raise SafaError(f"{name} is {value!r}; it must be an even number from 2 to {MOST_CHANNELS}.")
        if self.extractor == "bottleneck" and self.stem_channels < 4:
            raise SafaError(f"stem_channels is {self.stem_channels}; with bottleneck blocks it must be at least 4.")
        for name, least in (("blocks", 1), ("decoder_blocks", 0), ("propagation", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= MOST_BLOCKS:
                raise SafaError(f"{name} is {value!r}; it must be a whole number from {least} to {MOST_BLOCKS}.")
        if not isinstance(self.enlarger_channels, int) or not 0 <= self.enlarger_channels <= MOST_CHANNELS:
            raise SafaError(
                f"enlarger_channels is {self.enlarger_channels!r}; it must be a whole number from 0 to {MOST_CHANNELS}."
            )
        if (self.joined_passes or self.enlarger_channels) and not self.propagation:
            raise SafaError("joined_passes and enlarger_channels are for networks with propagation.")
        if not isinstance(self.scales, list | tuple) or not self.scales:
            raise SafaError(f"scales is {self.scales!r}; it must be a list of numbers.")
        if any(scale not in (1.0, 0.5, 0.25, 0.125) for scale in self.scales):
            raise SafaError(f"scales is {self.scales!r}; each must be 1, 0.5, 0.25 or 0.125.")
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        if list(self.scales) != sorted(set(self.scales), reverse=True):
            raise SafaError(f"scales is {self.scales!r}; they must go from fine to coarse without repeats.")
        is_index = isinstance(self.fixed_scale, int) and self.fixed_scale in range(len(self.scales))
        if self.fixed_scale is not None and not is_index:
            raise SafaError(f"fixed_scale is {self.fixed_scale!r}; it must be an index into scales {self.scales!r}.")
        if self.propagation and (self.grid, self.flow_prior, self.fusion) != ("input", "dis", "both"):
            raise SafaError('A network with propagation must have grid "input", flow_prior "dis" and fusion "both".')

    @property
    def multiple(self) -> int:
        """Sides of an input frame must be multiples of this many pixels."""
        return 8  # paper grid: 32 output pixels as in the authors' release; input grid: stage 3 at 1/8, scale 1/8

    @property
    def needs_flow(self) -> bool:
        """Return whether the network uses a classical flow."""
        return self.flow_prior == "dis"

    @property
    def selects(self) -> bool:
        """Return whether a selector chooses the scale."""
        return self.fixed_scale is None and len(self.scales) > 1

    def forced_scales(self, scale: Scale) -> tuple[int | None, ...]:
        """``scale`` block by block: an index of ``scales``, None where the selector decides.

        Raises:
            SafaError: no such index, or not as many as there are blocks.
        """
        forced = tuple(scale) if isinstance(scale, Sequence) else (scale,) * self.blocks
        if len(forced) != self.blocks:
            raise SafaError(f"There are {len(forced)} scales for {self.blocks} blocks; give one for each block.")
        for index in forced:
            if index is not None and index not in range(len(self.scales)):
                raise SafaError(f"The scale is {index}; it must be an index into {self.scales}.")
        return forced if self.selects else tuple((self.fixed_scale or 0) if k is None else k for k in forced)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SafaConfig:
        """Invert ``to_dict``; an unknown name is an error, a missing one takes its default.

        Raises:
            SafaError: a name or a value is none that a network has.
        """
        if not isinstance(values, dict):
            raise SafaError(f"The network settings are {values!r}; they must be names with values.")
        values = dict(values)
        if values.pop("neighbours", False):  # files written while the setting was there say so even where it was off
            raise SafaError("The network looks at neighbouring frames in a way that is no longer supported.")
        unknown = sorted(set(values) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise SafaError(f"The network settings have unknown names: {', '.join(unknown)}.")
        return cls(**values)
