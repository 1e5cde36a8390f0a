"""What a stage needs besides its recipe: where to compute, the images, and weights to begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from emma_tune.attacks import FEW_PER_CLASS
from emma_tune.data.batches import AugmentedViews, Images, QueryImages
from emma_tune.data.images import ImageSet, few_of_each, subset
from emma_tune.models import NONE
from emma_tune.models.pretrained import PretrainedWeights
from emma_tune.stages.settings import Views
from emma_tune.training.seeds import generator
from emma_tune.training.settings import Training


@dataclass(frozen=True)
class Runtime:
    """Device, images and weights. Nothing in here may change a result.

    Attributes:
        device: where networks compute.
        victim: the labeled parts train, validation and test; empty for a stage that reads none.
        queries: the pool, in the victim's shape; None for a stage that reads none.
        exposure: outliers, in the victim's shape; None for a stage that reads none.
        weights: reads those of a fingerprint.
    """

    device: torch.device
    victim: Mapping[str, ImageSet]
    queries: ImageSet | None
    weights: Callable[[str], PretrainedWeights] = field(default=lambda name: {})
    exposure: ImageSet | None = None

    def victim_images(self, part: str) -> Images:
        """Return the victim's images of a part: train, validation or test."""
        return Images(self.victim[part], self.device)

    def victim_labels(self, part: str) -> Tensor:
        """Return the labels of a part, (N,) int64 on the device."""
        labels = self.victim[part].labels
        assert labels is not None, "a victim's images have labels"
        return torch.from_numpy(np.array(labels)).to(self.device)

    def query_images(self, limit: int | None = None) -> Images:
        """Return the pool, or its fixed subset of `limit` images."""
        assert self.queries is not None, "the stage's table says that it reads the pool"
        pool = self.queries
        if limit is not None:
            pool = pool.take(subset(len(pool), limit))
        return Images(pool, self.device)

    def outliers(self) -> Images:
        """Return the images that a network is exposed to."""
        assert self.exposure is not None, "the stage's settings say that it reads outliers"
        return Images(self.exposure, self.device)

    @property
    def labeled(self) -> ImageSet:
        """The few images that an attacker may have labels of."""
        train = self.victim["train"]
        assert train.labels is not None, "a victim's images have labels"
        return train.take(few_of_each(train.labels, FEW_PER_CLASS))

    def asked(self, views: Views | None) -> dict[str, QueryImages]:
        """Return the images that the defended victim is asked about, by part.

        Returns:
            `queries`, `labeled`, `validation` and `test`; with `views` only these, of the pool, as `queries`.
        """
        if views is None:
            return {
                "queries": self.query_images(),
                "labeled": Images(self.labeled, self.device),
                **{part: self.victim_images(part) for part in ("validation", "test")},
            }
        return {
            "queries": AugmentedViews(
                self.query_images(),
                count=views.count,
                augmentation=views.augmentation,
                smallest_crop=views.smallest_crop,
                chance=lambda view: generator(views.seed, "attacker", "view", view),
            )
        }

    def first_weights(self, training: Training) -> PretrainedWeights | None:
        """Return the weights that a training begins with; None for a fresh network."""
        return None if training.weights == NONE else self.weights(training.weights)

    @property
    def classes(self) -> int:
        """K, the number of the victim's classes."""
        return int(self.victim_labels("train").max()) + 1
