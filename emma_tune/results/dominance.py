"""Stopped points: which unfinished points cannot reach a front any more, whatever still runs for them.

A point's losses only grow from the bounds that `figures.best_possible` gives. Once a finished point that keeps the
limits is nowhere worse than those bounds and somewhere better, it dominates whatever the point becomes: the front
is the same whether the point is run to its end or stopped. The dominating point may later be dominated itself;
then the stopped one is, too, since dominance is transitive.

A point whose costs alone are beyond the limits is excluded: no clone of it can bring it to a front.

Which finished points may stop a point is `search.stop`: those of its own defense, so that each defense keeps its
whole front, or those of all defenses, so that only the joint front is kept whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.plan import Point
from emma_tune.results.front import as_losses, dominating, group_of, nondominated
from emma_tune.results.ledger import Ledger, Outcome
from emma_tune.study import Study


class Rivals:
    """The finished points of a study that keep its limits, and may stop others; with their validation figures.

    Attributes:
        arrivals: how often a point joined those that may stop others; as long as it stays, bounds that are not
            beaten will not be.
    """

    def __init__(self, study: Study, finished: Iterable[tuple[Point, Mapping[str, Any]]] = ()) -> None:
        self._study = study
        # by group, the finished points that no other of it dominates: numbers (N,) and losses (N, D)
        self._groups: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self.arrivals = 0
        for point, figures in finished:
            self.add(point, figures)

    def add(self, point: Point, figures: Mapping[str, Any]) -> None:
        """Take up a point that has finished with these validation figures. Baselines count like any other."""
        if not self._study.limits.kept_by(figures):
            return
        own, group = self.losses_of(figures)[None], group_of(self._study, point.defense)
        numbers, losses = self._groups.get(group, (np.empty(0, dtype=np.int64), own[:0]))
        numbers, losses = np.append(numbers, point.number), np.concatenate([losses, own])
        kept = nondominated(losses)  # a dominated point beats nothing that its own dominator does not
        self.arrivals += bool(kept[-1])
        self._groups[group] = numbers[kept], losses[kept]

    def beaten_by(self, defense: str, bounds: Mapping[str, Any]) -> int | None:
        """Find the point that beats whatever one of these validation bounds becomes; None if it may still win."""
        return self.all_beaten_by([defense], self.losses_of(bounds)[None])[0]

    def all_beaten_by(self, defenses: Sequence[str], bounds: NDArray[np.float64]) -> list[int | None]:
        """Do the same for M points at once, of M defenses and with `bounds` (M, D) by `losses_of`."""
        beaten: list[int | None] = [None] * len(defenses)
        if self._study.search.stop == "none":
            return beaten
        groups = np.array([group_of(self._study, defense) for defense in defenses])
        for group in set(groups.tolist()) & self._groups.keys():
            numbers, losses = self._groups[group]
            places = np.flatnonzero(groups == group)
            better = dominating(losses, bounds[places])
            for place, row in zip(places, better, strict=True):
                if row.any():
                    beaten[place] = int(numbers[row.argmax()])
        return beaten

    def stopped(self, defense: str, outcome: Outcome) -> Outcome | None:
        """Return how a stopped point stands under the study as it is now; None if it has a chance again."""
        if self._study.search.stop == "none":
            return None
        assert outcome.bounds is not None, "the point was stopped"
        bounds = outcome.bounds["validation"]
        by = self.beaten_by(defense, bounds)
        if by is None and self._study.limits.kept_by(bounds):
            return None
        return replace(outcome, by=by)

    def losses_of(self, figures: Mapping[str, Any]) -> NDArray[np.float64]:
        """Turn validation figures into values to minimize: (D,)."""
        row: NDArray[np.float64] = as_losses([figures], self._study.objectives)[0]
        return row


def current_outcomes(study: Study, ledger: Ledger, digest: str) -> dict[int, Outcome]:
    """Pick the outcomes, by number, that hold for a study as it is now, with this `Planner.digest`.

    A stopped point is among them only as long as there is a reason for it, and names the point that beats it.
    """
    current = {n: outcome for n, outcome in ledger.outcomes.items() if outcome.plan == digest}
    finished = [(ledger.points[n], of.figures["validation"]) for n, of in current.items() if of.figures]
    rivals = Rivals(study, finished)
    for number, outcome in list(current.items()):
        if outcome.bounds is not None:
            stopped = rivals.stopped(ledger.points[number].defense, outcome)
            if stopped is None:
                del current[number]
            else:
                current[number] = stopped
    return current
