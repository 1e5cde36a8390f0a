"""The way of an answer: from the clean posteriors p to what is released, p'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from emma_tune.defenses import DEFENSES, emma


@dataclass(frozen=True)
class Release:
    """What one point of a study releases.

    Attributes:
        kind: the defense, one of `DEFENSES`.
        params: of the point, by name: of a baseline all; of a learned defense those that its release takes.
        matrix: T, (K, K), of a learned or a linear defense.
    """

    kind: str
    params: Mapping[str, float]
    matrix: Tensor | None = None

    def __call__(
        self, posteriors: Tensor, *, seeds: Tensor | None = None, guidance: Tensor | None = None
    ) -> Tensor:
        """Return p', (N, K) distributions, row by row.

        Args:
            posteriors: p, (N, K).
            seeds: of each query, (N,) int64, for a randomized defense.
            guidance: what the stage `guidance` found out about each query, (N, K), for a guided one.
        """
        defense = DEFENSES[self.kind]
        if self.matrix is not None:
            by_matrix = defense.release_of(self.params) if defense.learned else emma.release
            return by_matrix(posteriors, self.matrix)
        extra: dict[str, Tensor | None] = {}
        if defense.randomized:
            extra["seeds"] = seeds
        if defense.guided:
            extra["guidance"] = guidance
        return defense.function(posteriors, **self.params, **extra)
