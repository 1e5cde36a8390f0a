"""Read a study's folder: its points, how they ended, and what their tasks left in the store. Never writes.

The same files are read whether the study is running, finished or interrupted.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import cached_property

from emma_tune.plan import Planner, Point, Task
from emma_tune.results.dominance import current_outcomes
from emma_tune.results.figures import Figures, against, point_figures, with_front_figures
from emma_tune.results.folder import StudyFolder
from emma_tune.results.front import front_of, targets
from emma_tune.results.ledger import Ledger, Outcome, read_ledger
from emma_tune.results.stops import STOPS
from emma_tune.stages import Answers
from emma_tune.storage import IMPATIENT, Patience, Place, is_local
from emma_tune.storage.artifact import Metrics
from emma_tune.storage.store import CorruptArtifactError, Record, Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.study.measures import value_of

MeasuredPoint = tuple[Point, Figures]  # finished, with its figures


class StudyReader:
    """A study on disk; what `StudyView` adds tables and descriptions to.

    Raises:
        StudyError: if it is not the folder of a study.
    """

    def __init__(self, folder: Place, patience: Patience = IMPATIENT) -> None:
        self.folder = StudyFolder(folder, patience)
        started = self.folder.read()
        self._study = started.study
        self.given = started.given
        self.store = Store(started.store, patience=patience)
        self.planner = Planner(started.study, started.images, started.weights)
        self.ledger: Ledger = read_ledger(self.folder.ledger, patience)
        self._noted: dict[str, None] = {}
        self._lost: set[str] = set()
        self._figures: dict[int, Figures | None] = {}

    @property
    def study(self) -> Study:
        """The study, complete; its plug-ins' names are its own again if another study was used meanwhile."""
        return self._study.use()

    # --- points -------------------------------------------------------------------------------------------

    def point(self, number: int) -> Point:
        """Return the point with a number.

        Raises:
            StudyError: if there is none.
        """
        if number not in self.ledger.points:
            raise StudyError(f"{self.folder.root}: expected a point of the study, found no point {number}")
        return self.ledger.points[number]

    @cached_property
    def outcomes(self) -> dict[int, Outcome]:
        """How points ended under the study as it is now; without unfinished ones."""
        return current_outcomes(self.study, self.ledger, self.planner.digest)

    @cached_property
    def front_attacks(self) -> dict[int, Outcome]:
        """How the attack of the attackers of the fronts (`when: front`) ended, under the study as it is now."""
        digest = self.planner.front_digest
        return {n: attack for n, attack in self.ledger.front_attacks.items() if attack.plan == digest}

    def figures(self, point: Point) -> Figures | None:
        """Return a point's measures under the study as it is now; None if it is unfinished, dominated or failed.

        Each point is read once, so that all readers of a running study get the same figures.
        """
        if point.number not in self._figures:
            self._figures[point.number] = self._read_figures(point)
        return self._figures[point.number]

    def _read_figures(self, point: Point) -> Figures | None:
        outcome, attack = self.outcomes.get(point.number), self.front_attacks.get(point.number)
        figures = outcome.figures if outcome else point_figures(self.planner.point(point), self._metrics)
        if figures and attack and attack.figures:
            return with_front_figures(figures, attack.figures)
        return figures

    @property
    def finished(self) -> dict[int, MeasuredPoint]:
        """The finished points, by number."""
        points = self.ledger.points.items()
        return {number: (point, figures) for number, point in points if (figures := self.figures(point))}

    def state(self, point: Point) -> str:
        """Return unfinished, finished, failed, or why it was stopped: one of `stops.STOPS`."""
        outcome = self.outcomes.get(point.number)
        if outcome is None:
            return "finished" if self.figures(point) else "unfinished"
        return outcome.state

    def within_limits(self, point: Point) -> bool:
        """Tell whether a point is known to keep the limits, by what is known of its validation figures."""
        outcome = self.outcomes.get(point.number)
        known = self.figures(point) or (outcome.bounds if outcome else None)
        return bool(known and self.study.limits.kept_by(known["validation"]))

    def counts(self, defenses: Collection[str] | None = None) -> dict[str, int]:
        """Count points, of these defenses or of all: asked, finished, of those infeasible, stopped, failed.

        Those that were stopped also by why: dominated by another point, or excluded by the limits.
        """
        points = [point for point in self.ledger.points.values() if defenses is None or point.defense in defenses]
        states = [self.state(point) for point in points]
        finished = [point for point, state in zip(points, states, strict=True) if state == "finished"]
        return {
            "asked": len(points),
            "finished": len(finished),
            "infeasible": sum(not self.within_limits(point) for point in finished),
            "stopped": sum(map(states.count, STOPS)),
            **{why: states.count(why) for why in STOPS},
            "failed": states.count("failed"),
        }

    # --- fronts -------------------------------------------------------------------------------------------

    def members(
        self, *, run: int | None = None, attacker: str | None = None, defenses: Collection[str] | None = None
    ) -> list[MeasuredPoint]:
        """List the points that keep the limits and that no other of them dominates, by validation figures.

        Args:
            run: the seed of a run (`Planner.runs`): its figures alone; the mean over runs if None.
            attacker: to defend against; points that it does not attack are left out. The worst one if None.
            defenses: only points of these; all if None.

        Returns:
            Each with its figures, in order of the budget in the test part.
        """
        found: dict[int, MeasuredPoint] = {}
        for number, (point, of) in self.finished.items():
            figures = against(of if run is None else of["runs"][str(run)], attacker)
            if figures and (defenses is None or point.defense in defenses):
                found[number] = point, figures
        validated = {number: figures["validation"] for number, (_, figures) in found.items()}
        kept = front_of(self.study.against(attacker), validated)
        return sorted((found[number] for number in kept), key=self._by_budget)

    def references(self, attacker: str | None = None) -> list[MeasuredPoint]:
        """List the finished points of defenses that are not searched, in order of the budget in the test part."""
        found = [
            (point, figures)
            for point, of in self.finished.values()
            if point.defense not in self.study.searches and (figures := against(of, attacker))
        ]
        return sorted(found, key=self._by_budget)

    def _by_budget(self, measured: MeasuredPoint) -> tuple[float, int]:
        point, figures = measured
        return value_of(figures["test"], self.study.budget), point.number

    @cached_property
    def targets(self) -> list[Point]:
        """The points that the attackers of the fronts (`when: front`) attack, as the fronts are now."""
        if all(attacker.counts for attacker in self.study.attackers.values()):
            return []  # no record is opened for it
        known = [(point, figures["validation"]) for point, figures in self.finished.values()]
        found = targets(self.study, known, () if self.given else self.study.searches)
        return [point for point in found if self.planner.front_attack(point).evaluations]

    # --- what cannot be read ------------------------------------------------------------------------------

    @property
    def problems(self) -> list[str]:
        """What could not be read so far, a line each."""
        return list(dict.fromkeys((*self.ledger.problems, *self._noted, *self._lost_artifacts())))

    def note(self, problem: str) -> None:
        """Add a line to the problems, once."""
        self._noted[problem] = None

    def _lost_artifacts(self) -> list[str]:
        """Say what the store lacks of the finished tasks: of one of each stage, and of all that were read."""
        root = self.store.root
        shown = "only what the ledger has is shown; bring the store back for intervals, curves and matrices"
        try:
            if is_local(root) and not root.exists():
                return [f"{root}: expected the store of this study, found no folder; {shown}"]
            one_of_each = {stage: key for key, stage in self.claimed.items()}
            found = {stage for stage, key in one_of_each.items() if self.store.has(stage, key)}
        except OSError as error:
            return [f"{root}: expected a store that can be read, found {error.strerror or error}; {shown}"]
        lost = [stage for stage in one_of_each if stage not in found or stage in self._lost]
        if not lost:
            return []
        if not found:
            return [f"{root}: expected the artifacts of the finished tasks, found none; {shown}"]
        again = f"compute them again with: emma-tune resume {self.folder.root}"
        missing = f"some missing ({', '.join(lost)})"
        return [f"{root}: expected the artifacts of all finished tasks, found {missing}; {again}"]

    @cached_property
    def claimed(self) -> dict[str, str]:
        """The stages of the tasks that are finished by the ledger, by key."""
        outcomes = (*self.outcomes.values(), *self.front_attacks.values())
        return {key: task.stage for outcome in outcomes for key, task in outcome.tasks.items()}

    # --- tasks --------------------------------------------------------------------------------------------

    @cached_property
    def open_tasks(self) -> dict[str, Task]:
        """The tasks of all that is still open, by key; finished ones are among them.

        The groundwork, the tasks of points neither finished nor stopped, and of attacks on the fronts.
        """
        tasks = dict(self.planner.groundwork().tasks)
        for outcomes, points, plan in (
            (self.outcomes, self.ledger.points.values(), self.planner.point),
            (self.front_attacks, self.targets, self.planner.front_attack),
        ):
            for point in points:
                outcome = outcomes.get(point.number)
                if outcome is None or outcome.reason:
                    tasks |= plan(point).tasks
        return tasks

    def record(self, task: Task) -> Record | None:
        """Return the record of a task; None while it is not finished. A damaged one is added to the problems."""
        try:
            found = self.store.record(task.stage, task.key)
        except CorruptArtifactError as error:
            self.note(str(error))
            return None
        if found is None and task.key in self.claimed:
            self._lost.add(task.stage)
        return found

    def _metrics(self, task: Task) -> Metrics | None:
        record = self.record(task)
        return record.metrics if record else None

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Images and classes (N, K) of each part of the answers; empty while no victim has answered."""
        for seed in self.study.seeds:
            _, posteriors = self.planner.foundation(seed)
            with suppress(OSError, CorruptArtifactError, LookupError):
                found = self.store.shapes("posteriors", posteriors.key)  # no tensor is loaded
                return {part: (shape[0], shape[1]) for part, shape in found.items()}
        return {}

    @property
    def answers(self) -> Answers | None:
        """The shape of the answers to the pool; None while no victim has answered."""
        return Answers(*self.shapes["queries"]) if "queries" in self.shapes else None

    @cached_property
    def asked(self) -> dict[str, int]:
        """How many answers each attacker asks at most; empty while no victim has answered."""
        if self.answers is None:
            return {}
        return {name: of.asked(*self.answers) for name, of in self.study.attackers.items()}
