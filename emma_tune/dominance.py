"""Lossless early stop: which points cannot come to the front any more, whatever still runs for them.

A point's losses only grow from the bounds that `figures.best_possible` gives. Once a finished point that keeps the
limits is nowhere worse than those bounds and somewhere better, it dominates whatever the point becomes: the front
is the same whether the point is run to its end or left. The dominating point may later be dominated itself; then
the left one is, too, since dominance is transitive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.config import Study
from emma_tune.pareto import as_losses, dominators, nondominated


class Rivals:
    """The finished points of a study that keep its limits.

    Args:
        study: its objectives, limits, and whether dominated points are to be stopped at all.
        finished: validation figures of finished points, by number.

    Attributes:
        arrivals: how often somebody joined those who may dominate; as long as it stays, who is not beaten by
            some bounds will not be.
    """

    def __init__(self, study: Study, finished: Mapping[int, Mapping[str, Any]] | None = None) -> None:
        self._study = study
        self._numbers = np.empty(0, dtype=np.int64)
        self._losses = np.empty((0, len(study.objectives)))
        self.arrivals = 0
        self._take(finished or {})

    def add(self, number: int, figures: Mapping[str, Any]) -> None:
        """A point has finished, with these validation figures. Baselines count like any other."""
        self._take({number: figures})

    def _take(self, finished: Mapping[int, Mapping[str, Any]]) -> None:
        within = {number: figures for number, figures in finished.items() if self._study.limits.kept_by(figures)}
        numbers = np.concatenate([self._numbers, np.array(list(within), dtype=np.int64)])
        losses = np.concatenate([self._losses, as_losses(list(within.values()), self._study.objectives)])
        # whoever is dominated dominates nobody that its own dominator does not
        kept = nondominated(losses)
        self.arrivals += bool(kept[len(self._numbers) :].any())  # the newcomers among them
        self._numbers, self._losses = numbers[kept], losses[kept]

    def beaten_by(self, bounds: Mapping[str, Any]) -> int | None:
        """The point that beats whatever a point of these validation bounds becomes; None if it may still win."""
        if not self._study.search.stop_dominated:
            return None
        (bound,) = as_losses([bounds], self._study.objectives)
        better = dominators(self._losses, bound)
        return int(self._numbers[better[0]]) if len(better) else None

    def beat(self, bounds: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of many bounds `beaten_by` names somebody for.

        Args:
            bounds: (N, D), by `losses_of`.
        """
        if not self._study.search.stop_dominated or not len(bounds):
            return np.zeros(len(bounds), dtype=bool)
        worse = self._losses[None] > bounds[:, None]  # (N, rivals, D)
        better = self._losses[None] < bounds[:, None]
        beat = ~np.any(worse, axis=2) & np.any(better, axis=2)
        return np.asarray(np.any(beat, axis=1), dtype=bool)

    def losses_of(self, bounds: Mapping[str, Any]) -> NDArray[np.float64]:
        """Validation bounds as values to minimise: (D,)."""
        row: NDArray[np.float64] = as_losses([bounds], self._study.objectives)[0]
        return row
