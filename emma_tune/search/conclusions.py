"""Conclude points: finished, dominated or failed. The ledger hears of it first, then Optuna."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from emma_tune.plan import GROUNDWORK, Planner, Point, PointPlan, Task
from emma_tune.results.dominance import Rivals, targets
from emma_tune.results.figures import Figures, best_possible, expected, front_figures, point_figures
from emma_tune.results.ledger import Done, Ledger, Outcome
from emma_tune.search.curves import Curves
from emma_tune.search.fronts import Fronts
from emma_tune.search.proposals import Proposer
from emma_tune.stages import STAGES
from emma_tune.storage.artifact import Metrics
from emma_tune.storage.store import Record
from emma_tune.study.measures import measure


class Writer(Protocol):
    """What is needed of a `LedgerWriter`."""

    def asked(self, point: Point, sampler: Mapping[str, Any]) -> None:
        """A point was proposed."""

    def concluded(self, number: int, outcome: Outcome) -> None:
        """A point is finished or dominated."""

    def failed(self, number: int, *, plan: str, reason: str, task: str) -> None:
        """A point cannot be finished."""

    def attacked(self, number: int, verdict: Outcome) -> None:
        """The attackers of the fronts are through with a point."""


class Heard(NamedTuple):
    """How far a clone under way is, as its trial last reported.

    Attributes:
        best: its best validation accuracy so far.
        epochs: figures of the epochs it has trained, from the first, as far as they were reported.
    """

    best: float
    epochs: Sequence[Mapping[str, float]]


class _Known(NamedTuple):
    """Of a finished task what conclusions need.

    Attributes:
        done: what the ledger remembers of it.
        metrics: where they are measures of a point; else empty.
        curve: of a clone the best validation accuracy up to each epoch; else empty.
    """

    done: Done
    metrics: Metrics
    curve: tuple[float, ...]


class _Hope(NamedTuple):
    """What an open point can still come to at best; `losses` (D,) is the same as values to minimise."""

    plan: PointPlan
    bounds: Figures
    losses: NDArray[np.float64]


"""Stages whose metrics are measures of a point."""


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
        dominated: how many points were stopped because nothing could bring them to a front.
        failed: how many points are.
        failures: points that failed, or that an attacker of the fronts failed to attack, with the reason.
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
        self._study = planner.study
        self._verdict_digest = planner.verdict_digest
        self._rivals = Rivals(planner.study)
        self._validated: list[tuple[Point, Mapping[str, Any]]] = []
        self._ended: Counter[str] = Counter()
        self._curves = Curves()
        self._arrivals = 0
        self.fronts = Fronts(planner.study)
        self._hopes: dict[int, _Hope] = {}
        self._known: dict[str, _Known] = {}
        self.finished = 0
        self.paused = 0
        self.dominated = 0
        self.failed = 0
        self.failures: dict[int, str] = {}

    @property
    def drawn(self) -> int:
        """How many points nothing more is to be done for, but perhaps by the attackers of the fronts."""
        return self.finished + self.paused + self.dominated + self.failed

    def finish(self, plan: PointPlan) -> None:
        """Every task of a point is done."""
        figures = point_figures(plan, self._metrics)
        assert figures is not None, "every evaluation of a finished point is done"
        point, validated = plan.point, figures["validation"]
        self._write(point, Outcome(self._digest, figures=figures, tasks=self._done_tasks(plan)))
        self._remember_curves(plan)
        self._forget(plan)
        self.finished += 1
        self.fronts.add(point, figures)
        self._rivals.add(point, validated)
        self._validated.append((point, validated))
        self._ended[point.defense] += 1
        self._tell(point, validated)

    def judge(self, plan: PointPlan) -> None:
        """Conclude what the attackers of the fronts reach at a point: every task of their plan is done."""
        figures = front_figures(plan, self._metrics)
        assert figures is not None, "every evaluation of an attacked point is done"
        self._judged(plan.point, Outcome(self._verdict_digest, figures=figures, tasks=self._done_tasks(plan)))
        self._forget(plan)

    def fail_to_judge(self, point: Point, task: Task, reason: str) -> None:
        """Conclude that a task of the attackers of the fronts failed; the point stays finished."""
        reason = f"attackers of the fronts: {reason}"
        self.failures[point.number] = reason
        self._judged(point, Outcome(self._verdict_digest, reason=reason, task=task.key))

    def _judged(self, point: Point, verdict: Outcome) -> None:
        if self._ledger.verdicts.get(point.number) != verdict:
            self._writer.attacked(point.number, verdict)

    def targets(self) -> list[Point]:
        """List what the attackers of the fronts attack; without a search all finished points."""
        return targets(self._study, self._validated, self._proposers)

    def expected_targets(self, defense: str, points: int) -> float:
        """Estimate how many points of a defense the attackers of the fronts will attack.

        Of one that is searched the members of its front, which grows about as the logarithm of its points.

        Args:
            defense: of the points.
            points: how many there will be, ≥ 1.
        """
        if defense not in self._proposers:
            return points
        members = sum(member.point.defense == defense for member in self.fronts.members())
        ended = min(points, max(1, self._ended[defense]))
        return min(points, max(1, members) * (1 + math.log(points / ended)))

    def pause(self, point: Point) -> None:
        """A point came as far as this run was to go. Optuna learns of one that an earlier run has finished."""
        self.paused += 1
        outcome = self._ledger.outcomes.get(point.number)
        if outcome is not None and outcome.plan == self._digest and outcome.figures:
            self._tell(point, outcome.figures["validation"])

    def fail(self, point: Point, task: Task, reason: str) -> None:
        """A point cannot be finished, because a task failed."""
        self._hopes.pop(point.number, None)
        self.failed += 1
        self.failures[point.number] = reason
        if point != GROUNDWORK:
            self._writer.failed(point.number, plan=self._digest, reason=reason, task=task.key)
            if point.defense in self._proposers:
                self._proposers[point.defense].fail(point)

    def leave_dominated(self, changed: Sequence[PointPlan], heard: Mapping[str, Heard]) -> list[Point]:
        """Stop the open points that nothing can bring to a front any more.

        Baselines that are not searched are never stopped: people look at them whether or not they are on a front.
        What a point can come to at best is worked out only when something was heard of it, and compared with the
        rivals only then and when one joined them.

        Args:
            changed: the open points that may have other bounds than at the last call, in their order.
            heard: of clones under way, by the key of their task.

        Returns:
            The points that were left.
        """
        if self._study.search.stop == "none":
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
        defenses = [self._hopes[number].plan.point.defense for number in suspects]
        lost = self._rivals.beat(defenses, rows)
        beaten = [number for number, out in zip(suspects, lost, strict=True) if out]
        return [self._leave(self._hopes.pop(number), heard) for number in beaten]

    def _reached(self, plan: PointPlan, heard: Mapping[str, Heard]) -> dict[str, float]:
        return {task.key: heard[task.key].best for task in plan.attackers.values() if task.key in heard}

    def _leave(self, hope: _Hope, heard: Mapping[str, Heard]) -> Point:
        plan, bounds = hope.plan, hope.bounds
        curves: dict[str, Sequence[Mapping[str, float]]] = {}
        left_out = 0
        for task in plan.attackers.values():
            if self.done_of(task) is None:
                if task.key in heard:
                    curves[task.key] = heard[task.key].epochs
                left_out += round(task.config.epochs()[0]) - len(curves.get(task.key, ()))
        outcome = Outcome(
            self._digest,
            bounds=bounds,
            by=self._rivals.beaten_by(plan.point.defense, bounds["validation"]),
            estimate=self._estimate(plan, heard),
            curves=curves,
            left_out=left_out,
            tasks=self._done_tasks(plan),
        )
        self._write(plan.point, outcome)
        self._forget(plan)
        self._tell_stopped(plan.point, outcome)
        return plan.point

    def _estimate(self, plan: PointPlan, heard: Mapping[str, Heard]) -> dict[str, Any] | None:
        """Estimate the validation figures that a stopped point would have come to; None if too little is known."""
        forecast = {}
        for (_, name), task in plan.attackers.items():
            if task.key in heard:
                best, epochs = heard[task.key]
                forecast[task.key] = self._curves.forecast(plan.point.defense, name, best, len(epochs))
        figures = expected(plan, self._metrics, forecast)
        of_clones = any(measure(name).of_clones for name in self._study.objectives)
        return None if figures is None or (of_clones and "attackers" not in figures) else figures

    def _remember_curves(self, plan: PointPlan) -> None:
        for (_, name), task in plan.attackers.items():
            known = self._known_of(task)
            if known and known.curve:
                self._curves.add(plan.point.defense, name, known.curve)

    def was_left(self, point: Point) -> bool:
        """Whether an earlier run left a point under the study as it is now."""
        outcome = self._ledger.outcomes.get(point.number)
        return outcome is not None and outcome.plan == self._digest and outcome.bounds is not None

    def leave_again(self, point: Point) -> bool:
        """Stop a point as an earlier run did, if it still holds: limits, objectives and rivals may have changed.

        Returns:
            Whether the point was stopped.
        """
        outcome = self._ledger.outcomes[point.number]
        assert outcome.bounds is not None, "the point was stopped"
        if self._rivals.beaten_by(point.defense, outcome.bounds["validation"]) is None:
            return False
        self._tell_stopped(point, outcome)
        return True

    def _tell_stopped(self, point: Point, outcome: Outcome) -> None:
        self.dominated += 1
        self._ended[point.defense] += 1
        if outcome.estimate is not None:  # without one, of an earlier version, Optuna knows nothing of the point
            self._tell(point, outcome.estimate, stopped=True)

    def _tell(self, point: Point, figures: Mapping[str, Any], *, stopped: bool = False) -> None:
        """Tell Optuna of a point of a defense that is searched."""
        if point.defense in self._proposers:
            memory = self._ledger.sampler.get(point.number, {})
            self._proposers[point.defense].conclude(point, figures, memory, stopped=stopped)

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
            best = [row.get("best.validation.accuracy") for row in record.history]
            curve = tuple(value for value in best if value is not None)
            self._known[task.key] = _Known(done, record.metrics if STAGES[task.stage].measures else {}, curve)
        return self._known[task.key]

    def _forget(self, plan: PointPlan) -> None:
        """Nobody but a concluded point asks for its own tasks; what points share is kept."""
        self._hopes.pop(plan.point.number, None)
        for key, task in plan.tasks.items():
            if not STAGES[task.stage].shared:  # few points share them
                self._known.pop(key, None)
