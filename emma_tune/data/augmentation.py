"""Training augmentation: whole batches at once, on the device where the images lie."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Augments a batch.

    Args:
        images: (B, C, H, W) uint8.
        kind: one of `emma_tune.config.AUGMENTATIONS`: `none`; `shift`: zero padding by an eighth of the
            side, then a random crop of the old size (RandomCrop(32, padding=4) at 32 pixels);
            `shift_flip`: the same, then half of the images mirrored.
        generator: the source of chance, on the CPU, so that every device draws the same.

    Returns:
        (B, C, H, W) uint8.
    """
    if kind == "none":
        return images
    images = _shift(images, max(1, images.shape[-1] // 8), generator)
    return _flip(images, generator) if kind == "shift_flip" else images


def _shift(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    B, C, H, W = images.shape
    top, left = torch.randint(0, 2 * padding + 1, (2, B, 1), generator=generator).to(images.device)
    rows = top + torch.arange(H, device=images.device)  # (B, H)
    columns = left + torch.arange(W, device=images.device)  # (B, W)
    padded = F.pad(images, (padding,) * 4)
    batch = torch.arange(B, device=images.device)[:, None, None, None]
    channel = torch.arange(C, device=images.device)[None, :, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _flip(images: Tensor, generator: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)
