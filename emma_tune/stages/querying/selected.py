"""Queries that the clone of each round selects from the pool (ActiveThief)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from emma_tune.attacks.choosing import choose
from emma_tune.attacks.choosing.candidates import Candidates
from emma_tune.data.batches import Images
from emma_tune.stages.querying.loot import loot_of
from emma_tune.stages.querying.strategy import TrainingSet
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Metrics
from emma_tune.training.classifier import Classifier, posteriors_of
from emma_tune.training.seeds import generator

BATCH = 256
"""Images whose distances are computed at a time."""


class Selected:
    """Random queries first; in each later round, those that the previous round's clone selects.

    The answers to the whole pool are there already; what counts as asked is what was looked at.
    """

    def __init__(
        self, config: AttackerSettings, responses: Artifact, runtime: Runtime, guidance: Artifact | None = None
    ) -> None:
        self._config, self._responses, self._runtime = config, responses, runtime
        self._answers = responses.tensors["queries"]
        self._guidance = None if guidance is None else guidance.tensors["queries"]
        self._counts = config.by_round(len(self._answers), few=0)
        self._asked = torch.empty(0, dtype=torch.int64)  # in the order of asking
        self.rounds = len(self._counts)

    def begin(self, number: int, clone: Classifier | None) -> TrainingSet:
        """Query for one round and return what its clone is trained on."""
        taken = torch.zeros(len(self._answers), dtype=torch.bool)
        taken[self._asked] = True
        left = (~taken).nonzero()[:, 0]
        count = self._counts[number] - len(self._asked)
        if clone is None:
            places = torch.randperm(len(left), generator=generator(self._config.seed, "attacker", "first queries"))
        else:
            places = self._select(clone, left, count)
        self._asked = torch.cat([self._asked, left[places[:count]]])
        return self._training_set()

    def _select(self, clone: Classifier, left: Tensor, count: int) -> Tensor:
        """Return places in `left`, indices of the pool that were not asked yet."""
        assert self._config.choose is not None, "the plan says how it chooses"
        images = self._take(left)
        clone.eval()

        def pixels() -> Iterator[Tensor]:
            return (batch.to(clone.mean.dtype) / 255 for batch in images.plain(BATCH))

        candidates = Candidates(
            posteriors=lambda: posteriors_of(clone, images),
            asked=lambda: posteriors_of(clone, self._take(self._asked)),
            logits=clone.of_pixels,
            pixels=pixels,
        )
        return choose(self._config.choose, candidates, count)

    def _take(self, indices: Tensor) -> Images:
        pool = self._runtime.queries
        assert pool is not None, "the stage's table says that it reads the pool"
        return Images(pool.take(indices.numpy()), self._runtime.device)

    def _training_set(self) -> TrainingSet:
        guidance = None if self._guidance is None else self._guidance[self._asked]
        loot = loot_of(self._config, self._responses, self._answers[self._asked], guidance)
        return TrainingSet.of(self._take(self._asked), self._config.attack.learn(loot))

    def state(self) -> dict[str, Tensor]:
        """Copy which queries were asked, in their order."""
        return {"asked.rows": self._asked.clone()}

    def resume(self, tensors: Mapping[str, Tensor]) -> TrainingSet:
        """Return the training set of the round in which these were asked."""
        self._asked = tensors["asked.rows"]
        return self._training_set()

    def metrics(self) -> Metrics:
        """Count the answers."""
        return {"asked": float(len(self._asked))}
