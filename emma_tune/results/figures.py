"""The measures of a point, out of the metrics of its tasks: in the end, and at best while it is under way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, TypeVar

from emma_tune.plan import PointPlan, Task
from emma_tune.storage.artifact import Metrics
from emma_tune.study.measures import MEASURES

K = TypeVar("K")
V = TypeVar("V")
Figures = dict[str, dict[str, Any]]
"""Measures of a point by part, `validation` and `test`; of each of its runs under `runs`, by the run's seed."""

MetricsOf = Callable[[Task], Metrics | None]
"""Metrics of a task, None while it is not finished."""

PARTS = ("validation", "test")

Clones = Mapping[tuple[int, str], Metrics]
"""Metrics of evaluations, by run and attacker."""


def point_figures(plan: PointPlan, metrics_of: MetricsOf) -> Figures | None:
    """Gather a point's measures: means over runs; of clones, those of the best epoch by validation accuracy.

    Args:
        plan: the point's tasks.
        metrics_of: asked for responses and evaluations.

    Returns:
        For each part `l1`, `l1_queries`, `victim_accuracy`, `accuracy_drop`, `flip_rate`, `attackers` (clone
        accuracy by name) and `attacker_accuracy` (the worst case: per run the maximum over attackers, then the
        mean); the same of each run under `runs`; None while one is missing.
    """
    costs = {run: metrics_of(task) for run, task in plan.responses.items()}
    clones = {place: metrics_of(task) for place, task in plan.evaluations.items()}
    known, evaluated = _known(costs), _known(clones)
    if len(known) < len(costs) or len(evaluated) < len(clones):
        return None

    def of_runs(runs: Collection[int]) -> Figures:
        here = {place: metrics for place, metrics in evaluated.items() if place[0] in runs}
        return {
            part: _costs(part, [known[run] for run in runs]) | _clones(_accuracies(part, here)) for part in PARTS
        }

    return {**of_runs(known), "runs": {str(run): of_runs([run]) for run in known}}


def front_figures(plan: PointPlan, metrics_of: MetricsOf) -> Figures | None:
    """Gather what the attackers of the fronts (`when: front`) reach at a point.

    Args:
        plan: of these attackers, `Planner.verdict`.
        metrics_of: asked for evaluations.

    Returns:
        For each part `attackers`, clone accuracy by name; the same of each run under `runs`; None while one is
        missing.
    """
    clones = {place: metrics_of(task) for place, task in plan.evaluations.items()}
    known = _known(clones)
    if len(known) < len(clones):
        return None

    def of_runs(runs: Collection[int]) -> Figures:
        here = {place: metrics for place, metrics in known.items() if place[0] in runs}
        return {part: {"attackers": _clones(_accuracies(part, here))["attackers"]} for part in PARTS}

    runs = list(plan.responses)
    return {**of_runs(runs), "runs": {str(run): of_runs([run]) for run in runs}}


def with_front_figures(figures: Figures, more: Mapping[str, Any]) -> Figures:
    """Add what the attackers of the fronts reach to a point's figures; the worst case stays what it is."""

    def joined(own: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
        return {
            part: {**own[part], "attackers": {**own[part]["attackers"], **others[part]["attackers"]}}
            for part in PARTS
        }

    runs = {run: joined(of_run, more["runs"][run]) for run, of_run in figures["runs"].items()}
    return {**joined(figures, more), "runs": runs}


def against(figures: Figures, attacker: str | None) -> Figures | None:
    """Put one attacker's clone in place of the worst one; None where that attacker does not attack the point."""
    if attacker is None:
        return figures
    if any(attacker not in figures[part]["attackers"] for part in PARTS):
        return None
    return {part: {**figures[part], "attacker_accuracy": figures[part]["attackers"][attacker]} for part in PARTS}


def best_possible(plan: PointPlan, metrics_of: MetricsOf, reached: Mapping[str, float]) -> Figures:
    """Bound what an unfinished point can still come to: the best, for the defender.

    A clone's best accuracy only grows while it trains, and the worst case is a maximum over attackers: what they
    have reached, and 0 for one that has not begun, is a lower bound. Costs are exact for the runs whose responses
    are done and the best conceivable for the others; the mean of bounds bounds the mean.

    Args:
        plan: the point's tasks.
        metrics_of: asked for responses and evaluations.
        reached: best validation accuracy so far, by the key of the attacker's task.

    Returns:
        Under `validation` all that `point_figures` has there; under `test` the costs, once they are known.
    """
    costs = {run: metrics_of(task) for run, task in plan.responses.items()}
    known, least = _known(costs), MEASURES["attacker_accuracy"].best
    clones = {
        place: least if accuracy is None else accuracy
        for place, accuracy in _validated(plan, metrics_of, reached).items()
    }
    return {
        "validation": _costs("validation", [cost or BEST_COSTS for cost in costs.values()]) | _clones(clones),
        "test": _costs("test", list(known.values())) if len(known) == len(costs) else {},
    }


def expected(plan: PointPlan, metrics_of: MetricsOf, forecast: Mapping[str, float]) -> dict[str, Any] | None:
    """Estimate the validation figures that a stopped point would have come to, over the runs that have begun.

    Args:
        plan: the point's tasks.
        metrics_of: asked for responses and evaluations.
        forecast: expected validation accuracy at the end of training, by the key of the attacker's task.

    Returns:
        Measures as `point_figures` has them; an attacker that has begun nowhere counts as the worst one. Without
        those of clones if none has begun; None if no responses are done.
    """
    costs = _known({run: metrics_of(task) for run, task in plan.responses.items()})
    clones = _known(_validated(plan, metrics_of, forecast))
    if not costs:
        return None
    figures = _costs("validation", list(costs.values()))
    if clones:
        figures |= _clones(clones)
        names = {name: figures["attacker_accuracy"] for _, name in plan.attackers}
        figures["attackers"] = names | figures["attackers"]
    return figures


BEST_COSTS = {
    metric: of.best
    for of in MEASURES.values()
    if of.metric
    for metric in {of.metric.format(part=part) for part in PARTS}
}
"""Costs that no defense can better, as the metrics of a responses task."""


def _known(found: Mapping[K, V | None]) -> dict[K, V]:
    return {key: value for key, value in found.items() if value is not None}


def _validated(
    plan: PointPlan, metrics_of: MetricsOf, otherwise: Mapping[str, float]
) -> dict[tuple[int, str], float | None]:
    """Validation accuracy of each clone: as evaluated, or else by the key of its training; None if neither."""
    found: dict[tuple[int, str], float | None] = {}
    for place, task in plan.evaluations.items():
        metrics = metrics_of(task)
        own = otherwise.get(plan.attackers[place].key)
        found[place] = metrics["validation.clone_accuracy.best"] if metrics else own
    return found


def _costs(part: str, of_runs: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    metrics = {name: of.metric.format(part=part) for name, of in MEASURES.items() if of.metric}
    return {name: fmean(cost[metric] for cost in of_runs) for name, metric in metrics.items()}


def _accuracies(part: str, clones: Clones) -> dict[tuple[int, str], float]:
    return {place: metrics[f"{part}.clone_accuracy.best"] for place, metrics in clones.items()}


def _clones(accuracies: Mapping[tuple[int, str], float]) -> dict[str, Any]:
    """The worst case, per run the maximum over attackers and then the mean, and each attacker's mean over runs."""
    of_runs: dict[int, list[float]] = {}
    of_names: dict[str, list[float]] = {}
    for (run, name), accuracy in accuracies.items():
        of_runs.setdefault(run, []).append(accuracy)
        of_names.setdefault(name, []).append(accuracy)
    return {
        "attacker_accuracy": fmean(max(of_run) for of_run in of_runs.values()),
        "attackers": {name: fmean(of_name) for name, of_name in of_names.items()},
    }
