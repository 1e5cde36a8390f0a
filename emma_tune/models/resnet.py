"""Residual networks for small images: a 3×3 stem without pooling, then stages of blocks.

ResNet in its CIFAR form (He et al. 2016), and wide residual networks, with norm and ReLU before each convolution
(Zagoruyko & Komodakis 2016).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

WIDENS = 4
"""How much wider a bottleneck block is outside than inside."""


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: `relu(f(x) + shortcut(x))`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut = _shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (B, channels_in, H, W)."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """A 1×1, a 3×3 and a 1×1 convolution, narrow between them, and a shortcut: `relu(f(x) + shortcut(x))`."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        width = channels_out // WIDENS
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(channels_out)
        self.shortcut = _shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (B, channels_in, H, W)."""
        out = F.relu(self.norm1(self.conv1(x)))
        out = F.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
        return F.relu(out + self.shortcut(x))


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Return the identity where shapes agree, else a 1×1 convolution and a norm."""
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


class WideBlock(nn.Module):
    """Two 3×3 convolutions after norm and ReLU; the shortcut starts before them, or after the first ReLU."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to (B, channels_in, H, W)."""
        activated = F.relu(self.norm1(x))
        passed = x if self.shortcut is None else self.shortcut(activated)
        out: Tensor = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        return out + passed


def _stages(
    block: Callable[[int, int, int], nn.Module], channels_in: int, width: int, depths: tuple[int, ...]
) -> nn.Sequential:
    """Build stages of some blocks each; from one to the next the width doubles and the image halves."""
    blocks = []
    for stage, depth in enumerate(depths):
        for number in range(depth):
            stride = 2 if stage > 0 and number == 0 else 1
            blocks.append(block(channels_in, width * 2**stage, stride))
            channels_in = width * 2**stage
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, classes).

    Args:
        channels: of the images.
        classes: their number.
        width: channels after the stem.
        blocks: how many in each stage.
        bottleneck: whether they are bottleneck blocks, four times as wide outside.
    """

    def __init__(
        self, *, channels: int, classes: int, width: int, blocks: tuple[int, ...], bottleneck: bool = False
    ) -> None:
        super().__init__()
        block, outside = (BottleneckBlock, WIDENS * width) if bottleneck else (BasicBlock, width)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stages = _stages(block, width, outside, blocks)
        self.head = nn.Linear(outside * 2 ** (len(blocks) - 1), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, classes)."""
        features: Tensor = self.stages(self.stem(images)).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


class WideResNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, classes), in three stages.

    Args:
        channels: channels of the images.
        classes: number of classes.
        depth: layers, 6n + 4.
        widen: factor k on the widths 16, 32, 64.
    """

    def __init__(self, *, channels: int, classes: int, depth: int, widen: int) -> None:
        super().__init__()
        assert depth % 6 == 4, "a wide residual network has 6n + 4 layers"
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.stages = _stages(WideBlock, 16, 16 * widen, (depth // 6,) * 3)
        self.norm = nn.BatchNorm2d(64 * widen)
        self.head = nn.Linear(64 * widen, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, classes)."""
        features = F.relu(self.norm(self.stages(self.stem(images)))).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


resnet8 = partial(ResNet, width=16, blocks=(1, 1, 1))  # 78 thousand weights, for images of a few pixels
resnet10 = partial(ResNet, width=64, blocks=(1, 1, 1, 1))
resnet18 = partial(ResNet, width=64, blocks=(2, 2, 2, 2))
resnet34 = partial(ResNet, width=64, blocks=(3, 4, 6, 3))  # the network of the paper's CIFAR runs
resnet50_3x3 = partial(ResNet, width=64, blocks=(3, 4, 6, 3), bottleneck=True)  # the paper's surrogate for CUB
wrn40_2 = partial(WideResNet, depth=40, widen=2)  # 2.2 million weights; in the publications of other defenses
