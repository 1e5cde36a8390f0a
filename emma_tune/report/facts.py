"""What answer and warnings of a report speak of: the undefended point, the best one, the controls, chance."""

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
"""The defence that is none."""

ONE_POINT = 0.01
"""What is within a hundredth of accuracy is told as the same."""


class Snapshot(StudyView):
    """A study at one moment: of points that still run nothing is read twice, so that all of a page agrees."""

    @cached_property
    def _seen(self) -> dict[int, Figures | None]:
        return {}

    def figures(self, point: Point) -> Figures | None:
        """As `StudyView.figures`, remembered."""
        if point.number not in self._seen:
            self._seen[point.number] = super().figures(point)
        return self._seen[point.number]


@dataclass(frozen=True)
class Facts:
    """A study, as a report speaks of it. Points are told by their test figures, and chosen by validation figures.

    Attributes:
        study: the study.
        status: `status.status_of`.
        classes: K; None while no victim has answered.
        images: how many the figures are measured on, by part; empty while no victim has answered.
        undefended: the point without a defence; None while it is not finished.
        best: `evidence.best.best_point` within the study's limits.
        searched: the best point of the searched defence within the limits; None without any.
        control: the control with the least worst clone, among those within the limits that cost no more than the
            best point, or else among all within them; None without any.
        front: members of the front, in order of the first objective.
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
        """What guessing reaches, 1/K."""
        return 1 / self.classes if self.classes else None

    @property
    def chosen(self) -> dict[str, Any] | None:
        """The best point within the limits."""
        point: dict[str, Any] | None = self.best["point"]
        return point

    @property
    def gain(self) -> float | None:
        """By how much the chosen point lowers the worst clone's test accuracy; None where that is not known."""
        if not self.chosen or not self.undefended:
            return None
        return float(self.undefended["attacker_accuracy"] - self.chosen["attacker_accuracy"])

    @property
    def helps(self) -> bool:
        """Whether the chosen point is a defence that lowers the worst clone by more than a point."""
        defends = self.chosen is not None and self.chosen["defense"] != NOTHING
        return defends and (self.gain is None or self.gain > ONE_POINT + 1e-9)

    @property
    def learned(self) -> bool:
        """Whether the chosen point is a matrix that was learned."""
        return self.chosen is not None and self.chosen["defense"] == SEARCHED


def facts_of(view: StudyView) -> Facts:
    """Reads them, without opening the records of concluded points."""
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


def worst_thief(point: Mapping[str, Any]) -> str:
    """The thief with the best clone of a point."""
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
    """The finished point with the least worst clone among those wanted, as `best_point` describes one."""
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
    """K and the number of images of each part, from the shape of a victim's answers: no tensor is loaded."""
    for seed in view.study.seeds:
        _, posteriors = view.planner.foundation(seed)
        try:
            shapes = view.store.shapes("posteriors", posteriors.key)
            return shapes["test"][1], {part: shape[0] for part, shape in shapes.items()}
        except (OSError, CorruptArtifactError, LookupError):
            continue
    return None, {}
