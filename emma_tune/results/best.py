"""The point to deploy: the best defense within given bounds on its costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emma_tune.results.figures import Figures, PartFigures
from emma_tune.results.intervals import overlap, wilson
from emma_tune.results.view import StudyView
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.study.measures import ATTACKERS, measure, value_of


def best_point(view: StudyView, bounds: Mapping[str, float]) -> dict[str, Any]:
    """Find the finished point at which attackers get least and that keeps all bounds, by validation figures.

    What attackers get is the study's own objective of that kind (`Study.attack`): the worst clone's accuracy, or
    that of one attacker.

    Args:
        view: the study.
        bounds: by measure of a point, the worst value accepted.

    Returns:
        `budget` and `attack`: the measures that decide. `point`: as `StudyView.described`, with `broken` (bounds
        that its test figures do not keep); None if no point keeps them. `alike`: numbers of the other points that
        keep them and whose clone's interval of test accuracy overlaps with its clone's. `nearest`: without a
        point, the one whose largest excess, as a share of the measure's whole range, is smallest; with its
        `excess` by measure. `candidates`: how many finished points keep the bounds, `finished`: how many there
        are. `stopped`: numbers of points that were stopped, as dominated or beyond the limits, and might yet keep
        the bounds and be better than `point`. `counts` as `StudyView.counts`.
    """
    study = view.study
    finished = {number: figures for number, (_, figures) in view.finished.items()}
    keeping = {number: of for number, of in finished.items() if not excess(of["validation"], bounds)}
    order = sorted(keeping, key=lambda number: (*_rank(study, keeping[number]["validation"]), number))
    chosen = order[0] if order else None
    nearest = None
    if chosen is None and finished:
        far = {n: max(_shares(excess(of["validation"], bounds)).values()) for n, of in finished.items()}
        nearest = min(far, key=lambda number: (far[number], number))
    return {
        "study": study.name,
        "bounds": dict(bounds),
        "budget": study.budget,
        "attack": study.attack,
        "candidates": len(keeping),
        "finished": len(finished),
        "counts": view.counts(),
        "images": {part: shape[0] for part, shape in view.shapes.items()},
        "point": None if chosen is None else _described(view, chosen, finished[chosen], bounds),
        "alike": [] if chosen is None else _alike(view, finished[chosen], {n: keeping[n] for n in order[1:]}),
        "nearest": None if nearest is None else _described(view, nearest, finished[nearest], bounds),
        "stopped": _stopped(view, None if chosen is None else finished[chosen], bounds),
    }


def best_number(view: StudyView) -> int:
    """Return the number of the best point within the study's limits; raise StudyError as `check_found` does."""
    found = best_point(view, view.study.limits.bounds)
    check_found(view, found)
    return int(found["point"]["point"])


def check_found(view: StudyView, found: Mapping[str, Any]) -> None:
    """Raise StudyError if no point keeps the bounds, as `best_point` describes it; it names the closest."""
    if found["point"]:
        return
    where, nearest = view.folder.root, found["nearest"]
    if not nearest:
        raise StudyError(
            f"{where}: expected a finished point, found none; continue with: emma-tune resume {where}"
        )
    bounds = ", ".join(f"{name} ≤ {most:g}" for name, most in found["bounds"].items())
    whose = "the study's limits" if found["bounds"] == view.study.limits.bounds else "bounds"
    over = ", ".join(f"{name} by {value:.4f}" for name, value in nearest["excess"].items())
    raise StudyError(
        f"{where}: expected a finished point within {whose} ({bounds}), found none; the closest, point "
        f"{nearest['point']}, exceeds {over}: choose it by its number"
    )


def bounded(study: Study) -> list[str]:
    """List the measures of a point that can be given a largest value."""
    everywhere = [name for name, of in study.counting.items() if not of.attack.needs_matrix]
    names = [*study.measures, *(f"{ATTACKERS}{name}" for name in everywhere)]
    return [name for name in names if study.measure(name).direction == "min"]


def check_bounds(study: Study, bounds: Mapping[str, float], where: str) -> None:
    """Raise StudyError unless these measures can be bounded by these values; `where` names the argument."""
    for name, bound in bounds.items():
        if name not in bounded(study):
            raise StudyError(f"{where}: expected one of {', '.join(bounded(study))}, found {name}")
        of = study.measure(name)
        if not of.best <= bound <= of.worst:
            raise StudyError(f"{where}: expected {name} in [{of.best:g}, {of.worst:g}], found {bound:g}")


def best_within(view: StudyView, budgets: Sequence[float]) -> dict[str, Any]:
    """Find for each budget the best point within it, of each defense: the table that papers print.

    Returns:
        `budget` and `attack`: the measures; `rows`: for each budget `at`, and under `points` by defense the best
        point within it and the study's limits, by validation figures, as `StudyView.described`; None without one.
    """
    study = view.study
    by_defense: dict[str, dict[int, Figures]] = {}
    for number, (point, figures) in view.finished.items():
        if study.limits.kept_by(figures["validation"]):
            by_defense.setdefault(point.defense, {})[number] = figures

    def best(of: Mapping[int, Figures], at: float) -> dict[str, Any] | None:
        within = {n: f for n, f in of.items() if not excess(f["validation"], {study.budget: at})}
        number = min(within, key=lambda n: (*_rank(study, within[n]["validation"]), n), default=None)
        return None if number is None else view.described(view.ledger.points[number], within[number])

    rows = [{"at": at, "points": {name: best(of, at) for name, of in by_defense.items()}} for at in budgets]
    return {"study": study.name, "budget": study.budget, "attack": study.attack, "rows": rows}


def excess(figures: PartFigures, bounds: Mapping[str, float]) -> dict[str, float]:
    """Compute by how much figures exceed bounds, by measure; bounds that are kept are left out."""
    beyond = {name: measure(name).beyond(value_of(figures, name), bound) for name, bound in bounds.items()}
    return {name: value for name, value in beyond.items() if value > 0}


def _shares(beyond: Mapping[str, float]) -> dict[str, float]:
    return {name: value / abs(measure(name).worst - measure(name).best) for name, value in beyond.items()}


def _described(view: StudyView, number: int, figures: Figures, bounds: Mapping[str, float]) -> dict[str, Any]:
    return view.described(
        view.ledger.points[number],
        figures,
        excess=excess(figures["validation"], bounds),
        broken=excess(figures["test"], bounds),
    )


def _rank(study: Study, figures: PartFigures) -> tuple[float, float]:
    """Sort key: what attackers get, then the budget."""
    signs = ((name, 1 if measure(name).direction == "min" else -1) for name in (study.attack, study.budget))
    attack, budget = (sign * value_of(figures, name) for name, sign in signs)
    return attack, budget


def _alike(view: StudyView, chosen: Figures, others: Mapping[int, Figures]) -> list[int]:
    """List points whose clone's interval of test accuracy overlaps with that of the chosen one."""
    count = view.shapes.get("test", (0, 0))[0]
    if not count:
        return []
    own = wilson(value_of(chosen["test"], view.study.attack), count)
    found = {n: wilson(value_of(of["test"], view.study.attack), count) for n, of in others.items()}
    return sorted(number for number, other in found.items() if overlap(own, other))


def _stopped(view: StudyView, chosen: Figures | None, bounds: Mapping[str, float]) -> list[int]:
    """List stopped points that may be better: the point that dominates them need not keep these bounds."""
    return [
        number
        for number, outcome in sorted(view.outcomes.items())
        if outcome.bounds is not None
        and not excess(outcome.bounds["validation"], bounds)
        and (
            chosen is None
            or _rank(view.study, outcome.bounds["validation"]) < _rank(view.study, chosen["validation"])
        )
    ]
