"""Fronts over seeds: what each seed's front is worth, and what some, half and all of them reach."""

from __future__ import annotations

from collections.abc import Collection
from statistics import fmean
from typing import Any

from emma_tune.results import StudyView
from emma_tune.results.front import attainment, hypervolume
from emma_tune.results.intervals import interval


def hypervolumes(
    view: StudyView, *, attacker: str | None = None, defenses: Collection[str] | None = None
) -> dict[int, float]:
    """What the front of each seed alone is worth: chosen by its validation figures, measured by its test figures.

    Args:
        view: the study.
        attacker: as `StudyView.members` takes it.
        defenses: as `StudyView.members` takes it.

    Returns:
        Hypervolumes by the seed of the victim; with repeats the mean over them.
    """
    objectives = view.study.against(attacker).objectives
    of_seed: dict[int, list[float]] = {}
    for run, seed in view.planner.runs.items():
        front = [of["test"] for _, of in view.members(run=run, attacker=attacker, defenses=defenses)]
        of_seed.setdefault(seed, []).append(hypervolume(front, objectives))
    return {seed: fmean(volumes) for seed, volumes in of_seed.items()}


def spread(
    view: StudyView, *, attacker: str | None = None, defenses: Collection[str] | None = None
) -> dict[str, Any]:
    """A front over seeds.

    Returns:
        `hypervolume_by_seed`; of these `mean`, `deviation`, `low`, `high` (95 %) and `count`; `surfaces`: the
        corners of the attainment surfaces over all runs, as `pareto.attainment` has them (of two or three
        objectives).
    """
    by_seed = hypervolumes(view, attacker=attacker, defenses=defenses)
    fronts = [
        [of["test"] for _, of in view.members(run=run, attacker=attacker, defenses=defenses)]
        for run in view.planner.runs
    ]
    objectives = view.study.against(attacker).objectives
    return {
        "hypervolume_by_seed": by_seed,
        **interval(list(by_seed.values())).as_dict(),
        "surfaces": attainment(fronts, objectives) if len(objectives) in (2, 3) else {},
    }
