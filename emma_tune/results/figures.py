"""The measures of a point, from the metrics of its tasks: final ones, and bounds while it is under way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal, NotRequired, TypedDict, TypeVar

from emma_tune.plan import PointPlan, Task
from emma_tune.storage.artifact import Metrics
from emma_tune.study.measures import ATTACKERS, MEASURES, OF_EVERY_STUDY

K = TypeVar("K")

Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")
"""Parts of the images by which points are chosen, and by which they are shown."""

PartFigures = dict[str, Any]
"""Measures of a point on one part by name, and under `attackers` clone accuracy by attacker."""


class Figures(TypedDict):
    """Measures of a point.

    Attributes:
        validation: those that decide.
        test: those that are shown.
        runs: the same of each run, by its seed; missing inside a run.
    """

    validation: PartFigures
    test: PartFigures
    runs: NotRequired[dict[str, Figures]]


MetricsOf = Callable[[Task], Metrics | None]
"""Metrics of a task, None while it is not finished."""

Clones = Mapping[tuple[int, str], Metrics]
"""Metrics of evaluations, by run and attacker."""


def point_figures(plan: PointPlan, metrics_of: MetricsOf) -> Figures | None:
    """Gather a point's measures: means over runs; of clones, those of the best epoch by validation accuracy.

    Returns:
        For each part `l1`, `l1_queries`, `victim_accuracy`, `accuracy_drop`, `flip_rate`, the measures of
        plug-ins, `attackers` (clone accuracy by name) and `attacker_accuracy` (the worst case: per run the maximum
        over attackers, then the mean); the same of each run under `runs`; None while one is missing.
    """
    costs, clones = _measured(plan, metrics_of), _finished(plan.evaluations, metrics_of)
    if len(costs) < len(plan.responses) or len(clones) < len(plan.evaluations):
        return None
    return _over_runs(
        costs,
        lambda part, runs: _costs(part, [costs[run] for run in runs]) | _clones(_accuracies(part, clones, runs)),
    )


def front_figures(plan: PointPlan, metrics_of: MetricsOf) -> Figures | None:
    """Gather what the attackers of the fronts reach at a point, planned by `Planner.front_attack`.

    Returns:
        For each part `attackers`, clone accuracy by name; the same of each run under `runs`; None while one is
        missing.
    """
    clones = _finished(plan.evaluations, metrics_of)
    if len(clones) < len(plan.evaluations):
        return None
    return _over_runs(
        plan.responses, lambda part, runs: {"attackers": _clones(_accuracies(part, clones, runs))["attackers"]}
    )


def with_front_figures(figures: Figures, more: Figures) -> Figures:
    """Add what the attackers of the fronts reach to a point's figures; the worst case stays what it is."""

    def joined(own: Figures, others: Figures) -> Figures:
        return _by_part(
            lambda part: {**own[part], "attackers": {**own[part]["attackers"], **others[part]["attackers"]}}
        )

    runs = {run: joined(of_run, more["runs"][run]) for run, of_run in figures["runs"].items()}
    return {**joined(figures, more), "runs": runs}


def against(figures: Figures, attacker: str | None) -> Figures | None:
    """Put one attacker's clone in place of the worst one; None where that attacker does not attack the point."""
    if attacker is None:
        return figures
    if any(attacker not in figures[part]["attackers"] for part in PARTS):
        return None
    return _by_part(lambda part: {**figures[part], "attacker_accuracy": figures[part]["attackers"][attacker]})


def flat(figures: Mapping[str, Any]) -> dict[str, float]:
    """Put the clone accuracies of single attackers beside the other measures of a part, as `attackers.NAME`."""
    others = {name: value for name, value in figures.items() if name != "attackers"}
    return others | {f"{ATTACKERS}{name}": value for name, value in figures.get("attackers", {}).items()}


def with_clones(figures: Mapping[str, Any], clones: Mapping[str, float]) -> PartFigures:
    """Put measures of clones, by their names as `flat` has them, beside what a defense costs."""
    worst = {name: value for name, value in clones.items() if not name.startswith(ATTACKERS)}
    single = {name.removeprefix(ATTACKERS): value for name, value in clones.items() if name not in worst}
    return {**figures, **worst, "attackers": single}


def best_possible(plan: PointPlan, metrics_of: MetricsOf, reached: Mapping[str, float]) -> Figures:
    """Bound what an unfinished point can still reach: the best figures, for the defender.

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
    costs, least = _measured(plan, metrics_of), MEASURES["attacker_accuracy"].best
    accuracies, best = _validated(plan, metrics_of, reached), _best_costs(plan)
    clones = {place: accuracies.get(place, least) for place in plan.evaluations}
    return {
        "validation": _costs("validation", [costs.get(run, best) for run in plan.responses]) | _clones(clones),
        "test": _costs("test", list(costs.values())) if len(costs) == len(plan.responses) else {},
    }


def expected(plan: PointPlan, metrics_of: MetricsOf, forecast: Mapping[str, float]) -> PartFigures | None:
    """Estimate the validation figures that a stopped point would have reached, over the runs that have begun.

    Args:
        plan: the point's tasks.
        metrics_of: asked for responses and evaluations.
        forecast: expected validation accuracy at the end of training, by the key of the attacker's task.

    Returns:
        Measures as `point_figures` has them; an attacker that has begun nowhere counts as the worst one. Without
        those of clones if none has begun; None if no responses are done.
    """
    costs, clones = _measured(plan, metrics_of), _validated(plan, metrics_of, forecast)
    if not costs:
        return None
    figures = _costs("validation", list(costs.values()))
    if clones:
        figures |= _clones(clones)
        names = {name: figures["attacker_accuracy"] for _, name in plan.attackers}
        figures["attackers"] = names | figures["attackers"]
    return figures


def _best_costs(plan: PointPlan) -> Metrics:
    """Return costs that no defense can improve on, as the metrics of a run."""
    names = (*OF_EVERY_STUDY, *(name for _, name in plan.measures))
    measures = [MEASURES[name] for name in names]
    return {of.metric.format(part=part): of.best for of in measures if of.metric for part in PARTS}


def _by_part(figures_of: Callable[[Part], PartFigures]) -> Figures:
    return {"validation": figures_of("validation"), "test": figures_of("test")}


def _over_runs(runs: Collection[int], measured: Callable[[Part, Collection[int]], PartFigures]) -> Figures:
    """Take figures over all runs, and over each of them alone."""

    def over(some: Collection[int]) -> Figures:
        return _by_part(lambda part: measured(part, some))

    return {**over(runs), "runs": {str(run): over([run]) for run in runs}}


def _finished(tasks: Mapping[K, Task], metrics_of: MetricsOf) -> dict[K, Metrics]:
    found = {place: metrics_of(task) for place, task in tasks.items()}
    return {place: metrics for place, metrics in found.items() if metrics is not None}


def _measured(plan: PointPlan, metrics_of: MetricsOf) -> dict[int, Metrics]:
    """Collect what the defense costs, of the runs in which all of it is measured."""
    costs, others = _finished(plan.responses, metrics_of), _finished(plan.measures, metrics_of)
    names = {name for _, name in plan.measures}
    return {
        run: {**metrics, **{metric: value for name in names for metric, value in others[run, name].items()}}
        for run, metrics in costs.items()
        if all((run, name) in others for name in names)
    }


def _validated(
    plan: PointPlan, metrics_of: MetricsOf, otherwise: Mapping[str, float]
) -> dict[tuple[int, str], float]:
    """Collect the validation accuracy of each clone: as evaluated, or else by the key of its training."""
    found = {place: otherwise[task.key] for place, task in plan.attackers.items() if task.key in otherwise}
    evaluated = _finished(plan.evaluations, metrics_of)
    return found | _accuracies("validation", evaluated, plan.responses)


def _costs(part: Part, of_runs: Sequence[Mapping[str, float]]) -> PartFigures:
    metrics = {name: of.metric.format(part=part) for name, of in MEASURES.items() if of.metric}
    known = {name: metric for name, metric in metrics.items() if all(metric in cost for cost in of_runs)}
    return {name: fmean(cost[metric] for cost in of_runs) for name, metric in known.items()}


def _accuracies(part: Part, clones: Clones, runs: Collection[int]) -> dict[tuple[int, str], float]:
    return {place: metrics[f"{part}.clone_accuracy.best"] for place, metrics in clones.items() if place[0] in runs}


def _clones(accuracies: Mapping[tuple[int, str], float]) -> PartFigures:
    """Compute the worst case, per run the maximum over attackers, then the mean; and each attacker's mean."""
    of_runs: dict[int, list[float]] = {}
    of_names: dict[str, list[float]] = {}
    for (run, name), accuracy in accuracies.items():
        of_runs.setdefault(run, []).append(accuracy)
        of_names.setdefault(name, []).append(accuracy)
    return {
        "attacker_accuracy": fmean(max(of_run) for of_run in of_runs.values()),
        "attackers": {name: fmean(of_name) for name, of_name in of_names.items()},
    }
