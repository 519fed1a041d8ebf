"""Feature extraction (paper section 3.2, ablation a): a ResNet stem and its first stages, fused at one size.

Input: RGB ``B,3,H,W`` in [0, 1]. Output: ``B,channels,H/stride,W/stride`` where ``stride`` is the stem's.
Batch normalisation always uses its running statistics, in training too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from safa.network.config import Extractor
from safa.network.operations import resize_bilinear

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that never looks at the batch: running statistics, learned scale and shift."""

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        super().train(False)
        return self


class BasicBlock(nn.Module):
    """ResNet-18's block: two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.norm1 = FrozenBatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = FrozenBatchNorm(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return torch.relu(y + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """ResNet-50's block (1x1, 3x3, 1x1 at a quarter of the width); the paper finds it worse (ablation a5)."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        inner = channels // 4
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.norm1 = FrozenBatchNorm(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.norm2 = FrozenBatchNorm(inner)
        self.conv3 = nn.Conv2d(inner, channels, 1, bias=False)
        self.norm3 = FrozenBatchNorm(channels)
        self.shortcut = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)))
        return torch.relu(self.norm3(self.conv3(y)) + self.shortcut(x))


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Module:
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), FrozenBatchNorm(channels))


class FeatureExtractor(nn.Module):
    """Stem, then as many ResNet stages as ``extractor`` says; each level is brought to ``channels`` and summed.

    Args:
        channels: width of the fused features.
        extractor: the paper's axis a.
        stem_channels: width of the stem and the first stage; each later stage doubles it (64 in ResNet-18).
        stride: of the stem: 2 on enlarged frames ("paper" grid), 1 on low-resolution frames ("input" grid).
    """

    def __init__(self, channels: int, extractor: Extractor, stem_channels: int, stride: int) -> None:
        super().__init__()
        self.normalize = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            deviation = torch.tensor(IMAGENET_DEVIATION)
            self.normalize.weight.copy_(torch.diag(1 / deviation).view(3, 3, 1, 1))
            self.normalize.bias.copy_(-torch.tensor(IMAGENET_MEAN) / deviation)  # type: ignore[union-attr]
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem_channels, 7, stride, 3, bias=False), FrozenBatchNorm(stem_channels), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.stages = nn.ModuleList()
        self.fuse = nn.ModuleList([nn.Conv2d(stem_channels, channels, 1)])
        stages = {"stem": 0, "stage1": 1, "stage2": 2, "stage3": 3, "bottleneck": 2}[extractor]
        block = BottleneckBlock if extractor == "bottleneck" else BasicBlock
        width = stem_channels
        for stage in range(stages):
            wider = stem_channels * 2**stage
            self.stages.append(nn.Sequential(block(width, wider, 1 if stage == 0 else 2), block(wider, wider)))
            self.fuse.append(nn.Conv2d(wider, channels, 1))
            width = wider

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(self.normalize(image))
        fused = self.fuse[0](x)
        for level, stage in enumerate(self.stages, start=1):
            x = stage(self.pool(x) if level == 1 else x)
            fused = fused + resize_bilinear(self.fuse[level](x), 2.0**level)
        return fused
