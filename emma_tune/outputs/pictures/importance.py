"""Which hyperparameters mattered: shares of the variance by fANOVA (Hutter et al. 2014), as a table.

Shares go by validation figures, the ones that the search has seen.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from emma_tune.results import StudyView
from emma_tune.study import Dimension, WholeChoice

EACH = 4  # known points for each searched hyperparameter from which on importances are shown


def importance_table(view: StudyView) -> pd.DataFrame:
    """List `defense`, `objective`, `parameter`, `points` (known) and `importance` (a share; empty if too few)."""
    rows = []
    points = view.points()
    for defense, search in view.study.searches.items():
        space = {name: _distribution(of) for name, of in search.space.items() if len(of.grid()) != 1}
        own: list[dict[Any, Any]] = points[points.defense == defense].to_dict("records") if len(points) else []
        for objective in view.study.objectives:
            trials = _trials(own, f"validation.{objective}", space)
            shares = _shares(trials) if len(space) > 1 and len(trials) >= EACH * len(space) else {}
            rows += [(defense, objective, name, len(trials), shares.get(name)) for name in space]
    columns = ("defense", "objective", "parameter", "points", "importance")
    return pd.DataFrame(rows, columns=columns).astype({"importance": float})


def _distribution(dimension: Dimension | WholeChoice) -> BaseDistribution:
    grid = dimension.grid()
    if isinstance(dimension, Dimension) and dimension.step is not None:
        return FloatDistribution(grid[0], grid[-1], step=dimension.step)
    if grid:
        return CategoricalDistribution(grid)
    assert isinstance(dimension, Dimension), "epochs are always choices"
    return FloatDistribution(*dimension.bounds, log=dimension.log)


def _trials(
    points: Iterable[Mapping[str, Any]], measure: str, space: Mapping[str, BaseDistribution]
) -> list[FrozenTrial]:
    """Turn points with a known measure into trials; stopped points have theirs of costs."""
    trials = []
    for point in points:
        value = point.get(measure)
        if value is not None and not math.isnan(value):
            with contextlib.suppress(ValueError):  # a point outside the present space
                params = {name: point[name] for name in space}
                trials.append(create_trial(params=params, distributions=dict(space), value=value))
    return trials


def _shares(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    if len({trial.value for trial in trials}) < 2:
        return {}  # there is no variance to share out
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    study.add_trials(trials)
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
