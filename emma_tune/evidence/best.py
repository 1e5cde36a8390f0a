"""The point to deploy: the best defence among those that cost no more than they may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emma_tune.pareto import BEST, WORST
from emma_tune.results import SHOWN, StudyView


def best_point(view: StudyView, bounds: Mapping[str, float]) -> dict[str, Any]:
    """The finished point with the least worst-case clone accuracy that keeps all bounds, by validation figures.

    Args:
        view: the study.
        bounds: by measure of a point, the largest value accepted.

    Returns:
        `point`: its number, defence, parameters, test figures, `validation` figures and `broken` (bounds that its
        test figures do not keep); None if no point keeps them. `nearest`: without a point, the one whose largest
        excess, as a share of the measure's whole range, is smallest; with its `excess` by measure. `candidates`:
        how many finished points keep the bounds, `finished`: how many there are. `stopped`: numbers of points that
        were stopped as dominated and might yet keep the bounds and be better than `point`. `counts` as
        `StudyView.counts`.
    """
    finished = {
        number: figures for number, point in view.ledger.points.items() if (figures := view.figures(point))
    }
    keeping = {number: of for number, of in finished.items() if not excess(of["validation"], bounds)}
    order = {number: (*_rank(of["validation"]), number) for number, of in keeping.items()}
    chosen = min(order, key=order.__getitem__, default=None)
    nearest = None
    if chosen is None and finished:
        far = {n: max(_shares(excess(of["validation"], bounds)).values()) for n, of in finished.items()}
        nearest = min(far, key=lambda number: (far[number], number))
    return {
        "study": view.study.name,
        "bounds": dict(bounds),
        "candidates": len(keeping),
        "finished": len(finished),
        "counts": view.counts(),
        "point": None if chosen is None else _described(view, chosen, finished[chosen], bounds),
        "nearest": None if nearest is None else _described(view, nearest, finished[nearest], bounds),
        "stopped": _stopped(view, None if chosen is None else finished[chosen], bounds),
    }


def excess(figures: Mapping[str, Any], bounds: Mapping[str, float]) -> dict[str, float]:
    """By how much figures are beyond bounds, by measure; what is kept is left out."""
    return {name: figures[name] - most for name, most in bounds.items() if figures[name] > most}


def _shares(beyond: Mapping[str, float]) -> dict[str, float]:
    return {name: value / abs(WORST[name] - BEST[name]) for name, value in beyond.items()}


def _described(
    view: StudyView, number: int, figures: Mapping[str, Any], bounds: Mapping[str, float]
) -> dict[str, Any]:
    point = view.ledger.points[number]
    return {
        "point": number,
        "defense": point.defense,
        "params": dict(point.params),
        **{name: figures["test"][name] for name in SHOWN},
        "validation": {name: figures["validation"][name] for name in SHOWN},
        "excess": excess(figures["validation"], bounds),
        "broken": excess(figures["test"], bounds),
    }


def _rank(validation: Mapping[str, Any]) -> tuple[float, float]:
    """What is the least of the best point."""
    return validation["attacker_accuracy"], validation["l1"]


def _stopped(view: StudyView, chosen: Mapping[str, Any] | None, bounds: Mapping[str, float]) -> list[int]:
    """Points whose clones nobody knows to their end: what dominates them need not keep these bounds."""
    return [
        number
        for number, outcome in sorted(view.outcomes.items())
        if outcome.bounds is not None
        and not excess(outcome.bounds["validation"], bounds)
        and (chosen is None or _rank(outcome.bounds["validation"]) < _rank(chosen["validation"]))
    ]
