"""What a victim is asked: images as they are, or augmented views of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from emma_tune.data.augmentation import augment
from emma_tune.data.batches import Images

DRAWN = 128
"""Images whose views are drawn at a time: whoever asks in other batches must see the same views."""


class Asked(Protocol):
    """Images on their way to somebody who answers."""

    def __len__(self) -> int:
        """How many."""

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """All of them in order, in batches (B, C, h, w) uint8 of `batch_size` at most."""


class Views:
    """Several augmented views of each image, asked as if they were images of their own.

    Args:
        images: N of them.
        count: views M of each.
        augmentation: one of `emma_tune.study.AUGMENTATIONS`.
        smallest_crop: as `augment` takes it.
        chance: the generator of a view, by its number.
    """

    def __init__(
        self,
        images: Images,
        *,
        count: int,
        augmentation: str,
        smallest_crop: float,
        chance: Callable[[int], torch.Generator],
    ) -> None:
        self._images = images
        self._count = count
        self._augmentation = augmentation
        self._smallest_crop = smallest_crop
        self._chance = chance

    def __len__(self) -> int:
        return self._count * len(self._images)

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """All first views in order of the images, then all second ones, …: the same whatever the batch size is."""
        for view in range(self._count):
            chance = self._chance(view)
            for indices in torch.arange(len(self._images)).split(DRAWN):
                drawn = augment(
                    self._images.batch(indices),
                    self._augmentation,
                    chance,
                    size=self._images.shape.view,
                    smallest_crop=self._smallest_crop,
                )
                yield from drawn.split(batch_size)
