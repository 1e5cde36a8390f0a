"""Training augmentation of whole batches, on the device of the images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from emma_tune.data.randaugment import rand_augment


def augment(
    images: Tensor, kind: str, generator: torch.Generator, *, size: tuple[int, int], smallest_crop: float = 0.08
) -> Tensor:
    """Augment a batch.

    Args:
        images: (B, C, H, W) uint8, as they are kept.
        kind: one of `emma_tune.study.AUGMENTATIONS`: `none`: center crop; `shift`: center crop with zero padding
            by an eighth of the side, then a random crop of its size (RandomCrop(32, padding=4) at 32 pixels);
            `shift_flip`: the same, then half of the images mirrored; `crop_flip`: RandomResizedCrop of the whole,
            then mirrored; `randaugment`: the same, then `rand_augment`.
        generator: on the CPU, so that every device draws the same.
        size: height h and width w that a network sees.
        smallest_crop: of `crop_flip` and `randaugment`: smallest share of the area that is kept, in (0, 1].

    Returns:
        (B, C, h, w) uint8.
    """
    if kind in ("crop_flip", "randaugment"):
        cropped = _flip(resized_crop(images, size, smallest_crop, generator), generator)
        return rand_augment(cropped, generator) if kind == "randaugment" else cropped
    images = center_crop(images, size)
    if kind == "none":
        return images
    images = _shift(images, max(1, images.shape[-1] // 8), generator)
    return _flip(images, generator) if kind == "shift_flip" else images


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the center of images (B, C, H, W), of `size` (h, w), as torchvision's CenterCrop."""
    top, left = (round((have - want) / 2) for have, want in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def resized_crop(images: Tensor, size: tuple[int, int], smallest: float, generator: torch.Generator) -> Tensor:
    """Crop random boxes of `smallest` to all of the area, 3:4 to 4:3, and resize them (Szegedy et al. 2015).

    Bilinear without antialiasing: a crop is enlarged, or reduced by an eighth at most.

    Args:
        images: (B, C, H, W) uint8.
        size: height and width of the result.
        smallest: share of the area, in (0, 1].
        generator: on the CPU.
    """
    H, W = images.shape[-2:]
    boxes = random_boxes(len(images), H, W, smallest, generator).to(images.device)
    top, left, height, width = (side[:, None].float() for side in boxes)
    rows = top + _positions(size[0], height)  # (B, h)
    columns = left + _positions(size[1], width)  # (B, w)
    y, x = (rows + 0.5) * (2 / H) - 1, (columns + 0.5) * (2 / W) - 1
    grid = torch.stack((x[:, None, :].expand(-1, size[0], -1), y[:, :, None].expand(-1, -1, size[1])), dim=-1)
    sampled = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.round().clamp(0, 255).to(torch.uint8)


def _positions(count: int, side: Tensor) -> Tensor:
    """Return the positions of `count` pixels in rows of `side` (B, 1) pixels, clamped to the outermost centers."""
    centers = torch.arange(count, device=side.device) + 0.5
    return (centers * side / count - 0.5).clamp(min=0).minimum(side - 1)


def random_boxes(count: int, H: int, W: int, smallest: float, generator: torch.Generator) -> Tensor:
    """Draw (4, count) integers: top, left, height, width; the whole image where ten attempts did not fit."""
    area = H * W * torch.empty(count, 10).uniform_(smallest, 1, generator=generator)
    ratio = torch.empty(count, 10).uniform_(math.log(3 / 4), math.log(4 / 3), generator=generator).exp()
    place = torch.rand(2, count, generator=generator)
    width, height = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (width > 0) & (width <= W) & (height > 0) & (height <= H)
    first, any_fits = fits.int().argmax(dim=1, keepdim=True), fits.any(dim=1)
    width = torch.where(any_fits, width.gather(1, first)[:, 0], W)
    height = torch.where(any_fits, height.gather(1, first)[:, 0], H)
    top, left = (place * torch.stack((H - height + 1, W - width + 1))).long()
    return torch.stack((top, left, height, width))


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
