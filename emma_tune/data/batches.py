"""Batches of images on the device, from arrays in memory or on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from emma_tune.data.images import ImageSet, PixelStatistics, Shape

ON_DEVICE = 2 << 30
"""Bytes up to which a set is moved to an accelerator as a whole; larger ones are moved batch by batch."""


class Images:
    """A set of images as training reads it.

    Args:
        images: arrays, perhaps mapped from a file.
        device: of the batches.
    """

    def __init__(self, images: ImageSet, device: torch.device | str = "cpu") -> None:
        self._set = images
        self.device = torch.device(device)
        with warnings.catch_warnings():  # maps of files are not writable, and nothing here writes
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._array = torch.from_numpy(images.images)
        if self.device.type != "cpu" and self._array.nbytes <= ON_DEVICE:
            self._array = self._array.to(self.device)

    def __len__(self) -> int:
        return len(self._array)

    @property
    def shape(self) -> Shape:
        """The shape as kept and as seen."""
        return self._set.shape

    @property
    def statistics(self) -> PixelStatistics:
        """Statistics of all pixels."""
        return self._set.statistics

    def batch(self, indices: Tensor) -> Tensor:
        """Return images as they are kept, (B, C, H, W) uint8 on the device; `indices` (B,)."""
        return self._array[indices.to(self._array.device)].to(self.device, non_blocking=True)

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order without augmentation, in batches (B, C, h, w) uint8."""
        for batch in self._array.split(batch_size):
            yield center_crop(batch.to(self.device, non_blocking=True), self.shape.view)


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the center of images (B, C, H, W), of `size` (h, w), as torchvision's CenterCrop."""
    top, left = (round((have - want) / 2) for have, want in zip(images.shape[-2:], size, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]
