"""SAFA as a whole (paper section 3, figure 2): two low-resolution frames in, any number of times out.

``encode`` a pair once, then ``synthesize`` it at any number of times; ``forward`` does both. Frames are RGB
``B,3,h,w`` in [0, 1] with sides that are multiples of ``SafaConfig.multiple`` (``safa.Upscaler`` pads for you);
results are ``B,3,4h,4w`` in [0, 1].

Two grids. "paper": frames are enlarged four times by bicubic interpolation first, features live at half the output
size; it loads the authors' weights. "input": features, flow and hidden state live at the size of the input frames,
about five times cheaper at the same width.

A network with ``propagation`` encodes a window of any number of frames together (``encode_window``), each two of which
are a pair then; ``encode`` is a window of two. What it fuses between the frames of a pair are its own enlarged frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from safa.errors import SafaError
from safa.network.config import SCALE, Region, SafaConfig, Scale
from safa.network.features import FeatureExtractor
from safa.network.flow_block import (
    FLOW_CHANNELS,
    ScaleAdaptiveBlock,
    ScaleSelector,
    block_channels,
    branch_weights,
    chosen_scale,
    sample_straight_through,
)
from safa.network.layers import ConvPReLU
from safa.network.operations import beyond, bicubic_upsample, resize_bilinear, resize_flow, warp, warp_bicubic
from safa.network.prior import classical_flow_pair, flow_from_time
from safa.network.propagation import LARGEST_SEEN, Propagation
from safa.network.synthesis import Decoder, FrameState, LightDecoder, PairState, Synthesis

# What a frame counts less in the blend mask's logit where flow leads out of it, by a pixel or more.
OUTSIDE = 6.0


class Safa(nn.Module):
    """The network. See the module's text for shapes, ``SafaConfig`` for the settings."""

    def __init__(self, config: SafaConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SafaConfig()
        paper = config.grid == "paper"
        c = config.channels
        # Flow is kept one step finer than the features on the paper grid, at the same size on the input grid.
        self._flow_stride = 2 if paper else 1
        self.extractor = FeatureExtractor(c, config.extractor, config.stem_channels, stride=2 if paper else 1)
        self.propagation = None
        if config.propagation:
            self.propagation = Propagation(c, config.propagation, config.joined_passes, config.enlarger_channels)
        self.first_hidden = ConvPReLU(2 * c, c)
        self.blocks = nn.ModuleList(
            ScaleAdaptiveBlock(c, config.scales, config.shared_branches) for _ in range(config.blocks)
        )
        self.selector = ScaleSelector(block_channels(c), c, len(config.scales)) if config.selects else None
        self.flow_head = nn.Sequential(
            nn.Conv2d(c, FLOW_CHANNELS * self._flow_stride**2, 3, padding=1), nn.PixelShuffle(self._flow_stride)
        )
        self.decoder: Decoder | LightDecoder | None = None
        if config.propagation:
            self.decoder = LightDecoder(c, config.decoder_blocks, config.enlarger_channels)
        elif config.fusion != "image":
            self.decoder = Decoder(c, config.decoder_blocks, stride=2 if paper else 1)
        # Training starts from what the priors and bicubic enlargement give, not from noise added to them.
        heads = [self.flow_head[0], *([self.decoder.head] if self.decoder is not None else [])]
        if self.propagation is not None:
            heads.append(self.propagation.decoder.head)
        for head in heads:
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    # Encoding

    def encode_frame(self, frame: Tensor) -> FrameState:
        """Compute everything about one frame ``B,3,h,w`` that does not depend on its neighbour or on time."""
        self._check(frame)
        return self.encode_enlarged(bicubic_upsample(frame), frame)

    def encode_enlarged(self, enlarged: Tensor, frame: Tensor | None = None) -> FrameState:
        """Encode a frame that is already enlarged, ``B,3,4h,4w``; the input grid needs ``frame`` too."""
        source = enlarged if self.config.grid == "paper" else frame
        if source is None:
            raise SafaError("The input grid needs the low-resolution frame as well as the enlarged one.")
        return FrameState(enlarged, self.extractor(source))

    def encode_window(self, frames: Sequence[Tensor], flows: Sequence[tuple[Tensor, Tensor]]) -> list[FrameState]:
        """Encode consecutive frames ``B,3,h,w`` together; for networks with ``propagation``.

        Args:
            flows: N - 1 times the classical flow from a frame to the next and from the next back to it, ``B,2,h,w``
                each, in pixels.

        Raises:
            SafaError: the network has no propagation.
        """
        return [self.finish_frame(frame, own) for frame, own in zip(frames, self.carry(frames, flows), strict=True)]

    def carry(self, frames: Sequence[Tensor], flows: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Return the features ``B,c,h,w`` of all frames of a window; arguments and errors as ``encode_window``."""
        if self.propagation is None:
            raise SafaError("This network looks at two frames only; take weights with propagation.")
        for frame in frames:
            self._check(frame)
        return self.propagation([self.extractor(frame) for frame in frames], flows)

    def finish_frame(self, frame: Tensor, features: Tensor) -> FrameState:
        """A frame ``B,3,h,w`` of a window with the features that propagation gave it, and its enlargement."""
        assert self.propagation is not None
        return FrameState(bicubic_upsample(frame) + self.propagation.decoder(features).float(), features)

    def encode_pair(self, frame0: FrameState, frame1: FrameState, prior: tuple[Tensor, ...] | None = None) -> PairState:
        """Join two encoded frames.

        ``prior``: classical flow 0->1 and 1->0, needed when ``flow_prior`` is "dis", and its acceleration where known.
        """
        if self.config.flow_prior == "dis" and prior is None:
            raise SafaError("This network starts from a classical flow: give encode_pair its prior.")
        hidden = self.first_hidden(torch.cat((frame0.features, frame1.features), dim=1))
        return PairState(frame0, frame1, hidden, prior if self.config.flow_prior == "dis" else None)

    def encode(self, frame0: Tensor, frame1: Tensor, prior: tuple[Tensor, Tensor] | None = None) -> PairState:
        """Encode a pair of frames ``B,3,h,w``; the classical flow is computed here when needed and not given."""
        if frame0.shape != frame1.shape:
            raise SafaError(f"The two frames differ in size: {tuple(frame0.shape)} and {tuple(frame1.shape)}.")
        if self.config.needs_flow and prior is None:
            prior = classical_flow_pair(frame0, frame1)
        if self.propagation is not None:
            assert prior is not None
            first, second = self.encode_window((frame0, frame1), [prior])
        else:
            first, second = self.encode_frame(frame0), self.encode_frame(frame1)
        return self.encode_pair(first, second, prior)

    # Synthesis

    def synthesize(
        self, pair: PairState, t: float | Tensor, scale: Scale = None, region: Region | None = None
    ) -> Synthesis:
        """Synthesise the frame at time ``t``.

        Args:
            pair: from ``encode`` or ``encode_pair``.
            t: one for all samples or ``B``; outside [0, 1] the result means nothing.
            scale: indices of ``SafaConfig.scales`` to use instead of the selector's choice, see ``Scale``.
            region: what of the frame the selector looks at: a tile is told apart from the margin around it.
        """
        feature0, feature1 = pair.frame0.features, pair.frame1.features
        batch = feature0.shape[0]
        t = torch.as_tensor(t, dtype=torch.float32, device=feature0.device).reshape(-1).expand(batch)
        flow = self.initial_flow(pair.hidden, t, pair.prior)
        hidden = pair.hidden
        scales, logits = [], []
        forced = self.config.forced_scales(scale)
        choices = len(self.config.scales) - 1 if None in forced else 0
        for block, index in zip(self.blocks, forced, strict=True):
            x = self.block_input(hidden, feature0, feature1, flow, t)
            hidden, chosen, logit = self._run_block(block, x, index, choices, region)
            scales.append(chosen)
            logits.append(logit)
            flow = flow + self.flow_head(hidden).float()
        image, fused, mask = self.compose(pair.frame0, pair.frame1, flow, t, hidden)
        return Synthesis(
            image,
            fused if self.config.fusion != "feature" else None,
            flow[:, :4],
            mask,
            torch.stack(scales, dim=1),
            torch.stack(logits, dim=1),
        )

    def forward(self, frame0: Tensor, frame1: Tensor, times: Sequence[float | Tensor], scale: Scale = None) -> Tensor:
        """``B,T,3,4h,4w``: the frames at ``times``, each a number in [0, 1] or one per sample, ``B``.

        Raises:
            SafaError: there are no times, one is outside [0, 1], or the frames have another shape or type.
        """
        if not len(times) or not all(0 <= float(t) <= 1 for one in times for t in torch.as_tensor(one).reshape(-1)):
            raise SafaError("The times must be at least one, each in [0, 1].")
        pair = self.encode(frame0, frame1)
        return torch.stack([self.synthesize(pair, t, scale).image for t in times], dim=1)

    # Steps of the above

    def initial_flow(self, hidden: Tensor, t: Tensor, prior: tuple[Tensor, ...] | None) -> Tensor:
        """The flow state ``B,6,Hs,Ws`` before the first block, at times ``t`` ``B``; ``hidden`` gives its size."""
        batch, _, height, width = hidden.shape
        sides = (height * self._flow_stride, width * self._flow_stride)
        if prior is not None:
            factor = SCALE if self.config.grid == "paper" else 1
            forward, backward, *acceleration = prior
            ways = flow_from_time(forward, backward, t, *acceleration)
            flows = torch.cat([resize_flow(flow.float(), factor) for flow in ways], dim=1)
        else:
            flows = torch.zeros(batch, 4, *sides, device=hidden.device)
        logit = torch.log((1 - t + 0.02) / (t + 0.02)) if self.config.blend_prior else torch.zeros_like(t)
        logit = logit.view(-1, 1, 1, 1).expand(-1, 1, *sides)
        if prior is not None and self.config.blend_prior:
            logit = logit + OUTSIDE * (beyond(flows[:, 2:4]) - beyond(flows[:, 0:2]))
        return torch.cat((flows, logit, torch.zeros_like(logit)), dim=1)

    def block_input(self, hidden: Tensor, feature0: Tensor, feature1: Tensor, flow: Tensor, t: Tensor) -> Tensor:
        """Input ``B,3c+7,Hf,Wf`` of the selector and of every block."""
        coarse, warped0, warped1 = self._warp_features(feature0, feature1, flow)
        if self.propagation is not None:
            coarse = torch.cat((coarse[:, :4].clamp(-LARGEST_SEEN, LARGEST_SEEN), coarse[:, 4:]), dim=1)
        return torch.cat((hidden, coarse.to(hidden.dtype), warped0, warped1, _map_of(t, hidden)), dim=1)

    def compose(
        self, frame0: FrameState, frame1: FrameState, flow: Tensor, t: Tensor, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the image at times ``t`` ``B`` from the last flow state, the image fusion alone, and the mask.

        ``hidden``: the last hidden state; a network with propagation needs it, no other looks at it.
        """
        fused, mask = self._fuse_images(frame0, frame1, flow)
        if self.decoder is None:
            image = fused
        else:
            _, warped0, warped1 = self._warp_features(frame0.features, frame1.features, flow)
            seen = [_map_of(t, warped0), warped0, warped1]
            if self.propagation is not None:
                assert hidden is not None
                seen.append(hidden)
            image = self.decoder(torch.cat(seen, dim=1)).float()
            if self.config.fusion == "both":
                image = image + fused
        if self.propagation is not None:  # an input frame has a picture of its own
            at = t.view(-1, 1, 1, 1)
            image = torch.where(at == 0, frame0.enlarged, torch.where(at == 1, frame1.enlarged, image))
        return image if self.training else image.clamp(0, 1), fused, mask

    def _check(self, frame: Tensor) -> None:
        multiple = self.config.multiple
        if not frame.is_floating_point():
            raise SafaError(f"A frame has numbers of type {frame.dtype}; it must be floating point in [0, 1].")
        if frame.ndim != 4 or frame.shape[1] != 3 or frame.shape[2] % multiple or frame.shape[3] % multiple:
            raise SafaError(
                f"A frame has shape {tuple(frame.shape)}; it must be batch,3,height,width with sides that are "
                f"multiples of {multiple} (safa.Upscaler takes any size)."
            )

    def _warp_features(self, feature0: Tensor, feature1: Tensor, flow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Flow state at the feature grid (values not rescaled) and both feature maps warped by it."""
        coarse = resize_bilinear(flow, 1 / self._flow_stride)
        step = coarse / self._flow_stride
        return coarse, warp(feature0, step[:, 0:2]), warp(feature1, step[:, 2:4])

    def _run_block(
        self, block: nn.Module, x: Tensor, scale: int | None, choices: int, region: Region | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Next hidden state, scale used ``B`` and the selector's logits ``B,choices``."""
        assert isinstance(block, ScaleAdaptiveBlock)
        batch = x.shape[0]
        if scale is not None:
            index = torch.full((batch,), scale, dtype=torch.long, device=x.device)
            return block.at_scale(x, scale), index, x.new_full((batch, choices), math.nan, dtype=torch.float32)
        assert self.selector is not None
        seen = x
        if region is not None:
            finer = 2 if self.config.grid == "paper" else 1
            top, left, bottom, right = (finer * edge for edge in region)
            seen = x[:, :, top:bottom, left:right]
        logit = self.selector(seen)
        if self.training:
            weights = branch_weights(sample_straight_through(torch.sigmoid(logit)))
            return block.mixed(x, weights), weights.argmax(dim=1), logit
        choice = chosen_scale(logit)
        return block.routed(x, choice), choice, logit

    def _fuse_images(self, frame0: FrameState, frame1: FrameState, flow: Tensor) -> tuple[Tensor, Tensor]:
        mask = torch.sigmoid(flow[:, 4:5])
        factor = 1 if self.config.grid == "paper" else SCALE
        full_flow = resize_flow(flow[:, :4], factor)
        share = resize_bilinear(mask, factor)
        # Frames enlarged by interpolation are soft; those that the network enlarged have detail to lose.
        fetch = warp if self.propagation is None else warp_bicubic
        warped0 = fetch(frame0.enlarged, full_flow[:, 0:2])
        warped1 = fetch(frame1.enlarged, full_flow[:, 2:4])
        return share * warped0 + (1 - share) * warped1, mask


def _map_of(t: Tensor, like: Tensor) -> Tensor:
    """Times ``B`` as a constant channel ``B,1,H,W`` of the size and type of ``like`` ``B,C,H,W``."""
    return t.to(like.dtype).view(-1, 1, 1, 1).expand(-1, 1, *like.shape[2:])
