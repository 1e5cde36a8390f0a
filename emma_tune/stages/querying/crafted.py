"""Queries that the attacker crafts: images of the victim's kind, moved along the Jacobian of its clones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emma_tune.attacks.jacobian import towards
from emma_tune.data.batches import Images
from emma_tune.data.images import ImageSet
from emma_tune.defenses import DEFENSES
from emma_tune.stages.querying.loot import loot_of
from emma_tune.stages.querying.oracle import Oracle
from emma_tune.stages.querying.strategy import TrainingSet
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Metrics
from emma_tune.training.classifier import Classifier
from emma_tune.training.seeds import generator

BATCH = 256
"""Images whose gradients are computed at a time."""


class Crafted:
    """The labeled images first, then in each round a moved copy of every image so far, within the budget."""

    def __init__(self, config: AttackerSettings, responses: Artifact, oracle: Oracle, runtime: Runtime) -> None:
        assert runtime.queries is not None, "the stage's table says that it reads the pool"
        self._config, self._responses, self._oracle, self._runtime = config, responses, oracle, runtime
        self._few = torch.cat(list(Images(runtime.labeled, runtime.device).plain(BATCH))).cpu()
        self._counts = config.by_round(len(runtime.queries), few=len(self._few))
        self._images = self._few[:0]  # (N, C, h, w) uint8, in the order of asking
        self._answers = responses.tensors["queries"][:0]
        self._guidance: Tensor | None = None  # of these images, where the attacker knows it
        self.rounds = len(self._counts)

    def begin(self, number: int, clone: Classifier | None) -> TrainingSet:
        """Query for one round and return what its clone is trained on."""
        count = self._counts[number] - len(self._images)
        made = self._few[:count] if clone is None else self._moved(clone, number, count)
        answers, guidance = self._oracle.guided(made)
        self._images, self._answers = torch.cat([self._images, made]), torch.cat([self._answers, answers])
        if guidance is not None and self._knows_guidance:
            self._guidance = guidance if self._guidance is None else torch.cat([self._guidance, guidance])
        return self._training_set()

    @property
    def _knows_guidance(self) -> bool:
        known = self._config.known_defense
        return known is not None and bool(DEFENSES[known.defense].guided)

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
        loot = loot_of(self._config, self._responses, self._answers, self._guidance)
        images = Images(ImageSet(self._images.numpy()), self._runtime.device)
        return TrainingSet.of(images, self._config.attack.learn(loot))

    def state(self) -> dict[str, Tensor]:
        """Copy the images that were asked, the answers, and what is known of how they came about."""
        kept = {"asked.images": self._images, "asked.answers": self._answers, "asked.guidance": self._guidance}
        return {name: of.clone() for name, of in kept.items() if of is not None}

    def resume(self, tensors: Mapping[str, Tensor]) -> TrainingSet:
        """Return the training set of the round in which these were asked."""
        self._images, self._answers = tensors["asked.images"], tensors["asked.answers"]
        self._guidance = tensors.get("asked.guidance")
        self._oracle.asked = len(self._images)
        return self._training_set()

    def metrics(self) -> Metrics:
        """Count the answers, as the oracle did."""
        return {"asked": float(self._oracle.asked)}
