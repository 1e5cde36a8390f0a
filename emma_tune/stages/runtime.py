"""What a stage needs besides its recipe: where to compute, and the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from emma_tune.data.images import ImageSet


@dataclass(frozen=True)
class Runtime:
    """Device and images. Nothing in here may change a result.

    Attributes:
        device: where networks and images lie.
        victim: the labeled parts train, validation and test; empty for a stage that reads none.
        queries: the pool, in the victim's shape; None for a stage that reads none.
    """

    device: torch.device
    victim: Mapping[str, ImageSet]
    queries: ImageSet | None

    def victim_images(self, part: str) -> Tensor:
        """(N, C, H, W) uint8 on the device; `part` is train, validation or test."""
        return torch.from_numpy(self.victim[part].images).to(self.device)

    def victim_labels(self, part: str) -> Tensor:
        """(N,) int64 on the device."""
        labels = self.victim[part].labels
        assert labels is not None, "a victim's images have labels"
        return torch.from_numpy(labels).to(self.device)

    def query_images(self) -> Tensor:
        """(N, C, H, W) uint8 on the device."""
        assert self.queries is not None, "the stage's table says that it reads the pool"
        return torch.from_numpy(self.queries.images).to(self.device)

    @property
    def classes(self) -> int:
        """K, the number of the victim's classes."""
        return int(self.victim_labels("train").max()) + 1
