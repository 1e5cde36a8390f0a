"""Queries that the attacker crafts: images of the victim's kind, moved along the Jacobian of its clones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emma_tune.attacks import learn
from emma_tune.attacks.jacobian import towards
from emma_tune.attacks.lesson import Loot
from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.querying.strategy import TrainingSet
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Metrics
from emma_tune.training.classifier import Classifier
from emma_tune.training.seeds import generator

BATCH = 256
"""Images whose gradients are computed at a time."""


class Crafted:
    """The labeled images first, then in each round a moved copy of every image so far, within the budget."""

    def __init__(self, config: AttackerSettings, oracle: Oracle, runtime: Runtime) -> None:
        assert runtime.queries is not None, "the stage's table says that it reads the pool"
        self._config, self._oracle, self._runtime = config, oracle, runtime
        self._few = torch.cat(list(Images(runtime.labeled, runtime.device).plain(BATCH))).cpu()
        self._counts = config.by_round(len(runtime.queries), few=len(self._few))
        self._images = self._few[:0]  # (N, C, h, w) uint8, in the order of asking
        self._answers = torch.empty(0)
        self.rounds = len(self._counts)

    def begin(self, number: int, clone: Classifier | None) -> TrainingSet:
        """Query for one round and return what its clone is trained on."""
        count = self._counts[number] - len(self._images)
        made = self._few[:count] if clone is None else self._moved(clone, number, count)
        answers = self._oracle(made)
        self._answers = answers if clone is None else torch.cat([self._answers, answers])
        self._images = torch.cat([self._images, made])
        return self._training_set()

    def _moved(self, clone: Classifier, number: int, count: int) -> Tensor:
        """Move the images so far, or some of them by chance if the budget does not suffice for all."""
        chance = generator(self._config.seed, "attacker", "moved images", number)
        rows = torch.randperm(len(self._images), generator=chance)[:count].sort().values
        classes = torch.randint(self._answers.shape[1], (len(rows),), generator=chance)
        clone.eval()
        moved = []
        for batch, of in zip(self._images[rows].split(BATCH), classes.split(BATCH), strict=True):
            pixels = batch.to(self._runtime.device, clone.mean.dtype) / 255
            assert self._config.epsilon is not None, "the plan gives it to who moves images"
            moved.append(towards(clone.of_pixels, pixels, of.to(pixels.device), self._config.epsilon))
        return (torch.cat(moved) * 255).round().to(torch.uint8).cpu()

    def _training_set(self) -> TrainingSet:
        loot = Loot(self._answers, self._answers[:0], torch.empty(0, dtype=torch.int64))
        images = Images(ImageSet(self._images.numpy()), self._runtime.device)
        return TrainingSet(images, learn(self._config.kind, loot))

    def state(self) -> dict[str, Tensor]:
        """Copy the images that were asked, and the answers."""
        return {"asked.images": self._images.clone(), "asked.answers": self._answers.clone()}

    def resume(self, tensors: Mapping[str, Tensor]) -> TrainingSet:
        """Return the training set of the round in which these were asked."""
        self._images, self._answers = tensors["asked.images"], tensors["asked.answers"]
        self._oracle.asked = len(self._images)
        return self._training_set()

    def metrics(self) -> Metrics:
        """Count the answers, as the oracle did."""
        return {"asked": float(self._oracle.asked)}
