"""The points of a report, one row each: standing, figures, their intervals and their range over seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.study import Study
from emma_tune.study.measures import ATTACKERS, MEASURES, measure

JOINT = "joint"
"""The front of all defenses together, among the names of defenses with a front of their own."""

Ends = tuple[float, float]
"""The lower and the upper end of a range."""


@dataclass(frozen=True)
class Row:
    """A point. Measures are by name, those of single attackers as `attackers.NAME`.

    Attributes:
        point: the point.
        state: `front` (the joint one or its own), `finished`, `beyond` (the limits), `dominated`, `failed` or
            `unfinished`.
        note: which point beats a stopped one, or why one failed; empty otherwise.
        test: measures of the test part; of a stopped point its costs only, where they are known.
        validation: the same of the validation part; of a stopped point the best that it could still come to.
        spread: lowest and highest value over the runs, by measure; empty with a single run.
        intervals: 95 % interval of each share of test images, by measure.
    """

    point: Point
    state: str
    note: str = ""
    test: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, Ends] = field(default_factory=dict)
    intervals: Mapping[str, Ends] = field(default_factory=dict)

    @property
    def clones(self) -> dict[str, float]:
        """Clone accuracy on test images by attacker."""
        return {
            name.removeprefix(ATTACKERS): value for name, value in self.test.items() if name.startswith(ATTACKERS)
        }

    def bound(self, name: str) -> float | None:
        """What the clones of a stopped point had reached on validation images; None if no clone had begun."""
        return (self.validation.get(name) or None) if self.state == "dominated" else None

    def bar(self, name: str) -> Ends | None:
        """The ends of the bar of a measure: its interval, or else its range over seeds."""
        return self.intervals.get(name) or self.spread.get(name)


def rows_of(view: StudyView) -> list[Row]:
    """List every point in order; only the records of unfinished points are opened."""
    fronts = fronts_of(view, None).values()
    return [_row(view, point, {n for front in fronts for n in front}) for point in view.ledger.points.values()]


def fronts_of(view: StudyView, attacker: str | None) -> dict[str, list[int]]:
    """List the numbers of the members of the joint front and of each searched defense's own, by budget.

    Args:
        view: the study.
        attacker: to defend against; the worst clone if None. An attacker of the fronts (`when: front`) has no part
            in choosing them: of the fronts against the worst clone those points that it attacks.
    """
    verdict = attacker is not None and not view.study.attackers[attacker].counts
    fronts = {
        name: view.members(attacker=None if verdict else attacker, defenses=None if name == JOINT else {name})
        for name in (JOINT, *view.study.sought)
    }
    return {
        name: [point.number for point, of in front if not verdict or attacker in of["test"]["attackers"]]
        for name, front in fronts.items()
    }


def attack_of(study: Study, attacker: str | None) -> str:
    """Name the measure of what attackers get: the study's own, or the clone of one attacker."""
    return study.attack if attacker is None else f"{ATTACKERS}{attacker}"


def cheap_first(study: Study, budget: float) -> float:
    """Sort key of a budget: from cheap to dear."""
    return budget if measure(study.budget).direction == "min" else -budget


def flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Put the figures of single attackers beside the others, as `attackers.NAME`."""
    clones = {f"{ATTACKERS}{name}": value for name, value in figures.get("attackers", {}).items()}
    return {name: figures[name] for name in MEASURES if name in figures} | clones


def _row(view: StudyView, point: Point, fronts: Collection[int]) -> Row:
    state, outcome, figures = view.state(point), view.outcomes.get(point.number), view.figures(point)
    if state == "failed" and outcome:
        return Row(point, state, outcome.reason or "")
    if state == "dominated" and outcome and outcome.bounds:
        bounds = outcome.bounds
        return Row(point, state, f"beaten by point {outcome.by}", flat(bounds["test"]), flat(bounds["validation"]))
    if figures is None:
        return Row(point, state)
    standing = "front" if point.number in fronts else "finished" if view.within_limits(point) else "beyond"
    return Row(
        point,
        standing,
        test=flat(figures["test"]),
        validation=flat(figures["validation"]),
        spread=_spread([flat(run["test"]) for run in figures["runs"].values()]),
        intervals=flat(view.intervals(figures["test"])),
    )


def _spread(runs: list[dict[str, float]]) -> dict[str, Ends]:
    if len(runs) < 2:
        return {}
    return {name: (min(run[name] for run in runs), max(run[name] for run in runs)) for name in runs[0]}
