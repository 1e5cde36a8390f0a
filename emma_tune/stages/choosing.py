"""Queries that the clone of each round chooses from the pool (ActiveThief)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from emma_tune.attacks import learn
from emma_tune.attacks.deepfool import boundary_distances
from emma_tune.attacks.entropy import most_uncertain
from emma_tune.attacks.k_center import farthest
from emma_tune.attacks.lesson import Loot
from emma_tune.data.batches import Images
from emma_tune.stages.curriculum import Material
from emma_tune.stages.runtime import Runtime
from emma_tune.stages.settings import AttackerSettings
from emma_tune.storage.artifact import Artifact, Metrics
from emma_tune.training.classifier import Classifier, posteriors_of
from emma_tune.training.seeds import generator

BATCH = 256
"""Images whose distances are computed at a time."""


class Chosen:
    """A share of the queries by chance, then in each round as many more as the clone before chooses.

    The answers to the whole pool are there already; what counts as asked is what was looked at.
    """

    def __init__(self, config: AttackerSettings, responses: Artifact, runtime: Runtime) -> None:
        self._config, self._runtime = config, runtime
        self._answers = responses.tensors["queries"]
        self._counts = config.by_round(len(self._answers), few=0)
        self._chosen = torch.empty(0, dtype=torch.int64)  # in the order of asking
        self.rounds = len(self._counts)

    def begin(self, number: int, clone: Classifier | None) -> Material:
        """Choose the queries of a round."""
        taken = torch.zeros(len(self._answers), dtype=torch.bool)
        taken[self._chosen] = True
        left = (~taken).nonzero()[:, 0]
        count = self._counts[number] - len(self._chosen)
        if clone is None:
            places = torch.randperm(len(left), generator=generator(self._config.seed, "attacker", "first queries"))
        else:
            places = self._choose(clone, left, count)
        self._chosen = torch.cat([self._chosen, left[places[:count]]])
        return self._material()

    def _choose(self, clone: Classifier, left: Tensor, count: int) -> Tensor:
        """Return places in `left`, indices of the pool that were not asked yet."""
        images = self._take(left)
        match self._config.choose:
            case "k_center":
                return farthest(
                    posteriors_of(clone, images), posteriors_of(clone, self._take(self._chosen)), count
                )
            case "dfal":
                clone.eval()
                pixels = (batch.to(clone.mean.dtype) / 255 for batch in images.plain(BATCH))
                distances = torch.cat([boundary_distances(clone.of_pixels, each).cpu() for each in pixels])
                return distances.argsort(stable=True)[:count]
        return most_uncertain(posteriors_of(clone, images), count)

    def _take(self, indices: Tensor) -> Images:
        pool = self._runtime.queries
        assert pool is not None, "the stage's table says that it reads the pool"
        return Images(pool.take(indices.numpy()), self._runtime.device)

    def _material(self) -> Material:
        answers = self._answers[self._chosen]
        nothing = answers[:0]
        loot = Loot(answers, nothing, torch.empty(0, dtype=torch.int64))
        return Material(self._take(self._chosen), learn(self._config.kind, loot))

    def state(self) -> dict[str, Tensor]:
        """Copy which queries were asked, in their order."""
        return {"asked.rows": self._chosen.clone()}

    def resume(self, tensors: Mapping[str, Tensor]) -> Material:
        """Take up the round in which these were asked."""
        self._chosen = tensors["asked.rows"]
        return self._material()

    def metrics(self) -> Metrics:
        """Count the answers."""
        return {"asked": float(len(self._chosen))}
