"""What is concluded of points: finished, dominated or failed. The ledger hears of it first, then Optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emma_tune.artifact import Metrics
from emma_tune.dominance import Rivals
from emma_tune.figures import Figures, best_possible, point_figures
from emma_tune.ledger import Done, Ledger, Outcome
from emma_tune.plan import GROUNDWORK, Planner, Point, PointPlan, Task
from emma_tune.stages.settings import AttackerSettings
from emma_tune.store import Record
from emma_tune.tuning.search.fronts import Fronts
from emma_tune.tuning.search.proposals import Proposer


class Writer(Protocol):
    """What is needed of a `LedgerWriter`."""

    def asked(self, point: Point, sampler: Mapping[str, Any]) -> None:
        """A point was proposed."""

    def concluded(self, number: int, outcome: Outcome) -> None:
        """A point is finished or dominated."""

    def failed(self, number: int, *, plan: str, reason: str, task: str) -> None:
        """A point cannot be finished."""


class Heard(NamedTuple):
    """How far a clone under way is, as its trial last reported.

    Attributes:
        best: its best validation accuracy so far.
        epoch: epochs it has trained.
    """

    best: float
    epoch: int


class _Known(NamedTuple):
    """Of a finished task what conclusions need: its metrics only where they are measures of a point."""

    done: Done
    metrics: Metrics


class _Hope(NamedTuple):
    """What an open point can still come to at best; `losses` (D,) is the same as values to minimise."""

    plan: PointPlan
    bounds: Figures
    losses: NDArray[np.float64]


MEASURING = ("responses", "evaluation")
"""Stages whose metrics are measures of a point."""

OF_A_POINT = ("matrix", "responses", "attacker", "evaluation")
"""Stages that few points share: what is known of their tasks is read again rather than kept for all time."""


class Conclusions:
    """Draws them, and keeps count.

    Args:
        planner: of the study.
        ledger: the study's points so far.
        writer: appends to it.
        proposers: Optuna's side, by defence.
        record_of: the record of a task, None while it is not finished.

    Attributes:
        finished: how many points are.
        paused: how many came as far as this run was to go.
        dominated: how many points were left because nothing could bring them to the front.
        failures: points that failed, with the reason.
        fronts: of the searched defenses so far.
    """

    def __init__(
        self,
        planner: Planner,
        ledger: Ledger,
        writer: Writer,
        proposers: Mapping[str, Proposer],
        record_of: Callable[[Task], Record | None],
    ) -> None:
        self._digest = planner.digest
        self._ledger = ledger
        self._writer = writer
        self._proposers = proposers
        self._record_of = record_of
        self._rivals = Rivals(planner.study)
        self._stop = planner.study.search.stop_dominated
        self._arrivals = 0
        self.fronts = Fronts(planner.study)
        self._hopes: dict[int, _Hope] = {}
        self._known: dict[str, _Known] = {}
        self.finished = 0
        self.paused = 0
        self.dominated = 0
        self.failures: dict[int, str] = {}

    @property
    def drawn(self) -> int:
        """Points that nothing more is to be done for."""
        return self.finished + self.paused + self.dominated + len(self.failures)

    def finish(self, plan: PointPlan) -> None:
        """Every task of a point is done."""
        figures = point_figures(plan, self._metrics)
        assert figures is not None, "every evaluation of a finished point is done"
        self._write(plan.point, Outcome(self._digest, figures=figures, tasks=self._done_tasks(plan)))
        self._forget(plan)
        self.finished += 1
        self.fronts.add(plan.point, figures)
        self._rivals.add(plan.point.number, figures["validation"])
        self._tell(plan.point, figures["validation"])

    def pause(self, point: Point) -> None:
        """A point came as far as this run was to go. Optuna learns of one that an earlier run has finished."""
        self.paused += 1
        outcome = self._ledger.outcomes.get(point.number)
        if outcome is not None and outcome.plan == self._digest and outcome.figures:
            self._tell(point, outcome.figures["validation"])

    def fail(self, point: Point, task: Task, reason: str) -> None:
        """A point cannot be finished, because a task failed."""
        self._hopes.pop(point.number, None)
        self.failures[point.number] = reason
        if point != GROUNDWORK:
            self._writer.failed(point.number, plan=self._digest, reason=reason, task=task.key)
            if point.defense in self._proposers:
                self._proposers[point.defense].fail(point)

    def leave_dominated(self, changed: Sequence[PointPlan], heard: Mapping[str, Heard]) -> list[Point]:
        """Leaves the open points that nothing can bring to the front any more.

        Points that nobody searched for are never left: people look at them whether or not they are on the front.
        But they beat others. What a point can come to at best is worked out only when something was heard of it,
        and held against the others' figures only then and when somebody joined those who may beat it.

        Args:
            changed: the open points that may have other bounds than at the last call, in their order.
            heard: of clones under way, by the key of their task.

        Returns:
            The points that were left.
        """
        if not self._stop:
            return []
        suspects = [plan.point.number for plan in changed if plan.point.defense in self._proposers]
        for plan in changed:
            if plan.point.defense in self._proposers:
                bounds = best_possible(plan, self._metrics, self._reached(plan, heard))
                self._hopes[plan.point.number] = _Hope(plan, bounds, self._rivals.losses_of(bounds["validation"]))
        if self._rivals.arrivals != self._arrivals:
            self._arrivals, suspects = self._rivals.arrivals, list(self._hopes)
        if not suspects:
            return []
        rows = np.array([self._hopes[number].losses for number in suspects])
        beaten = [number for number, lost in zip(suspects, self._rivals.beat(rows), strict=True) if lost]
        return [self._leave(self._hopes.pop(number), heard) for number in beaten]

    def _reached(self, plan: PointPlan, heard: Mapping[str, Heard]) -> dict[str, float]:
        return {task.key: heard[task.key].best for task in plan.attackers.values() if task.key in heard}

    def _leave(self, hope: _Hope, heard: Mapping[str, Heard]) -> Point:
        plan, bounds = hope.plan, hope.bounds
        by = self._rivals.beaten_by(bounds["validation"])
        left_out = 0
        for task in plan.attackers.values():
            if self.done_of(task) is None:
                assert isinstance(task.config, AttackerSettings)
                trained = heard[task.key].epoch if task.key in heard else 0
                left_out += task.config.training.epochs - trained
        tasks = self._done_tasks(plan)
        self._write(plan.point, Outcome(self._digest, bounds=bounds, by=by, left_out=left_out, tasks=tasks))
        self._forget(plan)
        self._tell_dominated(plan.point, bounds)
        return plan.point

    def was_left(self, point: Point) -> bool:
        """Whether an earlier run left a point under the study as it is now."""
        outcome = self._ledger.outcomes.get(point.number)
        return outcome is not None and outcome.plan == self._digest and outcome.bounds is not None

    def leave_again(self, point: Point) -> bool:
        """Leaves a point as an earlier run did, if it still holds: limits, objectives and rivals may have changed.

        Returns:
            Whether the point was left.
        """
        bounds = self._ledger.outcomes[point.number].bounds
        assert bounds is not None, "the point was left"
        if self._rivals.beaten_by(bounds["validation"]) is None:
            return False
        self._tell_dominated(point, bounds)
        return True

    def _tell_dominated(self, point: Point, bounds: Mapping[str, Any]) -> None:
        self.dominated += 1
        self._tell(point, bounds["validation"], bounds=True)

    def _tell(self, point: Point, figures: Mapping[str, Any], *, bounds: bool = False) -> None:
        """Optuna hears of a point of a defence that is searched."""
        if point.defense in self._proposers:
            memory = self._ledger.sampler.get(point.number, {})
            self._proposers[point.defense].conclude(point, figures, memory, bounds=bounds)

    def _write(self, point: Point, outcome: Outcome) -> None:
        if self._ledger.outcomes.get(point.number) != outcome:  # else an earlier run has written the same
            self._writer.concluded(point.number, outcome)

    # --- records ------------------------------------------------------------------------------------------

    def _metrics(self, task: Task) -> Metrics | None:
        known = self._known_of(task)
        return known.metrics if known else None

    def done_of(self, task: Task) -> Done | None:
        """What is remembered of a task; None while it is not finished."""
        known = self._known_of(task)
        return known.done if known else None

    def _done_tasks(self, plan: PointPlan) -> dict[str, Done]:
        """What a conclusion remembers of the finished tasks of a point."""
        done = {key: self.done_of(task) for key, task in plan.tasks.items()}
        return {key: of_task for key, of_task in done.items() if of_task is not None}

    def _known_of(self, task: Task) -> _Known | None:
        """What conclusions need of a record, which is read once; None while the task is not finished."""
        if task.key not in self._known:
            record = self._record_of(task)
            if record is None:
                return None
            made = record.provenance
            done = Done(task.stage, made["run"], made["seconds"], len(record.history))
            self._known[task.key] = _Known(done, record.metrics if task.stage in MEASURING else {})
        return self._known[task.key]

    def _forget(self, plan: PointPlan) -> None:
        """Nobody but a concluded point asks for its own tasks; what points share is kept."""
        self._hopes.pop(plan.point.number, None)
        for key, task in plan.tasks.items():
            if task.stage in OF_A_POINT:
                self._known.pop(key, None)
