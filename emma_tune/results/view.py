"""A study on disk, as tables and as plain data to print."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from emma_tune.attacks import ATTACKS
from emma_tune.plan import Point
from emma_tune.results import tables
from emma_tune.results.figures import Figures
from emma_tune.results.front import hypervolume
from emma_tune.results.intervals import wilson
from emma_tune.results.reader import MeasuredPoint, StudyReader
from emma_tune.study.measures import MEASURES

if TYPE_CHECKING:
    import pandas as pd


class StudyView(StudyReader):
    """A study on disk, as tables and as plain data to print."""

    def points(self) -> pd.DataFrame:
        """Return one row a point, as `tables.points` says."""
        return tables.points(self)

    def tasks(self) -> pd.DataFrame:
        """Return one row a finished task, as `tables.tasks` says."""
        return tables.tasks(self)

    def curves(self) -> pd.DataFrame:
        """Return one row an epoch, as `tables.curves` says."""
        return tables.curves(self)

    def measures(self) -> pd.DataFrame:
        """Return one row a measured value, as `tables.measures` says."""
        return tables.measures(self)

    def attackers(self) -> dict[str, dict[str, Any]]:
        """Describe the attackers: `kind`, what each `knows`, `when`, `model`, `queries` (None: the whole pool)."""
        return {
            name: {
                "kind": of.kind,
                "knows": ATTACKS[of.kind].knows,
                "when": of.when,
                "model": of.model,
                "queries": of.queries,
            }
            for name, of in self.study.attackers.items()
        }

    def front(self, *, attacker: str | None = None, defenses: Collection[str] | None = None) -> dict[str, Any]:
        """Describe the fronts: membership by validation figures, shown with test figures.

        Args:
            attacker: as `members` takes it.
            defenses: as `members` takes it.

        Returns:
            `study`, `objectives`, `stop` (`search.stop`), `budget` and `attack` (the measures that are its axes),
            `limits`, `attacker`, `thieves` (as `attackers`), `counts`, `images` (how many of each part); of the
            joint front, of all these defenses, `points` in order of the budget, `hypervolume` (of the test figures
            shown) and `hypervolume_validation`; under `fronts` the same of each searched defense by itself, with
            what it has `stopped` (`point`, `params`, `by`, `bounds`), its `counts`, and what the attackers of the
            fronts have `reached` (`low`, `high` and `points`, by name); `references`: the finished points of the
            others.
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
                name: own_front(name) for name in self.study.sought if defenses is None or name in defenses
            },
            "references": described(
                [of for of in self.references(attacker) if defenses is None or of[0].defense in defenses]
            ),
        }

    def described(self, point: Point, figures: Figures, **more: Any) -> dict[str, Any]:
        """Describe a finished point.

        Returns:
            `point`, `params`, `defense`, every measure of the test part, under `validation` those that decide, and
            under `intervals` the ends of the 95 % interval of every share of test images, by measure.
        """
        names = (*MEASURES, "attackers")
        return {
            "point": point.number,
            "params": dict(point.params),
            "defense": point.defense,
            **{name: figures["test"][name] for name in names},
            "validation": {name: figures["validation"][name] for name in names},
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

    def _reached(self, members: list[MeasuredPoint]) -> dict[str, dict[str, Any]]:
        """Summarize what the attackers of the fronts reach at the members of one: their worst and best clones."""
        found = {}
        for name, attacker in self.study.attackers.items():
            clones = [of["test"]["attackers"][name] for _, of in members if name in of["test"]["attackers"]]
            if not attacker.counts and clones:
                found[name] = {"low": min(clones), "high": max(clones), "points": len(clones)}
        return found
