"""The points that the sentences of a report compare: the undefended one, the best one, the best control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emma_tune.defenses import CONTROLS, LEARNED, UNDEFENDED
from emma_tune.outputs.points import ONE_POINT, chance, cheap_first, flat, fronts_of
from emma_tune.plan import Point
from emma_tune.results import StudyView
from emma_tune.results.best import best_point
from emma_tune.results.figures import Figures
from emma_tune.results.intervals import overlap
from emma_tune.results.status import status_of
from emma_tune.study import Study
from emma_tune.study.measures import value_of

Described = Mapping[str, Any]
"""A finished point as `StudyView.described` describes it."""


@dataclass(frozen=True)
class Summary:
    """A study as a report describes it: points are chosen by validation figures and described by test figures.

    Attributes:
        study: the study.
        folder: of the study, for commands to type.
        status: `status.status_of`.
        chance: the accuracy of guessing, 1/K; None before a victim has answered.
        images: how many the figures are measured on, by part; empty before a victim has answered.
        asked: how many answers each attacker asks at most; empty before a victim has answered.
        undefended: the point without a defense; None before it is finished.
        best: `best.best_point` within the study's limits.
        learned: the best point with a learned matrix within the limits; None without one.
        control: of the controls within the limits that cost no more than the best point, or else of all within the
            limits, the one at which attackers get least; None without one.
        front: points on the joint front or on the own front of a searched defense.
        fronts: by searched defense its own front, as `StudyView.front` describes it.
        unchanged: numbers of the points of defenses whose answers are those of the undefended victim.
    """

    study: Study
    folder: str
    status: Mapping[str, Any]
    chance: float | None
    images: Mapping[str, int]
    asked: Mapping[str, int]
    undefended: Described | None
    best: Mapping[str, Any]
    learned: Described | None
    control: Described | None
    front: list[Point]
    fronts: Mapping[str, Mapping[str, Any]]
    unchanged: list[int]

    @property
    def chosen(self) -> Described | None:
        """The best point within the limits."""
        point: Described | None = self.best["point"]
        return point

    @property
    def gain(self) -> float | None:
        """By how much the chosen point lowers the clone's test accuracy; None if unknown."""
        if not self.chosen or not self.undefended:
            return None
        return self.clone(self.undefended) - self.clone(self.chosen)

    @property
    def helps(self) -> bool:
        """Whether the chosen point is a defense that lowers the clone's accuracy by more than a point."""
        defends = self.chosen is not None and self.chosen["defense"] != UNDEFENDED
        return defends and (self.gain is None or self.gain > ONE_POINT)

    @property
    def chosen_is_learned(self) -> bool:
        """Whether the chosen point is a learned matrix."""
        return self.chosen is not None and self.chosen["defense"] in LEARNED

    def clone(self, point: Described) -> float:
        """Return what attackers get from a point, by test figures and the study's own measure of that."""
        return value_of(point, self.study.attack)

    def alike(self, one: Described | None, other: Described | None) -> bool:
        """Whether the intervals of two points' clones overlap, so that they are not distinguishable."""
        ends = [flat(point["intervals"]).get(self.study.attack) if point else None for point in (one, other)]
        return all(ends) and overlap(*ends)  # type: ignore[arg-type]


def summary_of(view: StudyView) -> Summary:
    """Summarize a study without opening the records of concluded points."""
    kept_by = view.study.limits.kept_by
    best, shown = best_point(view, view.study.limits.bounds), view.front()
    on_fronts = {number for front in fronts_of(view, None).values() for number in front}
    return Summary(
        study=view.study,
        folder=str(view.folder.root),
        status=status_of(view),
        chance=chance(view),
        images={part: shape[0] for part, shape in view.shapes.items()},
        asked=view.asked,
        undefended=_least(view, lambda point, _: point.defense == UNDEFENDED),
        best=best,
        learned=_least(view, lambda point, of: point.defense in LEARNED and kept_by(of["validation"])),
        control=_control(view, best["point"]),
        front=[view.ledger.points[number] for number in sorted(on_fronts)],
        fronts=shown["fronts"],
        unchanged=shown["unchanged"],
    )


def worst_attacker(study: Study, point: Described) -> str:
    """Return the attacker with the most accurate clone of a point, of those that count."""
    clones: dict[str, float] = {name: of for name, of in point["attackers"].items() if name in study.counting}
    return max(clones, key=lambda name: float(clones[name]))


def _control(view: StudyView, chosen: Described | None) -> Described | None:
    study = view.study

    def kept(point: Point, figures: Figures) -> bool:
        return point.defense in CONTROLS and study.limits.kept_by(figures["validation"])

    def as_cheap(point: Point, figures: Figures) -> bool:
        costs = [cheap_first(study, of["validation"]) for of in (figures, chosen) if of]
        return kept(point, figures) and costs == sorted(costs)

    return _least(view, as_cheap) or _least(view, kept)


def _least(view: StudyView, wanted: Callable[[Point, Figures], bool]) -> Described | None:
    """Find the wanted finished point at which attackers get least, by validation figures."""
    found = [
        (value_of(figures["validation"], view.study.attack), point.number, point, figures)
        for point, figures in view.finished.values()
        if wanted(point, figures)
    ]
    if not found:
        return None
    *_, point, figures = min(found, key=lambda of: of[:2])
    return view.described(point, figures)
