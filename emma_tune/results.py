"""Reading a study: store, ledger and plan together, as tables. Never writes, and needs no Ray.

The same files are read whether the study is running, finished or interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from emma_tune.artifact import Metrics
from emma_tune.config import SEARCHED, Study
from emma_tune.ledger import Ledger, read_ledger
from emma_tune.pareto import as_losses, hypervolume, nondominated
from emma_tune.plan import Planner, Point, PointPlan, Task
from emma_tune.stages import STAGES
from emma_tune.store import CorruptArtifactError, Store
from emma_tune.study_folder import StudyFolder

if TYPE_CHECKING:
    import pandas as pd

Figures = dict[str, dict[str, Any]]
"""Measures of a point by part, `validation` and `test`."""


def point_figures(plan: PointPlan, metrics_of: Callable[[Task], Metrics | None]) -> Figures | None:
    """A point's measures: the mean over seeds; for the thieves, of the best epoch by validation accuracy.

    Args:
        plan: the point's tasks.
        metrics_of: metrics of an evaluation task, None while it is not finished.

    Returns:
        For each part `l1`, `l1_queries`, `victim_accuracy`, `accuracy_drop`, `flip_rate`, `attackers` (clone
        accuracy by name) and `attacker_accuracy` (the worst case: per seed the maximum over attackers, then the
        mean); None while an evaluation is missing.
    """
    evaluations: dict[int, dict[str, Metrics]] = {}
    for (seed, attacker), task in plan.evaluations.items():
        metrics = metrics_of(task)
        if metrics is None:
            return None
        evaluations.setdefault(seed, {})[attacker] = metrics
    return {part: _part_figures(part, evaluations) for part in ("validation", "test")}


def _part_figures(part: str, evaluations: Mapping[int, Mapping[str, Metrics]]) -> dict[str, Any]:
    one_per_seed = [next(iter(of_seed.values())) for of_seed in evaluations.values()]
    clone = f"{part}.clone_accuracy.best"
    names = next(iter(evaluations.values()))
    return {
        **{
            name: fmean(metrics[f"{part}.{name}"] for metrics in one_per_seed)
            for name in ("l1", "victim_accuracy", "accuracy_drop", "flip_rate")
        },
        "l1_queries": fmean(metrics["queries.l1"] for metrics in one_per_seed),
        "attacker_accuracy": fmean(
            max(metrics[clone] for metrics in of_seed.values()) for of_seed in evaluations.values()
        ),
        "attackers": {name: fmean(of_seed[name][clone] for of_seed in evaluations.values()) for name in names},
    }


class StudyView:
    """A study as it lies on disk.

    Args:
        folder: of the study.

    Raises:
        StudyError: if it is not the folder of a study.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = StudyFolder(folder)
        started = self.folder.read()
        self.study: Study = started.study
        self.store = Store(started.store)
        self.planner = Planner(started.study, started.images)
        self.ledger: Ledger = read_ledger(self.folder.ledger)
        self.problems: list[str] = list(self.ledger.problems)
        self._digest = self.planner.digest

    def figures(self, point: Point) -> Figures | None:
        """Measures of a point under the study as it is now; None while it is unfinished or if it failed."""
        outcome = self.ledger.outcomes.get(point.number)
        if outcome and outcome.plan == self._digest:
            return dict(outcome.figures) if outcome.figures else None
        return point_figures(self.planner.point(point), self._metrics)

    def reason(self, point: Point) -> str | None:
        """Why a point failed; None if it did not."""
        outcome = self.ledger.outcomes.get(point.number)
        return outcome.reason if outcome and outcome.plan == self._digest else None

    def _metrics(self, task: Task) -> Metrics | None:
        record = self._record(task)
        return record.metrics if record else None

    def _record(self, task: Task) -> Any:
        try:
            return self.store.record(task.stage, task.key)
        except CorruptArtifactError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    # --- points -------------------------------------------------------------------------------------------

    def points(self) -> pd.DataFrame:
        """One row a point of the ledger.

        Columns: `point`, `defense`, `state` (finished, failed, unfinished), `reason`, `lambda`, `lr_gamma`,
        `st_epoch`, `within_limits`, `on_front`, and every measure of test (plain name) and validation
        (`validation.` + name); clone accuracies as `attackers.NAME`.
        """
        import pandas as pd

        on_front = {row["point"] for row in self.front()["points"]}
        rows = []
        for point in self.ledger.points.values():
            figures, reason = self.figures(point), self.reason(point)
            row: dict[str, Any] = {
                "point": point.number,
                "defense": point.defense,
                "state": "finished" if figures else "failed" if reason else "unfinished",
                "reason": reason,
                **{name: point.params.get(name) for name in ("lambda", "lr_gamma", "st_epoch")},
                "within_limits": bool(figures and self.within_limits(figures["validation"])),
                "on_front": point.number in on_front,
            }
            for part, prefix in (("test", ""), ("validation", "validation.")):
                for name, value in (figures or {}).get(part, {}).items():
                    if name == "attackers":
                        row |= {f"{prefix}attackers.{thief}": a for thief, a in value.items()}
                    else:
                        row[prefix + name] = value
            rows.append(row)
        return pd.DataFrame(rows)

    def within_limits(self, figures: Mapping[str, Any]) -> bool:
        """Whether a point may be on the front."""
        limit = self.study.limits.accuracy_drop
        return limit is None or figures["accuracy_drop"] <= limit

    def front(self) -> dict[str, Any]:
        """The front: membership by validation figures, shown with test figures.

        Returns:
            `study`, `objectives`, `hypervolume` (of the test figures shown), `hypervolume_validation`, and
            `points` in order of the first objective.
        """
        finished = [(point, self.figures(point)) for point in self.ledger.points.values()]
        feasible = [
            (point, figures)
            for point, figures in finished
            if figures and self.within_limits(figures["validation"])
        ]
        objectives = self.study.objectives
        kept = nondominated(as_losses([figures["validation"] for _, figures in feasible], objectives))
        members = [member for member, keep in zip(feasible, kept, strict=True) if keep]
        first = next(iter(objectives))
        members.sort(key=lambda member: (member[1]["test"][first], member[0].number))
        shown = (
            "l1",
            "victim_accuracy",
            "accuracy_drop",
            "attacker_accuracy",
            "attackers",
            "l1_queries",
            "flip_rate",
        )
        return {
            "study": self.study.name,
            "objectives": dict(objectives),
            "hypervolume": hypervolume([figures["test"] for _, figures in members], objectives),
            "hypervolume_validation": hypervolume([figures["validation"] for _, figures in members], objectives),
            "points": [
                {
                    "point": point.number,
                    "params": dict(point.params),
                    "defense": point.defense,
                    **{name: figures["test"][name] for name in shown},
                    "validation": {name: figures["validation"][name] for name in shown},
                }
                for point, figures in members
            ],
        }

    # --- status -------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How far the study is.

        Returns:
            `study`, `state` (running, finished, interrupted), `driver`, `points` (asked, finished, failed,
            running), `tasks` by stage (done, reused: of those, made by another run than the last, running,
            failed), `seconds` by stage, `failures` (point, reason), `problems`.
        """
        tasks = self._planned_tasks()
        progress = self.folder.progress()
        running = {entry["key"] for entry in progress.get("tasks", ())}
        outcomes = {
            number: outcome for number, outcome in self.ledger.outcomes.items() if outcome.plan == self._digest
        }
        failed_tasks = {outcome.task for outcome in outcomes.values() if outcome.reason}
        run = self.ledger.runs[-1] if self.ledger.runs else None
        by_stage = {stage: {"done": 0, "reused": 0, "running": 0, "failed": 0} for stage in STAGES}
        seconds = dict.fromkeys(STAGES, 0.0)
        for task in tasks.values():
            count = by_stage[task.stage]
            record = self._record(task)
            if record:
                count["done"] += 1
                count["reused"] += record.provenance.get("run") != run
                seconds[task.stage] += record.provenance.get("seconds", 0.0)
            elif task.key in running:
                count["running"] += 1
            elif task.key in failed_tasks:
                count["failed"] += 1
        states = [self._point_state(point) for point in self.ledger.points.values()]
        unfinished = states.count("unfinished")
        driver = self.folder.driver()
        searched = sum(point.defense == SEARCHED for point in self.ledger.points.values())
        complete = unfinished == 0 and len(states) > 0 and searched >= self.study.search.points
        return {
            "study": self.study.name,
            "state": "running" if driver else "finished" if complete else "interrupted",
            "driver": driver,
            "points": {
                "asked": len(states),
                "finished": states.count("finished"),
                "failed": states.count("failed"),
                "running": unfinished if driver else 0,
            },
            "tasks": by_stage,
            "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
            "failures": [
                {"point": point.number, "reason": self.reason(point)}
                for point in self.ledger.points.values()
                if self.reason(point)
            ],
            "problems": self.problems,
        }

    def _point_state(self, point: Point) -> str:
        if self.figures(point):
            return "finished"
        return "failed" if self.reason(point) else "unfinished"

    def _planned_tasks(self) -> dict[str, Task]:
        """Every task of every point, each once."""
        tasks: dict[str, Task] = {}
        for point in self.ledger.points.values():
            tasks |= self.planner.point(point).tasks
        return tasks
