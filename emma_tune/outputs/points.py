"""The points of a study as outputs show them: standing, figures, their intervals and their range over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emma_tune.defenses import UNDEFENDED
from emma_tune.outputs.words import parameters, percent
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.ledger import Outcome
from emma_tune.results.reader import MeasuredPoint
from emma_tune.results.stops import STOPS
from emma_tune.study import Study
from emma_tune.study.measures import ATTACKERS, MEASURES, known_values, measure, value_of

JOINT = "joint"
"""The front of all defenses together, among the names of defenses with a front of their own."""

ONE_POINT = 0.01 + 1e-9
"""A difference of accuracies that counts as none, so that 0.97 is within a point of 0.98."""

Range = tuple[float, float]  # lower and upper end


@dataclass(frozen=True)
class PointRow:
    """A point. Measures are by name, those of single attackers as `attackers.NAME`.

    Attributes:
        point: the point.
        state: `front` (the joint one or its own), `finished`, `beyond` (the limits), `failed`,
            `unfinished`, or why it was stopped: one of `stops.STOPS`.
        note: what stopped a point, or why one failed; empty otherwise.
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
    spread: Mapping[str, Range] = field(default_factory=dict)
    intervals: Mapping[str, Range] = field(default_factory=dict)

    @property
    def clones(self) -> dict[str, float]:
        """Clone accuracy on test images by attacker."""
        return {
            name.removeprefix(ATTACKERS): value for name, value in self.test.items() if name.startswith(ATTACKERS)
        }

    @property
    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self.state in STOPS

    def bound(self, name: str) -> float | None:
        """Return what the clones of a stopped point had reached on validation images; None if none had begun."""
        return (self.validation.get(name) or None) if self.stopped else None

    def bar(self, name: str) -> Range | None:
        """Return the ends of the bar of a measure: its interval, or else its range over seeds."""
        return self.intervals.get(name) or self.spread.get(name)


def point_lines(point: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    """Describe a point of what `best_point` found: its parameters, test figures and validation figures."""
    lines = [f"point {point['point']}: {point['defense']} {parameters(point['params'])}".rstrip()]
    names = dict.fromkeys((content["budget"], "victim_accuracy", "accuracy_drop", content["attack"]))
    for part, of in (("test", point), ("validation", point["validation"])):
        shown = [f"{measure(name).head} {measure(name).shown(value_of(of, name))}" for name in names]
        clones = ", ".join(f"{name} {percent(accuracy)}" for name, accuracy in of["attackers"].items())
        lines.append(f"{part}: {', '.join(shown)}; clones: {clones}")
    return lines


def point_rows(view: StudyView) -> list[PointRow]:
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
    front_only = attacker is not None and not view.study.attackers[attacker].counts
    fronts = {
        name: view.members(attacker=None if front_only else attacker, defenses=None if name == JOINT else {name})
        for name in (JOINT, *view.study.searches)
    }
    return {
        name: [point.number for point, of in front if not front_only or attacker in of["test"]["attackers"]]
        for name, front in fronts.items()
    }


def undefended_point(view: StudyView) -> MeasuredPoint | None:
    """Find the finished point without a defense; None if there is none."""
    return next((found for found in view.finished.values() if found[0].defense == UNDEFENDED), None)


def undefended_clone(view: StudyView, attacker: str | None = None) -> float | None:
    """Return the undefended victim's clone accuracy, of one attacker or of the study's own measure, if known."""
    without = undefended_point(view)
    return flat(without[1]["test"]).get(attack_of(view.study, attacker)) if without else None


def chance(view: StudyView) -> float | None:
    """Return 1/K, the accuracy of guessing among K classes; None before a victim has answered."""
    return 1 / view.shapes["test"][1] if view.shapes else None


def attack_of(study: Study, attacker: str | None) -> str:
    """Name the measure of what attackers get: the study's own, or the clone of one attacker."""
    return study.attack if attacker is None else f"{ATTACKERS}{attacker}"


def cheap_first(study: Study, figures: Mapping[str, Any]) -> float:
    """Sort key of figures: their budget, from cheap to dear."""
    budget = value_of(figures, study.budget)
    return budget if measure(study.budget).direction == "min" else -budget


def budget_of(study: Study, figures: Mapping[str, Any]) -> str:
    """Show the budget among the figures of a point: l1 0.412."""
    of = measure(study.budget)
    return f"{of.head} {of.shown(value_of(figures, study.budget))}"


def flat(figures: Mapping[str, Any], measures: Iterable[str] = ()) -> dict[str, Any]:
    """Put the figures of single attackers beside the others, as `attackers.NAME`.

    Args:
        figures: of a point, or their intervals.
        measures: those that are known of points without a gate, too.
    """
    clones = {f"{ATTACKERS}{name}": value for name, value in figures.get("attackers", {}).items()}
    found = {name: figures[name] for name in MEASURES if name in figures}
    return found | known_values(figures, measures) | clones


def _row(view: StudyView, point: Point, fronts: Collection[int]) -> PointRow:
    state, outcome, figures = view.state(point), view.outcomes.get(point.number), view.figures(point)
    own = view.study.measures
    if state == "failed" and outcome:
        return PointRow(point, state, outcome.reason or "")
    if outcome and outcome.bounds:
        test, validation = (flat(outcome.bounds[part], own) for part in ("test", "validation"))
        return PointRow(point, state, _why_stopped(outcome), test, validation)
    if figures is None:
        return PointRow(point, state)
    standing = "front" if point.number in fronts else "finished" if view.within_limits(point) else "beyond"
    return PointRow(
        point,
        standing,
        test=flat(figures["test"], own),
        validation=flat(figures["validation"], own),
        spread=_spread([flat(run["test"], own) for run in figures["runs"].values()]),
        intervals=flat(view.intervals(figures["test"])),
    )


def _why_stopped(outcome: Outcome) -> str:
    return "beyond the limits" if outcome.by is None else f"beaten by point {outcome.by}"


def _spread(runs: list[dict[str, float]]) -> dict[str, Range]:
    if len(runs) < 2:
        return {}
    return {name: (min(run[name] for run in runs), max(run[name] for run in runs)) for name in runs[0]}
