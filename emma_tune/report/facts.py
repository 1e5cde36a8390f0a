"""What answer and warnings of a report are about: the undefended point, the best one, the controls, chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emma_tune.config import SEARCHED, Study
from emma_tune.defenses import CONTROLS
from emma_tune.evidence.best import best_point
from emma_tune.figures import Figures
from emma_tune.plan import Point
from emma_tune.results import SHOWN, StudyView
from emma_tune.status import status_of
from emma_tune.store import CorruptArtifactError

NOTHING = "none"
"""The name of no defense."""

ONE_POINT = 0.01
"""A difference of accuracies that counts as none."""


class Snapshot(StudyView):
    """A study at one moment: points that still run are read once, so that a page agrees with itself."""

    @cached_property
    def _seen(self) -> dict[int, Figures | None]:
        return {}

    def figures(self, point: Point) -> Figures | None:
        """Return `StudyView.figures`, remembered."""
        if point.number not in self._seen:
            self._seen[point.number] = super().figures(point)
        return self._seen[point.number]


@dataclass(frozen=True)
class Facts:
    """A study as a report describes it: points are chosen by validation figures and described by test figures.

    Attributes:
        study: the study.
        status: `status.status_of`.
        classes: K; None before a victim has answered.
        images: how many the figures are measured on, by part; empty before a victim has answered.
        undefended: the point without a defense; None before it is finished.
        best: `evidence.best.best_point` within the study's limits.
        searched: the best point of the searched defense within the limits; None without one.
        control: of the controls within the limits that cost no more than the best point, or else of all within the
            limits, the one with the least accurate worst clone; None without one.
        front: members of the joint front, in order of the first objective.
    """

    study: Study
    status: Mapping[str, Any]
    classes: int | None
    images: Mapping[str, int]
    undefended: dict[str, Any] | None
    best: Mapping[str, Any]
    searched: dict[str, Any] | None
    control: dict[str, Any] | None
    front: list[Point]

    @property
    def chance(self) -> float | None:
        """The accuracy of guessing, 1/K."""
        return 1 / self.classes if self.classes else None

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The best point within the limits."""
        point: dict[str, Any] | None = self.best["point"]
        return point

    @property
    def gain(self) -> float | None:
        """By how much the chosen point lowers the worst clone's test accuracy; None if unknown."""
        if not self.chosen or not self.undefended:
            return None
        return float(self.undefended["attacker_accuracy"] - self.chosen["attacker_accuracy"])

    @property
    def helps(self) -> bool:
        """Whether the chosen point is a defense that lowers the worst clone's accuracy by more than a point."""
        defends = self.chosen is not None and self.chosen["defense"] != NOTHING
        return defends and (self.gain is None or self.gain > ONE_POINT + 1e-9)

    @property
    def learned(self) -> bool:
        """Whether the chosen point is a learned matrix."""
        return self.chosen is not None and self.chosen["defense"] == SEARCHED


def facts_of(view: StudyView) -> Facts:
    """Read them without opening the records of concluded points."""
    limit, kept_by = view.study.limits.accuracy_drop, view.study.limits.kept_by
    best = best_point(view, {} if limit is None else {"accuracy_drop": limit})
    classes, images = _sizes(view)
    undefended = _least(view, lambda point, _: point.defense == NOTHING)
    searched = _least(view, lambda point, of: point.defense == SEARCHED and kept_by(of["validation"]))
    return Facts(
        study=view.study,
        status=status_of(view),
        classes=classes,
        images=images,
        undefended=undefended,
        best=best,
        searched=searched,
        control=_control(view, best["point"]),
        front=[point for point, _ in view.members()],
    )


def worst_attacker(point: Mapping[str, Any]) -> str:
    """Return the attacker with the most accurate clone of a point."""
    clones: Mapping[str, float] = point["attackers"]
    return max(clones, key=clones.__getitem__)


def _control(view: StudyView, chosen: Mapping[str, Any] | None) -> dict[str, Any] | None:
    def kept(point: Point, figures: Figures) -> bool:
        return point.defense in CONTROLS and view.study.limits.kept_by(figures["validation"])

    def cheap(point: Point, figures: Figures) -> bool:
        most = chosen["validation"]["l1"] if chosen else 0.0
        return kept(point, figures) and bool(figures["validation"]["l1"] <= most)

    return _least(view, cheap) or _least(view, kept)


def _least(view: StudyView, wanted: Callable[[Point, Figures], bool]) -> dict[str, Any] | None:
    """Find the wanted finished point with the least accurate worst clone, described as `best_point` does."""
    found = [
        (figures["validation"]["attacker_accuracy"], point.number, point, figures)
        for point in view.ledger.points.values()
        if (figures := view.figures(point)) and wanted(point, figures)
    ]
    if not found:
        return None
    *_, point, figures = min(found, key=lambda of: of[:2])
    return {
        "point": point.number,
        "defense": point.defense,
        "params": dict(point.params),
        **{name: figures["test"][name] for name in SHOWN},
        "validation": {name: figures["validation"][name] for name in SHOWN},
    }


def _sizes(view: StudyView) -> tuple[int | None, dict[str, int]]:
    """Read K and the number of images of each part from the shape of a victim's answers, loading no tensor."""
    for seed in view.study.seeds:
        _, posteriors = view.planner.foundation(seed)
        try:
            shapes = view.store.shapes("posteriors", posteriors.key)
            return shapes["test"][1], {part: shape[0] for part, shape in shapes.items()}
        except (OSError, CorruptArtifactError, LookupError):
            continue
    return None, {}
