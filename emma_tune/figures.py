"""The measures of a point, out of the metrics of its tasks: in the end, and at best while it is under way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from statistics import fmean
from typing import Any

from emma_tune.artifact import Metrics
from emma_tune.pareto import BEST
from emma_tune.plan import PointPlan, Task

Figures = dict[str, dict[str, Any]]
"""Measures of a point by part, `validation` and `test`; of each of its runs under `runs`, by the run's seed."""

MetricsOf = Callable[[Task], Metrics | None]
"""Metrics of a task, None while it is not finished."""

PARTS = ("validation", "test")
OF_A_PART = ("l1", "victim_accuracy", "accuracy_drop", "flip_rate")
UNKNOWN_COST = {"queries.l1": BEST["l1_queries"]} | {f"validation.{name}": BEST[name] for name in OF_A_PART}


def point_figures(plan: PointPlan, metrics_of: MetricsOf) -> Figures | None:
    """A point's measures: the mean over runs; for the thieves, of the best epoch by validation accuracy.

    Args:
        plan: the point's tasks.
        metrics_of: asked for responses and evaluations.

    Returns:
        For each part `l1`, `l1_queries`, `victim_accuracy`, `accuracy_drop`, `flip_rate`, `attackers` (clone
        accuracy by name) and `attacker_accuracy` (the worst case: per run the maximum over attackers, then the
        mean); the same of each run under `runs`; None while one is missing.
    """
    costs = {seed: metrics_of(task) for seed, task in plan.responses.items()}
    clones = {place: metrics_of(task) for place, task in plan.evaluations.items()}
    known = {seed: cost for seed, cost in costs.items() if cost is not None}
    evaluated = {place: metrics for place, metrics in clones.items() if metrics is not None}
    if len(known) < len(costs) or len(evaluated) < len(clones):
        return None

    def of_runs(runs: Collection[int]) -> Figures:
        here = {place: metrics for place, metrics in evaluated.items() if place[0] in runs}
        return {
            part: _costs(part, {run: known[run] for run in runs})
            | _clones({place: metrics[f"{part}.clone_accuracy.best"] for place, metrics in here.items()})
            for part in PARTS
        }

    return {**of_runs(known), "runs": {str(run): of_runs([run]) for run in known}}


def against(figures: Figures, attacker: str | None) -> Figures | None:
    """Figures with one thief's clone for the worst one; None where that thief has nothing to attack."""
    if attacker is None:
        return figures
    if any(attacker not in figures[part]["attackers"] for part in PARTS):
        return None
    return {part: {**figures[part], "attacker_accuracy": figures[part]["attackers"][attacker]} for part in PARTS}


def best_possible(plan: PointPlan, metrics_of: MetricsOf, reached: Mapping[str, float]) -> Figures:
    """The best, for the defender, that an unfinished point can still come to.

    A clone's best accuracy only grows while it trains, and the worst case is a maximum over attackers: what they
    have reached, and 0 for one that has not begun, is a lower bound. Costs are exact for the seeds whose
    responses are done and the best conceivable for the others; the mean of bounds bounds the mean.

    Args:
        plan: the point's tasks.
        metrics_of: asked for responses and evaluations.
        reached: best validation accuracy so far, by the key of the attacker's task.

    Returns:
        Under `validation` all that `point_figures` has there; under `test` the costs, once they are known.
    """
    costs = {seed: metrics_of(task) for seed, task in plan.responses.items()}
    known = {seed: cost for seed, cost in costs.items() if cost is not None}
    clones = {}
    for place, task in plan.evaluations.items():
        metrics = metrics_of(task)
        so_far = reached.get(plan.attackers[place].key, BEST["attacker_accuracy"])
        clones[place] = metrics["validation.clone_accuracy.best"] if metrics else so_far
    return {
        "validation": _costs("validation", {seed: cost or UNKNOWN_COST for seed, cost in costs.items()})
        | _clones(clones),
        "test": _costs("test", known) if len(known) == len(costs) else {},
    }


def _costs(part: str, of_seed: Mapping[int, Mapping[str, float]]) -> dict[str, Any]:
    return {
        **{name: fmean(cost[f"{part}.{name}"] for cost in of_seed.values()) for name in OF_A_PART},
        "l1_queries": fmean(cost["queries.l1"] for cost in of_seed.values()),
    }


def _clones(accuracies: Mapping[tuple[int, str], float]) -> dict[str, Any]:
    seeds = {seed for seed, _ in accuracies}
    names = dict.fromkeys(name for _, name in accuracies)
    return {
        "attacker_accuracy": fmean(max(accuracies[seed, name] for name in names) for seed in seeds),
        "attackers": {name: fmean(accuracies[seed, name] for seed in seeds) for name in names},
    }
