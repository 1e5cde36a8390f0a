"""All queries at once: one round, and one clone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from emma_tune.attacks import UNANSWERED
from emma_tune.attacks.lesson import Loot
from emma_tune.data.batches import Images
from emma_tune.data.images import subset
from emma_tune.data.randaugment import rand_augment
from emma_tune.stages.querying.loot import loot_of
from emma_tune.stages.querying.strategy import Beside, TrainingSet
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Metrics
from emma_tune.training.classifier import Classifier
from emma_tune.training.learner import Learner
from emma_tune.training.seeds import generator


@dataclass
class AtOnce:
    """One round: the pool, or a fixed subset of it, with what the attack makes of the answers."""

    config: AttackerSettings
    responses: Artifact
    runtime: Runtime
    guidance: Artifact | None = None
    rounds: int = 1

    def begin(self, number: int, clone: Classifier | None) -> TrainingSet:
        """Query for the only round and return what its clone is trained on."""
        attack, images = self.config.attack, self.runtime.query_images(self.config.queries)
        beside = unanswered_views(self.config, self.runtime) if attack.asks == "part" else None
        return TrainingSet.of(images, attack.learn(self._loot()), beside)

    def _loot(self) -> Loot:
        answers, labels = self.responses.tensors["queries"], self.runtime.labeled.labels
        assert labels is not None, "a victim's images have labels"
        asked = torch.from_numpy(subset(len(answers), self.config.queries))
        guidance = None if self.guidance is None else self.guidance.tensors["queries"][asked]
        loot = loot_of(self.config, self.responses, answers[asked], guidance)
        labeled = self.responses.tensors.get("labeled", answers[:0])  # not asked by attackers that ask views
        return replace(loot, labeled_answers=labeled, labels=torch.from_numpy(labels[: len(labeled)]))

    def state(self) -> dict[str, Tensor]:
        """Return nothing: answers are read again on resume."""
        return {}

    def resume(self, tensors: Mapping[str, Tensor]) -> TrainingSet:
        """Return the training set of the only round."""
        return self.begin(0, None)

    def metrics(self) -> Metrics:
        """Return nothing: the number of answers follows from the settings."""
        return {}


def unanswered_views(config: AttackerSettings, runtime: Runtime) -> Beside | None:
    """Return weak views of the images that are not asked, then as many strong ones; None if all are asked.

    A weak view is augmented as training is; RandAugment makes it a strong one.
    """
    pool = runtime.queries
    assert pool is not None, "the stage's table says that it reads the pool"
    left = np.setdiff1d(np.arange(len(pool)), subset(len(pool), config.queries))
    if len(left) < 2:  # batches are of two images at least
        return None
    images = Images(pool.take(left), runtime.device)

    def beside(learner: Learner, epoch: int) -> Iterator[Tensor]:
        chance = generator(config.seed, "attacker", "strong views", epoch)
        batches = learner.endless(images, f"{epoch}, unanswered")
        while True:
            weak = torch.cat(list(islice(batches, UNANSWERED)))
            yield torch.cat([weak, rand_augment(weak, chance)])

    return beside
