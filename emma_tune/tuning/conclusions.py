"""What is concluded of points: finished, dominated or failed. The ledger hears of it first, then Optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from emma_tune.artifact import Metrics
from emma_tune.dominance import Rivals
from emma_tune.figures import best_possible, point_figures
from emma_tune.ledger import Done, Ledger, LedgerWriter, Outcome
from emma_tune.plan import GROUNDWORK, Planner, Point, PointPlan, Task
from emma_tune.stages.settings import AttackerSettings
from emma_tune.store import Record
from emma_tune.tuning.proposals import Proposer


class Heard(NamedTuple):
    """How far a clone under way is, as its trial last reported.

    Attributes:
        best: its best validation accuracy so far.
        epoch: epochs it has trained.
    """

    best: float
    epoch: int


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
    """

    def __init__(
        self,
        planner: Planner,
        ledger: Ledger,
        writer: LedgerWriter,
        proposers: Mapping[str, Proposer],
        record_of: Callable[[Task], Record | None],
    ) -> None:
        self._digest = planner.digest
        self._ledger = ledger
        self._writer = writer
        self._proposers = proposers
        self._record_of = record_of
        self._rivals = Rivals(planner.study)
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
        self.finished += 1
        self._rivals.add(plan.point.number, figures["validation"])
        self._tell(plan.point, figures["validation"])

    def pause(self) -> None:
        """A point came as far as this run was to go."""
        self.paused += 1

    def fail(self, point: Point, task: Task, reason: str) -> None:
        """A point cannot be finished, because a task failed."""
        self.failures[point.number] = reason
        if point != GROUNDWORK:
            self._writer.failed(point.number, plan=self._digest, reason=reason, task=task.key)
            if point.defense in self._proposers:
                self._proposers[point.defense].fail(point)

    def leave_if_dominated(self, plan: PointPlan, heard: Mapping[str, Heard]) -> bool:
        """Leaves an open point if nothing can bring it to the front any more.

        Points that nobody searched for are never left: people look at them whether or not they are on the front.
        But they beat others.

        Args:
            plan: the point's tasks.
            heard: of clones under way, by the key of their task.

        Returns:
            Whether the point was left.
        """
        if plan.point.defense not in self._proposers:
            return False
        under_way = {task.key: heard[task.key] for task in plan.attackers.values() if task.key in heard}
        bounds = best_possible(plan, self._metrics, {key: clone.best for key, clone in under_way.items()})
        by = self._rivals.beaten_by(bounds["validation"])
        if by is None:
            return False
        left_out = 0
        for task in plan.attackers.values():
            if self._record_of(task) is None:
                assert isinstance(task.config, AttackerSettings)
                trained = under_way[task.key].epoch if task.key in under_way else 0
                left_out += task.config.training.epochs - trained
        tasks = self._done_tasks(plan)
        self._write(plan.point, Outcome(self._digest, bounds=bounds, by=by, left_out=left_out, tasks=tasks))
        self._tell_dominated(plan.point, bounds)
        return True

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

    def _metrics(self, task: Task) -> Metrics | None:
        record = self._record_of(task)
        return record.metrics if record else None

    def _done_tasks(self, plan: PointPlan) -> dict[str, Done]:
        """What a conclusion remembers of the finished tasks of a point."""
        records = {key: self._record_of(task) for key, task in plan.tasks.items()}
        return {
            key: Done(
                plan.tasks[key].stage, record.provenance["run"], record.provenance["seconds"], len(record.history)
            )
            for key, record in records.items()
            if record is not None
        }
