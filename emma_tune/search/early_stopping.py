"""Early stopping: open points that nothing can bring to a front any more, and what they would have come to.

A point is dominated if a finished one beats the best that it can still reach, and excluded if its costs are beyond
the limits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emma_tune.plan import Planner, Point, PointPlan
from emma_tune.results.dominance import Rivals
from emma_tune.results.figures import Figures, best_possible, expected, flat, with_clones
from emma_tune.results.ledger import Outcome
from emma_tune.search.prediction import ClonePrediction, Known
from emma_tune.search.task_records import TaskRecords
from emma_tune.study.measures import ATTACKERS

Rows = Sequence[Mapping[str, float]]
"""Figures of epochs, in their order."""


class _Clone(NamedTuple):
    """A clone under way, as last reported: its best validation accuracy, and the epochs reported so far."""

    best: float
    epochs: Rows


class _Candidate(NamedTuple):
    """An open point, the best figures that it can still reach, and the same as values to minimize: (D,)."""

    plan: PointPlan
    bounds: Figures
    losses: NDArray[np.float64]


class Curves:
    """Best validation accuracy up to each epoch, of finished clones by defense and attacker."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], list[Sequence[float]]] = {}

    def add(self, defense: str, attacker: str, curve: Sequence[float]) -> None:
        """Remember a finished clone: accuracies in [0, 1] that never fall, one an epoch."""
        self._known.setdefault((defense, attacker), []).append(curve)

    def forecast(self, defense: str, attacker: str, best: float, epochs: int) -> float:
        """Estimate the final accuracy of a clone that has reached `best` after `epochs` ≥ 1: in [best, 1].

        It gains the median of what this attacker's finished clones of this defense (or else of any) still gained
        after as many epochs; nothing if none was trained as long.
        """
        of_any = [curve for (_, name), curves in self._known.items() if name == attacker for curve in curves]
        known = self._known.get((defense, attacker), of_any)
        gains = [curve[-1] - curve[epochs - 1] for curve in known if len(curve) >= epochs]
        return min(1.0, best + median(gains)) if gains else best


class EarlyStopping:
    """Finds the open points that are beyond the limits, or that a finished one beats whatever still runs for them.

    Baselines that are not searched are never stopped: they are references, on a front or not. A point's bounds are
    worked out only when something has changed for it, and compared with the finished points only then or when one
    joined them.
    """

    def __init__(self, planner: Planner, records: TaskRecords, searched: Collection[str]) -> None:
        self._study = planner.study
        self._digest = planner.digest
        self._records = records
        self._searched = searched
        self._rivals = Rivals(planner.study)
        self._arrivals = 0
        self._curves = Curves()
        self._prediction = ClonePrediction()
        self._clones: dict[str, _Clone] = {}
        self._candidates: dict[int, _Candidate] = {}

    def report(self, task: str, best: float, epochs: Rows) -> bool:
        """Note how far a clone under way is; True if its best validation accuracy has changed.

        A trial that was tried again reports some of its epochs once more.
        """
        before = self._clones.get(task)
        first = epochs[0]["epoch"] if epochs else math.inf
        earlier = [row for row in (before.epochs if before else ()) if row["epoch"] < first]
        self._clones[task] = _Clone(best, [*earlier, *epochs])
        return before is None or before.best != best

    def forget_clone(self, task: str) -> None:
        """Forget a clone that is finished, or that no open point needs."""
        self._clones.pop(task, None)

    def forget(self, point: Point) -> None:
        """Forget a point that is no longer open."""
        self._candidates.pop(point.number, None)

    def add_finished(self, plan: PointPlan, validation: Mapping[str, Any]) -> None:
        """Take up a finished point, which may stop others, and what its clones have come to."""
        self.forget(plan.point)
        self._rivals.add(plan.point, validation)
        if plan.point.defense in self._searched:
            self._prediction.add(plan.point.defense, self._known(plan, validation), flat(validation))
        for (_, name), task in plan.attackers.items():
            if (summary := self._records.summary(task)) and summary.curve:
                self._curves.add(plan.point.defense, name, summary.curve)

    def stopped(self, changed: Iterable[PointPlan]) -> list[tuple[PointPlan, Outcome]]:
        """Find the open points that nothing can bring to a front any more, and forget them.

        Args:
            changed: the open points whose bounds may have changed since the last call, in their order.
        """
        if self._study.search.stop == "none":
            return []
        suspects = [self._candidate(plan) for plan in changed if plan.point.defense in self._searched]
        self._candidates |= {suspect.plan.point.number: suspect for suspect in suspects}
        if self._rivals.arrivals != self._arrivals:
            self._arrivals, suspects = self._rivals.arrivals, list(self._candidates.values())
        if not suspects:
            return []
        defenses = [suspect.plan.point.defense for suspect in suspects]
        winners = self._rivals.all_beaten_by(defenses, np.array([suspect.losses for suspect in suspects]))
        stopped = [
            (suspect.plan, self._outcome(suspect, by))
            for suspect, by in zip(suspects, winners, strict=True)
            if by is not None or not self._study.limits.kept_by(suspect.bounds["validation"])
        ]
        for plan, _ in stopped:
            self.forget(plan.point)
        return stopped

    def still_stopped(self, point: Point, outcome: Outcome) -> Outcome | None:
        """Return how a point that an earlier run stopped stands now; None if an edit gives it a chance again."""
        return self._rivals.stopped(point.defense, outcome)

    def least_losses(self, plan: PointPlan) -> NDArray[np.float64]:
        """Return the least that an open point can still come to, as values to minimize: (D,)."""
        return (self._candidates.get(plan.point.number) or self._candidate(plan)).losses

    def _candidate(self, plan: PointPlan) -> _Candidate:
        clones = (task.key for task in plan.attackers.values() if task.key in self._clones)
        reached = {key: self._clones[key].best for key in clones}
        bounds = best_possible(plan, self._records.metrics, reached)
        return _Candidate(plan, bounds, self._rivals.losses_of(bounds["validation"]))

    def _known(self, plan: PointPlan, costs: Mapping[str, Any]) -> Known:
        """Return what is known of a point before its clones begin, as `ClonePrediction` takes it."""
        learned = [self._records.metrics(task) or {} for task in plan.tasks.values() if task.stage == "matrix"]
        accuracies = [metrics.get("surrogate.validation.accuracy") for metrics in learned]
        known = [accuracy for accuracy in accuracies if accuracy is not None]
        complete = known and len(known) == len(learned)
        return costs["l1"], float(plan.point.params.get("st_epoch", 0)), fmean(known) if complete else None

    def _outcome(self, candidate: _Candidate, by: int | None) -> Outcome:
        plan = candidate.plan
        unfinished = [task for task in plan.attackers.values() if self._records.summary(task) is None]
        curves = {task.key: self._clones[task.key].epochs for task in unfinished if task.key in self._clones}
        answers = self._records.answers_of(plan)
        planned = round(sum(task.config.epochs(answers=answers)[0] for task in unfinished))
        return Outcome(
            self._digest,
            bounds=candidate.bounds,
            by=by,
            estimate=self._estimate(candidate),
            curves=curves,
            left_out=planned - sum(map(len, curves.values())),
            tasks=self._records.done_of(plan),
        )

    def _estimate(self, candidate: _Candidate) -> dict[str, Any] | None:
        """Estimate the validation figures that a stopped point would have come to; None if no costs are known."""
        forecast, plan = {}, candidate.plan
        for (_, name), task in plan.attackers.items():
            if task.key in self._clones:
                best, epochs = self._clones[task.key]
                forecast[task.key] = self._curves.forecast(plan.point.defense, name, best, len(epochs))
        figures = expected(plan, self._records.metrics, forecast)
        if figures is None or "attackers" in figures:
            return figures
        names = dict.fromkeys(["attacker_accuracy", *(f"{ATTACKERS}{name}" for _, name in plan.attackers)])
        clones = self._prediction.expected(plan.point.defense, self._known(plan, figures), names)
        if clones is None:  # no point is finished: as good as the victim, so that the sampler looks elsewhere
            clones = dict.fromkeys(names, float(figures["victim_accuracy"]))
        return with_clones(figures, clones)
