"""The points of a report, one row each: standing, figures, and their range over seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from emma_tune.plan import Point
from emma_tune.results import StudyView

MEASURES = ("l1", "victim_accuracy", "accuracy_drop", "flip_rate", "l1_queries", "attacker_accuracy")


@dataclass(frozen=True)
class Row:
    """A point.

    Attributes:
        point: the point.
        state: `front`, `finished`, `beyond` (the limits), `dominated`, `failed` or `unfinished`.
        note: which point beats a stopped one, or why one failed; empty otherwise.
        test: measures of the test part by name; of a stopped point its costs only, where they are known.
        validation: the same of the validation part.
        clones: clone accuracy on test images by attacker.
        spread: lowest and highest value over the runs, by measure; empty with a single run.
        clones_spread: the same by attacker.
    """

    point: Point
    state: str
    note: str = ""
    test: Mapping[str, float] = field(default_factory=dict)
    validation: Mapping[str, float] = field(default_factory=dict)
    clones: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    clones_spread: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def rows_of(view: StudyView) -> list[Row]:
    """List every point in order; only the records of unfinished points are opened."""
    front = {point.number for point, _ in view.members()}
    return [_row(view, point, front) for point in view.ledger.points.values()]


def _row(view: StudyView, point: Point, front: Collection[int]) -> Row:
    state, outcome, figures = view.state(point), view.outcomes.get(point.number), view.figures(point)
    if state == "failed" and outcome:
        return Row(point, state, outcome.reason or "")
    if state == "dominated" and outcome and outcome.bounds:
        bounds = outcome.bounds
        exact = {name: value for name, value in bounds["test"].items() if name in MEASURES}
        return Row(point, state, f"beaten by point {outcome.by}", test=exact)
    if figures is None:
        return Row(point, state)
    standing = "front" if point.number in front else "finished" if view.within_limits(point) else "beyond"
    runs = [run["test"] for run in figures["runs"].values()]
    test = figures["test"]
    return Row(
        point,
        standing,
        test=_plain(test),
        validation=_plain(figures["validation"]),
        clones=dict(test["attackers"]),
        spread=_spread([_plain(run) for run in runs]),
        clones_spread=_spread([run["attackers"] for run in runs]),
    )


def _plain(figures: Mapping[str, Any]) -> dict[str, float]:
    return {name: figures[name] for name in MEASURES}


def _spread(runs: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    if len(runs) < 2:
        return {}
    return {name: (min(run[name] for run in runs), max(run[name] for run in runs)) for name in runs[0]}
