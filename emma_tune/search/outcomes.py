"""How points end: finished, stopped or failed. Written to the ledger first, then reported to the sampler."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emma_tune.plan import GROUNDWORK, Planner, Point, PointPlan, Task
from emma_tune.results.figures import Figures, front_figures, point_figures
from emma_tune.results.front import as_losses, dominating, front_of, group_of, targets
from emma_tune.results.ledger import Ledger, LedgerWriter, Outcome
from emma_tune.search.early_stopping import EarlyStopping
from emma_tune.search.proposals import Proposer
from emma_tune.search.task_records import TaskRecords
from emma_tune.study.measures import value_of


@dataclass(frozen=True)
class SearchContext:
    """What the search of one run is made of."""

    planner: Planner
    ledger: Ledger
    writer: LedgerWriter
    proposers: Mapping[str, Proposer]  # by searched defense; empty if only the ledger's points are wanted


class PointOutcomes:
    """Ends points, and counts them: paused are those that came as far as this run was to go (`--until`)."""

    def __init__(self, context: SearchContext, records: TaskRecords) -> None:
        planner = context.planner
        self._digest, self._front_digest = planner.digest, planner.front_digest
        self._study = planner.study
        self._ledger = context.ledger
        self._writer = context.writer
        self._proposers = context.proposers
        self._records = records
        self.early_stopping = EarlyStopping(planner, records, context.proposers)
        self._validated: dict[int, tuple[Point, Mapping[str, Any]]] = {}
        self._targets: list[Point] | None = None  # until another point finishes
        self._fronts: dict[str, dict[int, tuple[Point, Figures]]] = {name: {} for name in self._study.searches}
        self._ended: Counter[str] = Counter()
        self.finished = self.paused = self.failed = 0
        self.stopped: Counter[str] = Counter()  # by why: `stops.STOPS`
        self.failures: dict[int, str] = {}  # reasons by point, also where an attacker of the fronts failed

    @property
    def ended(self) -> int:
        """How many points have nothing left to do, except perhaps for the attackers of the fronts."""
        return self.finished + self.paused + self.stopped.total() + self.failed

    # --- ends ---------------------------------------------------------------------------------------------

    def finish(self, plan: PointPlan) -> Mapping[str, Any]:
        """Finish a point, every task of which is done, and return its validation figures."""
        figures = point_figures(plan, self._records.metrics)
        assert figures is not None, "every evaluation of a finished point is done"
        point, validation = plan.point, figures["validation"]
        self._write(point, Outcome(self._digest, figures=figures, tasks=self._records.done_of(plan)))
        self.early_stopping.add_finished(plan, validation)
        self._records.forget(plan)
        self.finished += 1
        self._ended[point.defense] += 1
        self._validated[point.number] = point, validation
        self._targets = None
        self._join_front(point, figures)
        self._report(point, validation)
        return validation

    def pause(self, point: Point) -> None:
        """Leave a point that came as far as this run was to go; the sampler learns of one finished earlier."""
        self.paused += 1
        outcome = self._ledger.outcomes.get(point.number)
        if outcome is not None and outcome.plan == self._digest and outcome.figures:
            self._report(point, outcome.figures["validation"])

    def fail(self, point: Point, task: Task, reason: str) -> None:
        """End a point that cannot be finished, because a task failed."""
        self.early_stopping.forget(point)
        self.failed += 1
        self.failures[point.number] = reason
        if point != GROUNDWORK:
            self._writer.failed(point.number, plan=self._digest, reason=reason, task=task.key)
            if point.defense in self._proposers:
                self._proposers[point.defense].fail(point)

    def stop(self, changed: Iterable[PointPlan]) -> list[Point]:
        """Stop and return the points that `EarlyStopping.stopped` finds."""
        stopped = self.early_stopping.stopped(changed)
        for plan, outcome in stopped:
            self._write(plan.point, outcome)
            self._records.forget(plan)
            self._count_stopped(plan.point, outcome)
        return [plan.point for plan, _ in stopped]

    def was_stopped(self, point: Point) -> bool:
        """Tell whether an earlier run stopped a point, under the study as it is now."""
        outcome = self._ledger.outcomes.get(point.number)
        return outcome is not None and outcome.plan == self._digest and outcome.bounds is not None

    def stop_again(self, point: Point) -> bool:
        """Stop a point as an earlier run did; False if an edit of the study gives it a chance again."""
        stopped = self.early_stopping.still_stopped(point, self._ledger.outcomes[point.number])
        if stopped is not None:
            self._count_stopped(point, stopped)
        return stopped is not None

    def _count_stopped(self, point: Point, outcome: Outcome) -> None:
        self.stopped[outcome.state] += 1
        self._ended[point.defense] += 1
        if outcome.estimate is not None:  # ledgers of earlier versions have none: the sampler does not learn of it
            self._report(point, outcome.estimate, stopped=True)

    def _report(self, point: Point, figures: Mapping[str, Any], *, stopped: bool = False) -> None:
        """Tell the sampler of a point of a searched defense."""
        if point.defense in self._proposers:
            memory = self._ledger.sampler.get(point.number, {})
            self._proposers[point.defense].conclude(point, figures, memory, stopped=stopped)

    def _write(self, point: Point, outcome: Outcome) -> None:
        if self._ledger.outcomes.get(point.number) != outcome:  # else an earlier run has written the same
            self._writer.concluded(point.number, outcome)

    # --- fronts -------------------------------------------------------------------------------------------

    def front(self) -> list[tuple[Point, Figures]]:
        """List the points on the front so far of each searched defense, in the order of the budget."""
        fronts = (front.values() for front in self._fronts.values())
        budget = self._study.budget
        return [of for front in fronts for of in sorted(front, key=lambda of: value_of(of[1]["test"], budget))]

    def _join_front(self, point: Point, figures: Figures) -> None:
        if point.defense in self._fronts:
            front = {**self._fronts[point.defense], point.number: (point, figures)}
            kept = front_of(self._study, {number: of["validation"] for number, (_, of) in front.items()})
            self._fronts[point.defense] = {number: front[number] for number in kept}

    def targets(self) -> list[Point]:
        """List what the attackers of the fronts attack; without a search all finished points."""
        if self._targets is None:
            self._targets = targets(self._study, self._validated.values(), self._proposers)
        return self._targets

    def certain_targets(self, unfinished: Iterable[PointPlan]) -> list[Point]:
        """List the targets that stay targets whatever these points become, if no other is proposed."""
        bounds = defaultdict(list)
        for plan in unfinished:
            bounds[self._group(plan.point)].append(self.early_stopping.least_losses(plan))
        return [point for point in self.targets() if not self._may_be_beaten(point, bounds[self._group(point)])]

    def _may_be_beaten(self, point: Point, bounds: Sequence[NDArray[np.float64]]) -> bool:
        """Tell whether a point of a searched defense is dominated by the least that others can come to."""
        if point.defense not in self._proposers or not bounds:
            return False
        losses = as_losses([self._validated[point.number][1]], self._study.objectives)
        return bool(dominating(np.array(bounds), losses).any())

    def _group(self, point: Point) -> str:
        return group_of(self._study, point.defense)

    def expected_targets(self, points: Mapping[str, int]) -> dict[str, float]:
        """Estimate how many points the attackers of the fronts will attack.

        Of searched defenses these are the members of a front, which grows about as the logarithm of its points.
        What a joint front is still to get is shared out by the points of each defense.

        Args:
            points: how many there will be, ≥ 1, by defense.
        """
        members = Counter(point.defense for point in self.targets())
        groups = defaultdict(list)
        for defense in self._proposers.keys() & points.keys():
            groups[group_of(self._study, defense)].append(defense)
        expected: dict[str, float] = dict(points)
        for group in groups.values():
            of_all, known = (sum(of[defense] for defense in group) for of in (points, members))
            ended = min(of_all, max(1, sum(self._ended[defense] for defense in group)))
            more = min(of_all, max(1, known) * (1 + math.log(of_all / ended))) - known
            expected |= {defense: members[defense] + more * points[defense] / of_all for defense in group}
        return expected

    # --- attacks on fronts --------------------------------------------------------------------------------

    def finish_attack(self, plan: PointPlan) -> None:
        """Write what the attackers of the fronts reach at a point: every task of their plan is done."""
        figures = front_figures(plan, self._records.metrics)
        assert figures is not None, "every evaluation of an attacked point is done"
        tasks = self._records.done_of(plan)
        self._write_attack(plan.point, Outcome(self._front_digest, figures=figures, tasks=tasks))
        self._records.forget(plan)

    def fail_attack(self, point: Point, task: Task, reason: str) -> None:
        """Write that a task of the attackers of the fronts failed; the point stays finished."""
        reason = f"attackers of the fronts: {reason}"
        self.failures[point.number] = reason
        self._write_attack(point, Outcome(self._front_digest, reason=reason, task=task.key))

    def _write_attack(self, point: Point, attack: Outcome) -> None:
        if self._ledger.front_attacks.get(point.number) != attack:
            self._writer.attacked(point.number, attack)
