"""Wide residual networks for small images (Zagoruyko & Komodakis 2016): norm and ReLU before each convolution."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


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


class WideResNet(nn.Module):
    """Images (B, channels, H, W) to logits (B, classes), in three stages; the image is halved twice.

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
        blocks: list[nn.Module] = []
        channels_in = 16
        for stage in range(3):
            channels_out = 16 * widen * 2**stage
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(WideBlock(channels_in, channels_out, stride))
                channels_in = channels_out
        self.stages = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels_in)
        self.head = nn.Linear(channels_in, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (B, classes)."""
        features = F.relu(self.norm(self.stages(self.stem(images)))).mean(dim=(2, 3))
        logits: Tensor = self.head(features)
        return logits


def wrn40_2(*, channels: int, classes: int) -> WideResNet:
    """Build WRN-40-2: 2.2 million weights, the network in the publications of other defenses."""
    return WideResNet(channels=channels, classes=classes, depth=40, widen=2)
