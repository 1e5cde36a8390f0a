"""What a stage needs besides its recipe: where to compute, the images, and weights to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from emma_tune.config import Training
from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.models import NONE
from emma_tune.models.pretrained import Weights


@dataclass(frozen=True)
class Runtime:
    """Device, images and weights. Nothing in here may change a result.

    Attributes:
        device: where networks compute.
        victim: the labeled parts train, validation and test; empty for a stage that reads none.
        queries: the pool, in the victim's shape; None for a stage that reads none.
        weights: reads those of a fingerprint.
    """

    device: torch.device
    victim: Mapping[str, ImageSet]
    queries: ImageSet | None
    weights: Callable[[str], Weights] = field(default=lambda name: {})

    def victim_images(self, part: str) -> Images:
        """The victim's; `part` is train, validation or test."""
        return Images(self.victim[part], self.device)

    def victim_labels(self, part: str) -> Tensor:
        """(N,) int64 on the device."""
        labels = self.victim[part].labels
        assert labels is not None, "a victim's images have labels"
        return torch.from_numpy(np.array(labels)).to(self.device)

    def query_images(self) -> Images:
        """The pool."""
        assert self.queries is not None, "the stage's table says that it reads the pool"
        return Images(self.queries, self.device)

    def first_weights(self, training: Training) -> Weights | None:
        """What a training begins with; None for a fresh network."""
        return None if training.weights == NONE else self.weights(training.weights)

    @property
    def classes(self) -> int:
        """K, the number of the victim's classes."""
        return int(self.victim_labels("train").max()) + 1
