"""Proposals of a simulated study: by its own sampler as far as there is time, and what each would cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from optuna.storages import InMemoryStorage

from emma_tune.plan import Params, Point
from emma_tune.search.proposals import Proposer
from emma_tune.study import Study

REAL_ASKS = {"gp": 20, "tpe": 1_000, "nsga2": 2_000}
"""How many points of a defense the study's own sampler proposes, which takes some 20 s; the others are drawn
uniformly. Samplers that are not named here propose every point."""


def ask_seconds(sampler: str, known: int) -> float:
    """Estimate the seconds that a proposal takes of a sampler that knows some number of points.

    Fitted to what was measured on one core (tests/benchmarks/RESULTS.md), `gp` at 50 to 800 points, `nsga2` up to
    1,000, `tpe` up to 2,000; beyond that it is an extrapolation.
    """
    match sampler:
        case "gp":
            return 1.2 + 12.0 * (known / 800) ** 3
        case "tpe":
            return 13e-6 * known
        case "nsga2":
            return 5e-6 * known
    return 5e-4


class TimedProposer(Proposer):
    """Proposes as a study's proposer does, without a journal, and estimates how long a driver would wait for it.

    Attributes:
        real: how many points the study's own sampler has proposed.
        slowest: seconds that the slowest of those asks really took here.
    """

    def __init__(self, study: Study, defense: str) -> None:
        super().__init__(study, defense, InMemoryStorage())
        drawn = study.model_copy(update={"search": study.search.model_copy(update={"sampler": "random"})})
        self._drawn = Proposer(drawn, defense, InMemoryStorage())
        self._limit_real = REAL_ASKS.get(study.search.sampler)
        self._owed = self.slowest = 0.0
        self.real = 0

    def propose(self, number: int, index: int, before: Iterable[Point]) -> tuple[Params, dict[str, object]]:
        """Propose as `Proposer` does."""
        self._owed += ask_seconds(self._search.sampler, index)
        if self._limit_real is not None and index >= self._limit_real:
            return self._drawn.propose(number, index, before)
        self.real += 1
        began = time.perf_counter()
        proposed = super().propose(number, index, before)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        return proposed

    def conclude(
        self, point: Point, figures: Mapping[str, object], memory: Mapping[str, object], *, stopped: bool = False
    ) -> None:
        """Report as `Proposer` does, as long as the study's own sampler will propose more."""
        if self._limit_real is None or self.real < self._limit_real:
            super().conclude(point, figures, memory, stopped=stopped)

    def take_owed(self) -> float:
        """Return the seconds of proposals since the last call."""
        owed, self._owed = self._owed, 0.0
        return owed
