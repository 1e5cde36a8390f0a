"""A study as it lies on disk: how its points stand, its front, and what its stages have left.

The same files are read whether the study is running, finished or interrupted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emma_tune.attacks import ATTACKS
from emma_tune.plan import Planner, Point, Task
from emma_tune.results import tables
from emma_tune.results.dominance import current_outcomes, front_of, targets
from emma_tune.results.figures import Figures, against, point_figures, with_front_figures
from emma_tune.results.folder import StudyFolder
from emma_tune.results.front import hypervolume
from emma_tune.results.intervals import wilson
from emma_tune.results.ledger import Ledger, Outcome, read_ledger
from emma_tune.storage import IMPATIENT, Patience, Place
from emma_tune.storage.artifact import Artifact, Metrics
from emma_tune.storage.store import CorruptArtifactError, Record, Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.study.measures import MEASURES, value_of

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (*MEASURES, "attackers")
"""Measures of a point on a front."""

Member = tuple[Point, Figures]


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
        self._figures: dict[int, Figures | None] = {}

    @cached_property
    def outcomes(self) -> dict[int, Outcome]:
        """How points ended under the study as it is now; unfinished ones are not in it."""
        return current_outcomes(self.study, self.ledger, self._digest)

    @cached_property
    def verdicts(self) -> dict[int, Outcome]:
        """How the attack of the attackers of the fronts (`when: front`) ended, under the study as it is now."""
        digest = self.planner.verdict_digest
        return {n: verdict for n, verdict in self.ledger.verdicts.items() if verdict.plan == digest}

    def figures(self, point: Point) -> Figures | None:
        """Measures of a point under the study as it is now; None if it is unfinished, dominated or failed.

        Figures of an unfinished point are read once, so that one view of a running study is consistent.
        """
        if point.number not in self._figures:
            self._figures[point.number] = self._read_figures(point)
        return self._figures[point.number]

    def _read_figures(self, point: Point) -> Figures | None:
        outcome, verdict = self.outcomes.get(point.number), self.verdicts.get(point.number)
        if outcome:
            figures = dict(outcome.figures) if outcome.figures else None
        else:
            figures = point_figures(self.planner.point(point), self._metrics)
        if figures and verdict and verdict.figures:
            return with_front_figures(figures, verdict.figures)
        return figures

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
        plan = self.planner.whole(point)
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
        """Describe the attackers: `kind`, what each `knows`, `when`, `model`, `queries` (None: the whole pool)."""
        return {
            name: {
                "kind": thief.kind,
                "knows": ATTACKS[thief.kind].knows,
                "when": thief.when,
                "model": thief.model,
                "queries": thief.queries,
            }
            for name, thief in self.study.attackers.items()
        }

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Images and classes (N, K) of each part of the answers; empty while no victim has answered."""
        for seed in self.study.seeds:
            _, posteriors = self.planner.foundation(seed)
            with suppress(OSError, CorruptArtifactError, LookupError):
                found = self.store.shapes("posteriors", posteriors.key)  # no tensor is loaded
                return {part: (shape[0], shape[1]) for part, shape in found.items()}
        return {}

    # --- fronts -------------------------------------------------------------------------------------------

    def members(
        self, *, run: int | None = None, attacker: str | None = None, defenses: Collection[str] | None = None
    ) -> list[Member]:
        """List the points that keep the limits and that no other of them beats, by validation figures.

        Args:
            run: the seed of a run (`Planner.runs`): its figures alone; the mean over runs if None.
            attacker: to defend against; points that it does not attack are left out. The worst one if None.
            defenses: only points of these; all if None.

        Returns:
            Each with its figures, in order of the budget in the test part.
        """
        found = {}
        for number, point in self.ledger.points.items():
            figures = self.figures(point) if defenses is None or point.defense in defenses else None
            if figures and run is not None:
                figures = figures["runs"][str(run)]
            figures = against(figures, attacker) if figures else None
            if figures:
                found[number] = (point, figures)
        study = self.study.against(attacker)
        kept = front_of(study, {number: figures["validation"] for number, (_, figures) in found.items()})
        return sorted((found[number] for number in kept), key=self._by_budget)

    def _by_budget(self, member: Member) -> tuple[float, int]:
        point, figures = member
        return value_of(figures["test"], self.study.budget), point.number

    def targets(self) -> list[Point]:
        """List the points that the attackers of the fronts (`when: front`) attack, as the fronts are now."""
        if all(attacker.counts for attacker in self.study.attackers.values()):
            return []  # no record is opened for it
        points = self.ledger.points.values()
        known = [(point, of["validation"]) for point in points if (of := self.figures(point))]
        found = targets(self.study, known, () if self.given else self.study.sought)
        return [point for point in found if self.planner.verdict(point).evaluations]

    def references(self, attacker: str | None = None) -> list[Member]:
        """List the finished points of defenses that are not searched, in order of the budget in the test part."""
        found = [
            (point, figures)
            for point in self.ledger.points.values()
            if point.defense not in self.study.sought and (own := self.figures(point))
            if (figures := against(own, attacker))
        ]
        return sorted(found, key=self._by_budget)

    def front(self, *, attacker: str | None = None, defenses: Collection[str] | None = None) -> dict[str, Any]:
        """Describe the fronts: membership by validation figures, shown with test figures.

        Args:
            attacker: as `members` takes it.
            defenses: as `members` takes it.

        Returns:
            `study`, `objectives`, `stop` (`search.stop`), `budget` and `attack` (the measures that are its axes),
            `limits`, `attacker`, `thieves`, `counts`, `images` (how many of each part); of the joint front, of all
            these defenses, `points` in order of the budget, `hypervolume` (of the test figures shown) and
            `hypervolume_validation`; under `fronts` the same of each searched defense by itself, with what it has
            `stopped` (`point`, `params`, `by`, `bounds`), its `counts`, and what the attackers of the fronts have
            `reached` (`low`, `high` and `points`, by name); `references`: the finished points of the others.
        """
        study = self.study.against(attacker)
        joint = self.members(attacker=attacker, defenses=defenses)
        numbers = {point.number for point, _ in joint}

        def described(members: list[Member]) -> dict[str, Any]:
            return {
                "hypervolume": hypervolume([figures["test"] for _, figures in members], study.objectives),
                "hypervolume_validation": hypervolume(
                    [figures["validation"] for _, figures in members], study.objectives
                ),
                "points": [self.described(*of, on_joint_front=of[0].number in numbers) for of in members],
            }

        searched = [name for name in self.study.sought if defenses is None or name in defenses]
        own = {name: self.members(attacker=attacker, defenses={name}) for name in searched}
        return {
            "study": self.study.name,
            "objectives": dict(study.objectives),
            "stop": study.search.stop,
            "budget": study.budget,
            "attack": study.attack,
            "limits": self.study.limits.bounds,
            "attacker": attacker,
            "thieves": self.thieves(),
            "counts": self.counts(defenses),
            "images": {part: shape[0] for part, shape in self.shapes.items()},
            **described(joint),
            "fronts": {
                name: {
                    **described(members),
                    "counts": self.counts({name}),
                    "stopped": self._stopped(name),
                    "reached": self._reached(members),
                }
                for name, members in own.items()
            },
            "references": [
                self.described(point, figures, on_joint_front=point.number in numbers)
                for point, figures in self.references(attacker)
                if defenses is None or point.defense in defenses
            ],
        }

    def described(self, point: Point, figures: Figures, **more: Any) -> dict[str, Any]:
        """Describe a finished point.

        Returns:
            `point`, `params`, `defense`, every measure of the test part, under `validation` those that decide, and
            under `intervals` the ends of the 95 % interval of every share of test images, by measure.
        """
        return {
            "point": point.number,
            "params": dict(point.params),
            "defense": point.defense,
            **{name: figures["test"][name] for name in SHOWN},
            "validation": {name: figures["validation"][name] for name in SHOWN},
            "intervals": self.intervals(figures["test"]),
            **more,
        }

    def intervals(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the 95 % interval of every share of test images; empty while their number is not known."""
        count = self.shapes.get("test", (0, 0))[0]
        if not count:
            return {}
        shares = {name: figures[name] for name, of in MEASURES.items() if of.unit == "%" and name in figures}
        clones = {name: wilson(accuracy, count) for name, accuracy in figures["attackers"].items()}
        return {**{name: wilson(share, count) for name, share in shares.items()}, "attackers": clones}

    def _stopped(self, defense: str) -> list[dict[str, Any]]:
        return [
            {
                "point": number,
                "params": dict(self.ledger.points[number].params),
                "by": outcome.by,
                "bounds": dict(outcome.bounds),
            }
            for number, outcome in sorted(self.outcomes.items())
            if outcome.bounds is not None and self.ledger.points[number].defense == defense
        ]

    def _reached(self, members: list[Member]) -> dict[str, dict[str, Any]]:
        """What the attackers of the fronts reach at the members of one: the worst and the best of their clones."""
        found = {}
        for name, attacker in self.study.attackers.items():
            clones = [of["test"]["attackers"][name] for _, of in members if name in of["test"]["attackers"]]
            if not attacker.counts and clones:
                found[name] = {"low": min(clones), "high": max(clones), "points": len(clones)}
        return found
