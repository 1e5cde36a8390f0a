"""A study as it lies on disk: how its points stand, its front, and what its stages have left.

The same files are read whether the study is running, finished or interrupted.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emma_tune.artifact import Artifact, Metrics
from emma_tune.attacks import ATTACKS
from emma_tune.config import Study
from emma_tune.dominance import Rivals
from emma_tune.figures import Figures, against, point_figures
from emma_tune.ledger import Ledger, Outcome, read_ledger
from emma_tune.pareto import as_losses, hypervolume, nondominated
from emma_tune.plan import Planner, Point, Task
from emma_tune.results import tables
from emma_tune.storage import IMPATIENT, Patience, Place
from emma_tune.store import CorruptArtifactError, Record, Store
from emma_tune.study_file import StudyError
from emma_tune.study_folder import StudyFolder

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (
    "l1",
    "victim_accuracy",
    "accuracy_drop",
    "attacker_accuracy",
    "attackers",
    "l1_queries",
    "flip_rate",
)
"""Measures of a point on a front."""


class StudyView:
    """A study as it lies on disk.

    Args:
        folder: of the study.
        patience: how long a call of its storage is tried again that fails for the moment.

    Raises:
        StudyError: if it is not the folder of a study.
    """

    def __init__(self, folder: Place, patience: Patience = IMPATIENT) -> None:
        self.folder = StudyFolder(folder, patience)
        started = self.folder.read()
        self.study: Study = started.study
        self.given = started.given
        self.store = Store(started.store, patience=patience)
        self.planner = Planner(started.study, started.images, started.weights)
        self.ledger: Ledger = read_ledger(self.folder.ledger, patience)
        self.problems: list[str] = list(self.ledger.problems)
        self._digest = self.planner.digest

    @cached_property
    def outcomes(self) -> dict[int, Outcome]:
        """How points ended under the study as it is now; unfinished ones are not in it."""
        current = {n: outcome for n, outcome in self.ledger.outcomes.items() if outcome.plan == self._digest}
        finished = {n: outcome.figures["validation"] for n, outcome in current.items() if outcome.figures}
        rivals = Rivals(self.study, finished)
        for number, outcome in list(current.items()):
            if outcome.bounds is not None:
                by = rivals.beaten_by(outcome.bounds["validation"])
                if by is None:  # a point is dominated only as long as somebody dominates it
                    del current[number]
                else:
                    current[number] = replace(outcome, by=by)
        return current

    def figures(self, point: Point) -> Figures | None:
        """Measures of a point under the study as it is now; None if it is unfinished, dominated or failed."""
        outcome = self.outcomes.get(point.number)
        if outcome:
            return dict(outcome.figures) if outcome.figures else None
        return point_figures(self.planner.point(point), self._metrics)

    def state(self, point: Point) -> str:
        """finished, dominated, failed or unfinished."""
        outcome = self.outcomes.get(point.number)
        if outcome is None:
            return "finished" if self.figures(point) else "unfinished"
        return "finished" if outcome.figures else "failed" if outcome.reason else "dominated"

    def _metrics(self, task: Task) -> Metrics | None:
        record = self.record(task)
        return record.metrics if record else None

    def record(self, task: Task) -> Record | None:
        """The record of a task; None while it is not finished. A damaged one is noted among the problems."""
        try:
            return self.store.record(task.stage, task.key)
        except CorruptArtifactError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    # --- tables -------------------------------------------------------------------------------------------

    def points(self) -> pd.DataFrame:
        """One row a point, as `tables.points` says."""
        return tables.points(self)

    def tasks(self) -> pd.DataFrame:
        """One row a finished task, as `tables.tasks` says."""
        return tables.tasks(self)

    def curves(self) -> pd.DataFrame:
        """One row an epoch, as `tables.curves` says."""
        return tables.curves(self)

    def artifact(
        self, point: int, stage: str, *, seed: int | None = None, attacker: str | None = None
    ) -> Artifact:
        """What a stage left for a point: tensors, metrics, history.

        Args:
            point: its number.
            stage: one that the point has; of several legs of a surrogate the last.
            seed: of the victim; the study's first if None. Of several repeats the first.
            attacker: whose, of the stages attacker and evaluation; the study's first if None.

        Raises:
            StudyError: if there is no such point, seed, stage or attacker, or nothing finished.
        """
        task = self._task(point, stage, seed, attacker)
        try:
            return self.store.fetch(task.stage, task.key)
        except (FileNotFoundError, CorruptArtifactError) as error:
            raise StudyError(
                f"{self.folder.root}: expected a finished {stage} of point {point}, found none; run the study"
            ) from error

    def _task(self, number: int, stage: str, seed: int | None, attacker: str | None) -> Task:
        """The task of a stage of a point."""
        where = self.folder.root
        point = self.ledger.points.get(number)
        if point is None:
            raise StudyError(f"{where}: expected a point of the study, found no point {number}")
        run = next((run for run, victim in self.planner.runs.items() if seed in (None, victim)), None)
        if run is None:
            raise StudyError(f"{where}: expected a seed of the study, {self.study.seeds}, found {seed}")
        plan = self.planner.point(point)
        if stage in ("attacker", "evaluation"):
            of_stage = plan.attackers if stage == "attacker" else plan.evaluations
            names = [name for of, name in of_stage if of == run]
            if attacker not in (None, *names):
                raise StudyError(f"{where}: expected an attacker of point {number}, {names}, found {attacker}")
            return of_stage[run, attacker or names[0]]
        chain = list(plan.upstream(plan.responses[run]))
        for task in chain:
            if task.stage == stage:
                return task
        stages = dict.fromkeys((*(task.stage for task in reversed(chain)), "attacker", "evaluation"))
        raise StudyError(f"{where}: expected a stage of point {number}, {', '.join(stages)}, found {stage}")

    # --- points -------------------------------------------------------------------------------------------

    def within_limits(self, point: Point) -> bool:
        """Whether a point is known to keep the limits, by what is known of its validation figures."""
        outcome = self.outcomes.get(point.number)
        known = self.figures(point) or (outcome.bounds if outcome else None)
        return bool(known and self.study.limits.kept_by(known["validation"]))

    def counts(self, defenses: Collection[str] | None = None) -> dict[str, int]:
        """How many points were asked, finished, of those infeasible (beyond the limits), dominated and failed.

        Args:
            defenses: only points of these count; all if None.
        """
        points = [point for point in self.ledger.points.values() if defenses is None or point.defense in defenses]
        states = [self.state(point) for point in points]
        finished = [point for point, state in zip(points, states, strict=True) if state == "finished"]
        return {
            "asked": len(points),
            "finished": len(finished),
            "infeasible": sum(not self.within_limits(point) for point in finished),
            "dominated": states.count("dominated"),
            "failed": states.count("failed"),
        }

    def thieves(self) -> dict[str, dict[str, Any]]:
        """Who attacks, by name: `kind`, what it `knows`, its `model` and `queries` (None: the whole pool)."""
        return {
            name: {
                "kind": thief.kind,
                "knows": ATTACKS[thief.kind].knows,
                "model": thief.model,
                "queries": thief.queries,
            }
            for name, thief in self.study.attackers.items()
        }

    # --- fronts -------------------------------------------------------------------------------------------

    def members(
        self, *, run: int | None = None, attacker: str | None = None, defenses: Collection[str] | None = None
    ) -> list[tuple[Point, Figures]]:
        """The points that keep the limits and that no other of them beats, by validation figures.

        Args:
            run: the seed of a run (`Planner.runs`): its figures alone; the mean over runs if None.
            attacker: the thief to defend against; points it cannot attack are left out. The worst one if None.
            defenses: only points of these; all if None.

        Returns:
            Each with its figures, in order of the first objective in the test part.
        """
        feasible = []
        for point in self.ledger.points.values():
            figures = self.figures(point) if defenses is None or point.defense in defenses else None
            if figures and run is not None:
                figures = figures["runs"][str(run)]
            figures = against(figures, attacker) if figures else None
            if figures and self.study.limits.kept_by(figures["validation"]):
                feasible.append((point, figures))
        objectives = self.study.objectives
        kept = nondominated(as_losses([figures["validation"] for _, figures in feasible], objectives))
        first = next(iter(objectives))
        return sorted(
            (member for member, keep in zip(feasible, kept, strict=True) if keep),
            key=lambda member: (member[1]["test"][first], member[0].number),
        )

    def front(self, *, attacker: str | None = None, defenses: Collection[str] | None = None) -> dict[str, Any]:
        """The front: membership by validation figures, shown with test figures.

        Args:
            attacker: as `members` takes it.
            defenses: as `members` takes it.

        Returns:
            `study`, `objectives`, `attacker`, `thieves`, `counts`, `hypervolume` (of the test figures shown),
            `hypervolume_validation`, and `points` in order of the first objective.
        """
        members = self.members(attacker=attacker, defenses=defenses)
        objectives = self.study.objectives
        return {
            "study": self.study.name,
            "objectives": dict(objectives),
            "attacker": attacker,
            "thieves": self.thieves(),
            "counts": self.counts(defenses),
            "hypervolume": hypervolume([figures["test"] for _, figures in members], objectives),
            "hypervolume_validation": hypervolume([figures["validation"] for _, figures in members], objectives),
            "points": [
                {
                    "point": point.number,
                    "params": dict(point.params),
                    "defense": point.defense,
                    **{name: figures["test"][name] for name in SHOWN},
                    "validation": {name: figures["validation"][name] for name in SHOWN},
                }
                for point, figures in members
            ],
        }
