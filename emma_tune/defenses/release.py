"""The way of an answer: from clean posteriors p through a defense, behind its gate, and a second step, to p'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from emma_tune.defenses import DEFENSES, emma
from emma_tune.defenses.around import OF_STEPS, THEN, around_params, own_params
from emma_tune.defenses.gate import acts, gated, has_gate
from emma_tune.defenses.objective import Objective


@dataclass(frozen=True)
class Release:
    """What one point of a study releases.

    Attributes:
        kind: the defense, one of `DEFENSES`.
        params: of the point, by name, those of gate and second step among them: of a baseline all, of a learned
            defense those that its release takes.
        matrix: T, (K, K), of a learned or a linear defense.
    """

    kind: str
    params: Mapping[str, float | str]
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
        answers = self._ungated(posteriors, seeds, guidance)
        if self.gated:
            answers = torch.where(self.acts(posteriors)[:, None], answers, posteriors)
        return self._then(answers)

    @property
    def gated(self) -> bool:
        """Whether there is a gate, so that the defense does not act everywhere."""
        return has_gate(self.params)

    def acts(self, posteriors: Tensor) -> Tensor:
        """Tell where the gate lets the defense act, (N,) bool; everywhere without one."""
        return acts(posteriors, self.params)

    def _ungated(self, posteriors: Tensor, seeds: Tensor | None, guidance: Tensor | None) -> Tensor:
        defense = DEFENSES[self.kind]
        if self.matrix is not None:
            by_matrix = defense.release_of(self.params) if defense.learned else emma.release
            elsewhere = self.matrix.device != posteriors.device  # asked first: an exported program would name it
            return by_matrix(posteriors, self.matrix.to(posteriors.device) if elsewhere else self.matrix)
        extra: dict[str, Tensor | None] = {}
        if defense.randomized:
            extra["seeds"] = seeds
        if defense.guided:
            extra["guidance"] = guidance
        return defense.function(posteriors, **own_params(self.params), **extra)

    def _then(self, answers: Tensor) -> Tensor:
        """Apply the second step."""
        given = around_params(self.params)
        if THEN not in given:
            return answers
        values = {name.removeprefix(f"{THEN}_"): of for name, of in given.items() if name in OF_STEPS}
        return DEFENSES[str(given[THEN])].function(answers, **values)


def objective_of(kind: str, params: Mapping[str, float | str]) -> Objective:
    """Return what the matrix of a learned defense minimizes, behind its gate.

    Args:
        kind: one of `LEARNED`.
        params: of the point, by name.
    """
    defense = DEFENSES[kind]
    return gated(defense.objective_function(defense.release_of(params), own_params(params)), params)
