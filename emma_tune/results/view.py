"""A study on disk: tables, artifacts, and descriptions as plain data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from emma_tune.defenses import UNDEFENDED
from emma_tune.plan import Point, Task
from emma_tune.results import tables
from emma_tune.results.figures import PARTS, Figures
from emma_tune.results.front import hypervolume
from emma_tune.results.intervals import wilson
from emma_tune.results.reader import MeasuredPoint, StudyReader
from emma_tune.storage.artifact import Artifact
from emma_tune.storage.store import CorruptArtifactError
from emma_tune.study.file import StudyError
from emma_tune.study.measures import MEASURES, OF_EVERY_STUDY, known_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from emma_tune.data.images import ImageSet

Found = TypeVar("Found")


class StudyView(StudyReader):
    """A study on disk: tables, artifacts, and descriptions as plain data."""

    points, tasks, curves, measures = tables.points, tables.tasks, tables.curves, tables.measures

    # --- tasks --------------------------------------------------------------------------------------------

    def run_of(self, seed: int | None) -> int:
        """Return the first run (`Planner.runs`) of a victim's seed; of the study's first seed if None.

        Raises:
            StudyError: if the study has no such seed.
        """
        for run, victim in self.planner.runs.items():
            if seed in (None, victim):
                return run
        seeds = " or ".join(map(str, self.study.seeds))
        raise StudyError(f"{self.folder.root}: expected a seed of the study, {seeds}, found {seed}")

    def tasks_of(self, number: int, *, seed: int | None = None, attacker: str | None = None) -> dict[str, Task]:
        """Return the tasks of a point by stage, in the order of the pipeline; of several surrogate legs the last.

        Args:
            number: of the point.
            seed: of the victim, as `run_of` takes it.
            attacker: whose the stages attacker and evaluation are; the first that applies to the point if None.

        Raises:
            StudyError: if there is no such point, seed or attacker.
        """
        where, plan, run = self.folder.root, self.planner.whole(self.point(number)), self.run_of(seed)
        chain = {task.key for task in plan.upstream(plan.responses[run])}
        tasks = {task.stage: task for key, task in plan.tasks.items() if key in chain}  # the last leg stays
        names = [name for of, name in plan.attackers if of == run]
        if attacker not in (None, *names):
            known = ", ".join(names)
            raise StudyError(f"{where}: expected an attacker of point {number}, {known}, found {attacker}")
        place = run, attacker or names[0]
        tasks |= {"attacker": plan.attackers[place], "evaluation": plan.evaluations[place]}
        return tasks

    def artifact(
        self, point: int, stage: str, *, seed: int | None = None, attacker: str | None = None
    ) -> Artifact:
        """Load what a stage left for a point: tensors, metrics, history; seed and attacker as `tasks_of` has them.

        Raises:
            StudyError: if there is no such point, seed, stage or attacker, or nothing finished.
        """
        tasks = self.tasks_of(point, seed=seed, attacker=attacker if stage in ("attacker", "evaluation") else None)
        return self._finished(self.store.fetch, point, stage, tasks)

    def matrix(self, point: int, stage: str) -> NDArray[np.float64]:
        """Load the matrix that a stage left for a point, without PyTorch.

        Raises:
            StudyError: as `artifact` does.
            KeyError: if the stage left no matrix.
        """
        import numpy as np

        arrays = self._finished(self.store.arrays, point, stage, self.tasks_of(point))
        return arrays["matrix"].astype(np.float64)

    def _finished(
        self, read: Callable[[str, str], Found], point: int, stage: str, tasks: Mapping[str, Task]
    ) -> Found:
        where = self.folder.root
        if stage not in tasks:
            raise StudyError(f"{where}: expected a stage of point {point}, {', '.join(tasks)}, found {stage}")
        try:
            return read(stage, tasks[stage].key)
        except (FileNotFoundError, CorruptArtifactError) as error:
            again = "bring the store back, or run the study again"
            hint = again if tasks[stage].key in self.claimed else "run the study"
            raise StudyError(
                f"{where}: expected the {stage} of point {point} in {self.store.root}, found none; {hint}"
            ) from error

    def images(self, role: str) -> Mapping[str, ImageSet]:
        """Load the decoded images of the `victim` or the `queries`, by part.

        Raises:
            StudyError: if they are not in the store.
        """
        from emma_tune.data.mirror import image_cache
        from emma_tune.data.source import DataError

        try:
            return image_cache(self.store.root).load(self.planner.images[role])
        except (FileNotFoundError, DataError) as error:
            raise StudyError(
                f"{self.store.root}: expected the study's decoded images, found none; run the study again"
            ) from error

    def check_names(self, attacker: str | None, defenses: Collection[str] | None, where: tuple[str, str]) -> None:
        """Raise StudyError unless the study has this attacker and these defenses; `where` names the arguments."""
        of_attacker, of_defense = where
        known = {point.defense for point in self.ledger.points.values()}
        if attacker is not None and attacker not in self.study.attackers:
            names = ", ".join(self.study.attackers)
            raise StudyError(f"{of_attacker}: expected one of {names}, found {attacker}")
        for name in defenses or ():
            if name not in known:
                shown = ", ".join(sorted(known)) or "none yet"
                raise StudyError(f"{of_defense}: expected one of {shown}, found {name}")

    # --- fronts -------------------------------------------------------------------------------------------

    def attackers(self) -> dict[str, dict[str, Any]]:
        """Describe the attackers.

        Returns:
            Of each: `kind`, the kind whose `targets` it trains on (soft: its own), what it `knows`, `when`,
            `model`, `queries` (None: the whole pool; one that is to ask more than the pool has asks all of it),
            and how many answers it gets, `asked` (None: not known yet).
        """
        pool = self.shapes["queries"][0] if "queries" in self.shapes else None
        return {
            name: {"kind": of.kind, "targets": of.targets, "knows": of.knowledge}
            | {"when": of.when, "model": of.model, "queries": of.asks(pool), "asked": self.asked.get(name)}
            for name, of in self.study.attackers.items()
        }

    def front(self, *, attacker: str | None = None, defenses: Collection[str] | None = None) -> dict[str, Any]:
        """Describe the fronts, as `members` takes them: chosen by validation figures, shown with test figures.

        Returns:
            `study`, `objectives`, `stop` (`search.stop`), `budget` and `attack` (the measures that are its axes),
            `limits`, `attacker`, `thieves` (as `attackers`), `counts`, `images` (how many of each part); of the
            joint front, of all these defenses, `points` in order of the budget, `hypervolume` (of the test figures
            shown) and `hypervolume_validation`; under `fronts` the same of each searched defense by itself, with
            what it has `stopped` (`point`, `params`, `why`, `by`, `bounds`), its `counts`, and what the
            attackers of the fronts have `reached` (`low`, `high` and `points`, by name); `references`: the
            finished points of the others; `unchanged`: numbers of finished points of defenses whose answers are
            those of the victim.
        """
        study = self.study.against(attacker)
        joint = self.members(attacker=attacker, defenses=defenses)
        numbers = {point.number for point, _ in joint}

        def described(points: list[MeasuredPoint]) -> list[dict[str, Any]]:
            return [self.described(*of, on_joint_front=of[0].number in numbers) for of in points]

        def front(members: list[MeasuredPoint]) -> dict[str, Any]:
            test, validation = ([of[part] for _, of in members] for part in ("test", "validation"))
            return {
                "hypervolume": hypervolume(test, study.objectives),
                "hypervolume_validation": hypervolume(validation, study.objectives),
                "points": described(members),
            }

        def own_front(defense: str) -> dict[str, Any]:
            members = self.members(attacker=attacker, defenses={defense})
            return {
                **front(members),
                "counts": self.counts({defense}),
                "stopped": self._stopped(defense),
                "reached": self._reached(members),
            }

        return {
            "study": self.study.name,
            "objectives": dict(study.objectives),
            "stop": study.search.stop,
            "budget": study.budget,
            "attack": study.attack,
            "limits": self.study.limits.bounds,
            "attacker": attacker,
            "thieves": self.attackers(),
            "counts": self.counts(defenses),
            "images": {part: shape[0] for part, shape in self.shapes.items()},
            **front(joint),
            "fronts": {
                name: own_front(name) for name in self.study.searches if defenses is None or name in defenses
            },
            "references": described(
                [of for of in self.references(attacker) if defenses is None or of[0].defense in defenses]
            ),
            "unchanged": [
                number
                for number, (point, of) in self.finished.items()
                if point.defense != UNDEFENDED and (defenses is None or point.defense in defenses)
                if not any(of[part].get(name, 1) for part in PARTS for name in ("l1", "l1_queries"))
            ],
        }

    def described(self, point: Point, figures: Figures, **more: Any) -> dict[str, Any]:
        """Describe a finished point.

        Returns:
            `point`, `params`, `defense`, every measure of the test part, under `validation` those that decide, and
            under `intervals` the ends of the 95 % interval of every share of test images, by measure.
        """
        # a point that ended before a measure was introduced lacks it
        known = {
            part: {**known_values(figures[part], self.study.measures), "attackers": figures[part]["attackers"]}
            for part in PARTS
        }
        return {
            "point": point.number,
            "params": dict(point.params),
            "defense": point.defense,
            **known["test"],
            "validation": known["validation"],
            "intervals": self.intervals(figures["test"]),
            **more,
        }

    def intervals(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Compute the 95 % interval of every share of test images; empty while their number is not known."""
        count = self.shapes.get("test", (0, 0))[0]
        if not count:
            return {}
        of_images = [name for name in OF_EVERY_STUDY if MEASURES[name].unit == "%" and not MEASURES[name].pool]
        shares = {name: figures[name] for name in of_images if name in figures}
        clones = {name: wilson(accuracy, count) for name, accuracy in figures["attackers"].items()}
        return {**{name: wilson(share, count) for name, share in shares.items()}, "attackers": clones}

    def _stopped(self, defense: str) -> list[dict[str, Any]]:
        return [
            {
                "point": number,
                "params": dict(self.ledger.points[number].params),
                "why": outcome.state,
                "by": outcome.by,
                "bounds": dict(outcome.bounds),
            }
            for number, outcome in sorted(self.outcomes.items())
            if outcome.bounds is not None and self.ledger.points[number].defense == defense
        ]

    def _reached(self, members: list[MeasuredPoint]) -> dict[str, dict[str, Any]]:
        """Summarize what the attackers of the fronts reach at the members of one: their worst and best clones."""
        found = {}
        for name, attacker in self.study.attackers.items():
            clones = [of["test"]["attackers"][name] for _, of in members if name in of["test"]["attackers"]]
            if not attacker.counts and clones:
                found[name] = {"low": min(clones), "high": max(clones), "points": len(clones)}
        return found
