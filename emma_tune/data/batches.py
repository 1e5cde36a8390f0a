"""Batches of images on the device, as they are or augmented views of them, from arrays in memory or on disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emma_tune.data.augmentation import augment, center_crop
from emma_tune.data.images import ImageSet, PixelStatistics, Shape

ON_DEVICE = 2 << 30
"""Bytes up to which a set is moved to an accelerator as a whole; larger ones are moved batch by batch."""

DRAWN = 128
"""Images whose views are drawn at a time, whatever the batch size, so that the views are the same."""


class Images:
    """A set of images as training reads it: arrays, perhaps mapped from a file, in batches on a device."""

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

    def take(self, indices: Tensor) -> Images:
        """Return some of the images, in this order; `indices` (M,) int64."""
        return Images(self._set.take(indices.numpy()), self.device)

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order without augmentation, in batches (B, C, h, w) uint8."""
        for batch in self._array.split(batch_size):
            yield center_crop(batch.to(self.device, non_blocking=True), self.shape.view)


class QueryImages(Protocol):
    """Images that a network is queried with."""

    def __len__(self) -> int:
        """Return their number."""

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all of them in order, in batches (B, C, h, w) uint8 of `batch_size` at most."""


@dataclass(frozen=True)
class AugmentedViews:
    """Several augmented views of each image, as images of their own."""

    images: Images
    count: int  # views of each image
    augmentation: str  # as `augment` takes it, like the next
    smallest_crop: float
    chance: Callable[[int], torch.Generator]  # returns the generator of a view, by its number

    def __len__(self) -> int:
        return self.count * len(self.images)

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all first views in order of the images, then all second ones, …, whatever the batch size is."""
        for view in range(self.count):
            chance = self.chance(view)
            for indices in torch.arange(len(self.images)).split(DRAWN):
                drawn = augment(
                    self.images.batch(indices),
                    self.augmentation,
                    chance,
                    size=self.images.shape.view,
                    smallest_crop=self.smallest_crop,
                )
                yield from drawn.split(batch_size)


def image_fingerprints(images: ImageSet) -> NDArray[np.str_]:
    """Name each image by the pixels that a network is asked, 32 hexadecimal digits: (N,)."""

    def name(image: NDArray[np.uint8]) -> str:
        return hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:32]

    return np.array([name(image) for batch in Images(images).plain(512) for image in batch.numpy()])
