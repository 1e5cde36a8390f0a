"""The front so far of each searched defense, to be shown while a run is under way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from emma_tune.plan import Point
from emma_tune.results.figures import Figures
from emma_tune.results.front import as_losses, nondominated
from emma_tune.study import Study
from emma_tune.study.measures import value_of


class Member(NamedTuple):
    """A finished point that keeps the limits and that no other one of its defense dominates.

    Attributes:
        point: the point.
        validation: its figures that decide.
        test: its figures that are shown.
    """

    point: Point
    validation: Mapping[str, Any]
    test: Mapping[str, Any]


class Fronts:
    """Keeps the front of each searched defense while points finish.

    Args:
        study: its limits and objectives.
    """

    def __init__(self, study: Study) -> None:
        self._limits = study.limits
        self._objectives, self._budget = study.objectives, study.budget
        self._members: dict[str, list[Member]] = {defense: [] for defense in study.sought}

    def add(self, point: Point, figures: Figures) -> None:
        """Takes in a finished point, and leaves out what it dominates."""
        if point.defense not in self._members or not self._limits.kept_by(figures["validation"]):
            return
        members = [*self._members[point.defense], Member(point, figures["validation"], figures["test"])]
        kept = nondominated(as_losses([member.validation for member in members], self._objectives))
        self._members[point.defense] = [member for member, keep in zip(members, kept, strict=True) if keep]

    def members(self) -> list[Member]:
        """List all of them, by defense, in the order of the budget."""
        return [
            member
            for of_defense in self._members.values()
            for member in sorted(of_defense, key=lambda member: value_of(member.test, self._budget))
        ]
