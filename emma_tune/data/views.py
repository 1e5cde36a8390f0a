"""Query images: as they are, or augmented views of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from emma_tune.data.augmentation import augment
from emma_tune.data.batches import Images

DRAWN = 128
"""Images whose views are drawn at a time, whatever the batch size, so that the views are the same."""


class QueryImages(Protocol):
    """Images that a network is queried with."""

    def __len__(self) -> int:
        """Return their number."""

    def plain(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all of them in order, in batches (B, C, h, w) uint8 of `batch_size` at most."""


@dataclass(frozen=True)
class AugmentedViews:
    """Several augmented views of each image, as images of their own.

    Attributes:
        images: N of them.
        count: views M of each.
        augmentation: one of `emma_tune.study.AUGMENTATIONS`.
        smallest_crop: as `augment` takes it.
        chance: returns the generator of a view, by its number.
    """

    images: Images
    count: int
    augmentation: str
    smallest_crop: float
    chance: Callable[[int], torch.Generator]

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
