"""RandAugment (Cubuk et al. 2020) for whole batches, as in the training of EMMA's victims: FixMatch's operations.

The reference calls it RandAugment(3, 5), but its second argument is never used: the strength of each operation is
drawn uniformly from its range, and a gray rectangle covers a part of the result. Operations are exact to Pillow's,
with a strength for each image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ROUNDS = 3
LARGEST_CUTOUT = 0.5
CUTOUT_COLOR = (125, 123, 114)

Operation = Callable[[Tensor, Tensor], Tensor]
"""Images (B, C, H, W) uint8 and strengths (B,) to images."""


def rand_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Apply three operations drawn with replacement, then a cutout, to (B, C, H, W) uint8, C 1 or 3."""
    B = len(images)
    for _ in range(ROUNDS):
        chosen = torch.randint(len(OPERATIONS), (B,), generator=generator)
        strength = torch.rand(B, generator=generator)
        result = images.clone()
        for number, (operation, low, high) in enumerate(OPERATIONS):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                strengths = (low + (high - low) * strength[rows]).to(images.device)
                rows = rows.to(images.device)
                result[rows] = operation(images[rows], strengths)
        images = result
    share = LARGEST_CUTOUT * torch.rand(B, generator=generator)
    center = torch.rand(2, B, generator=generator)
    return cutout(images, share.to(images.device), center.to(images.device))


def cutout(images: Tensor, share: Tensor, center: Tensor) -> Tensor:
    """Cover a rectangle with the mean color of photographs (DeVries & Taylor 2017), clipped at the border.

    Args:
        images: (B, C, H, W) uint8.
        share: (B,), of the width, in [0, 1).
        center: (2, B): vertical and horizontal, in [0, 1).
    """
    H, W = images.shape[-2:]
    side = share * W
    inside = []
    for place, length in zip(center, (H, W), strict=True):
        first = (place * length - side / 2).clamp(min=0).floor()[:, None]
        last = (first + side[:, None]).clamp(max=length).floor()
        position = torch.arange(length, device=images.device)
        inside.append((position >= first) & (position <= last))
    color = torch.tensor(CUTOUT_COLOR, dtype=torch.uint8, device=images.device).view(1, 3, 1, 1)
    color = color if images.shape[1] == 3 else _luma(color)
    covered = inside[0][:, None, :, None] & inside[1][:, None, None, :] & (share > 0)[:, None, None, None]
    return torch.where(covered, color, images)


# --- color ------------------------------------------------------------------------------------------------


def autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0 … 255."""
    low, high = images.amin(dim=(2, 3), keepdim=True).double(), images.amax(dim=(2, 3), keepdim=True).double()
    scale = 255 / (high - low)
    stretched = (images * scale - low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, images)


def equalize(images: Tensor, _: Tensor) -> Tensor:
    """Flatten the histogram of each channel."""
    from torchvision.transforms.v2.functional import equalize_image

    equalized: Tensor = equalize_image(images)
    return equalized


def brightness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend between black (0) and the image (1)."""
    return _blend(torch.zeros_like(images), images, strength)


def contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Blend between its mean gray (0) and the image (1)."""
    mean = (_luma(images).double().mean(dim=(1, 2, 3), keepdim=True) + 0.5).floor()
    return _blend(mean.expand_as(images), images, strength)


def color(images: Tensor, strength: Tensor) -> Tensor:
    """Blend between its grays (0) and the image (1)."""
    return _blend(_luma(images).expand_as(images), images, strength)


def sharpness(images: Tensor, strength: Tensor) -> Tensor:
    """Blend between the smoothed image (0) and the image (1); the outermost pixels stay."""
    C = images.shape[1]
    kernel = images.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=torch.float32) / 13
    inner = F.conv2d(images.float(), kernel.expand(C, 1, 3, 3), groups=C)
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = (inner + 0.5).floor().clamp(0, 255).to(torch.uint8)
    return _blend(smooth, images, strength)


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the `strength` highest bits."""
    dropped = 8 - strength.floor().clamp(1, 8).long()
    mask = (256 - torch.bitwise_left_shift(torch.ones_like(dropped), dropped)).to(torch.uint8)
    return images & mask.view(-1, 1, 1, 1)


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert pixels from `strength` on."""
    return torch.where(images < strength.view(-1, 1, 1, 1), images, 255 - images)


def _luma(images: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W): ITU-R BT.601 in Pillow's fixed-point form."""
    if images.shape[1] == 1:
        return images
    R, G, B = images.int().unbind(dim=1)
    return ((R * 19595 + G * 38470 + B * 7471 + 0x8000) >> 16).to(torch.uint8)[:, None]


def _blend(other: Tensor, images: Tensor, strength: Tensor) -> Tensor:
    """Return `other + strength · (images − other)`, truncated to integers as in Pillow."""
    alpha = strength.view(-1, 1, 1, 1).float()
    return (other.float() + alpha * (images.float() - other.float())).to(torch.uint8)


# --- place ------------------------------------------------------------------------------------------------


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate about the center, counterclockwise."""
    H, W = images.shape[-2:]
    angle = -torch.deg2rad(degrees.double())
    cos, sin = angle.cos(), angle.sin()
    x, y = W / 2, H / 2
    return _affine(images, (cos, sin, x - cos * x - sin * y), (-sin, cos, y + sin * x - cos * y))


def shear_x(images: Tensor, strength: Tensor) -> Tensor:
    """Shift rows in proportion to their position."""
    return _affine(images, (1, strength, 0), (0, 1, 0))


def shear_y(images: Tensor, strength: Tensor) -> Tensor:
    """Shift columns in proportion to their position."""
    return _affine(images, (1, 0, 0), (strength, 1, 0))


def translate_x(images: Tensor, strength: Tensor) -> Tensor:
    """Shift by a share of the width."""
    return _affine(images, (1, 0, strength * images.shape[-1]), (0, 1, 0))


def translate_y(images: Tensor, strength: Tensor) -> Tensor:
    """Shift by a share of the height."""
    return _affine(images, (1, 0, 0), (0, 1, strength * images.shape[-2]))


AffineRow = tuple[Tensor | float, Tensor | float, Tensor | float]


def _affine(images: Tensor, for_x: AffineRow, for_y: AffineRow) -> Tensor:
    """Fetch the pixel at (x, y) from (a x + b y + c, d x + e y + f): nearest neighbor, black outside."""
    B, C, H, W = images.shape
    device = images.device
    x = (torch.arange(W, device=device) + 0.5).double().view(1, 1, W)
    y = (torch.arange(H, device=device) + 0.5).double().view(1, H, 1)

    def source(row: AffineRow) -> Tensor:
        a, b, c = (torch.as_tensor(v, device=device).double().view(-1, 1, 1) for v in row)
        return (a * x + b * y + c).floor().long().expand(B, H, W)

    columns, rows = source(for_x), source(for_y)
    inside = (columns >= 0) & (columns < W) & (rows >= 0) & (rows < H)
    flat = (rows.clamp(0, H - 1) * W + columns.clamp(0, W - 1)).view(B, 1, H * W).expand(B, C, H * W)
    taken = images.flatten(2).gather(2, flat).view_as(images)
    return taken * inside[:, None]


OPERATIONS: tuple[tuple[Operation, float, float], ...] = (
    (autocontrast, 0, 1),
    (brightness, 0.05, 0.95),
    (color, 0.05, 0.95),
    (contrast, 0.05, 0.95),
    (equalize, 0, 1),
    (lambda images, _: images, 0, 1),
    (posterize, 4, 8),
    (rotate, -30, 30),
    (sharpness, 0.05, 0.95),
    (shear_x, -0.3, 0.3),
    (shear_y, -0.3, 0.3),
    (solarize, 0, 256),
    (translate_x, -0.3, 0.3),
    (translate_y, -0.3, 0.3),
)
"""Each operation, and the range of its strength."""
