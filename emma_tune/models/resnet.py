"""The CIFAR form of ResNet: a 3×3 stem without pooling, then stages of basic blocks (He et al. 2016)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: `relu(f(x) + shortcut(x))`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (B, channels_in, H, W)."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, classes); in each stage the width doubles and the image halves.

    Args:
        channels: channels of the images.
        classes: number of classes.
        width: channels after the stem.
        blocks: basic blocks in each stage.
    """

    def __init__(self, *, channels: int, classes: int, width: int, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        stages: list[nn.Module] = []
        channels_in = width
        for stage, depth in enumerate(blocks):
            channels_out = width * 2**stage
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(channels_in, channels_out, stride))
                channels_in = channels_out
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels_in, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, classes)."""
        features: Tensor = self.stages(self.stem(images)).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


def resnet8(*, channels: int, classes: int) -> ResNet:
    """Build three stages of one block, width 16: 78 thousand weights, for images of a few pixels."""
    return ResNet(channels=channels, classes=classes, width=16, blocks=(1, 1, 1))


def resnet10(*, channels: int, classes: int) -> ResNet:
    """Build four stages of one block, width 64."""
    return ResNet(channels=channels, classes=classes, width=64, blocks=(1, 1, 1, 1))


def resnet18(*, channels: int, classes: int) -> ResNet:
    """Build four stages of two blocks, width 64."""
    return ResNet(channels=channels, classes=classes, width=64, blocks=(2, 2, 2, 2))


def resnet34(*, channels: int, classes: int) -> ResNet:
    """Build four stages of three, four, six and three blocks, width 64: the network of the paper's CIFAR runs."""
    return ResNet(channels=channels, classes=classes, width=64, blocks=(3, 4, 6, 3))
