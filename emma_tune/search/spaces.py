"""The space of a search as Optuna has it, and the points with which a search begins."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from emma_tune.study import Dimension, WholeChoice

STEP_OFF = 1e-8
"""Distance from a step, in steps, within which a value counts as on it; as Optuna has it."""

Distributions = Mapping[str, BaseDistribution]


def as_distribution(dimension: Dimension | WholeChoice) -> BaseDistribution:
    """Convert a dimension that has more than one value."""
    if dimension.choices is not None:
        return CategoricalDistribution(dimension.choices)
    if dimension.step is not None:
        grid = dimension.grid()
        return FloatDistribution(grid[0], grid[-1], step=dimension.step)
    low, high = dimension.bounds
    return FloatDistribution(low, high, log=dimension.log)


def contains(distribution: BaseDistribution, value: float | str | None) -> bool:
    """Tell whether a value can be proposed."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    assert isinstance(distribution, FloatDistribution)
    if not isinstance(value, int | float) or not distribution.low <= value <= distribution.high:
        return False
    steps = (value - distribution.low) / distribution.step if distribution.step is not None else 0
    return abs(steps - round(steps)) < STEP_OFF


def usual_point(distributions: Distributions, usual: Mapping[str, float | None]) -> dict[str, Any]:
    """Return the usual values of the parameters; where a space does not have it, the middle of a dimension."""
    return {
        name: usual.get(name) if contains(distribution, usual.get(name)) else at_quantile(distribution, 0.5)
        for name, distribution in distributions.items()
    }


def filling_point(distributions: Distributions, index: int, seed: int) -> dict[str, Any]:
    """Return a point of a scrambled Sobol sequence, which fills a space evenly."""
    from scipy.stats.qmc import Sobol

    sequence = Sobol(len(distributions), seed=seed)
    unit = sequence.fast_forward(index).random(1)[0] if index else sequence.random(1)[0]
    return {
        name: at_quantile(distribution, float(u))
        for (name, distribution), u in zip(distributions.items(), unit, strict=True)
    }


def unit_place(distributions: Distributions, params: Mapping[str, Any]) -> list[float]:
    """Return where parameters lie in a space, each in [0, 1]; choices in their order."""
    return [_place(distribution, params[name]) for name, distribution in distributions.items()]


def _place(distribution: BaseDistribution, value: Any) -> float:
    if isinstance(distribution, CategoricalDistribution):
        ordered = _ordered(distribution)
        return ordered.index(value) / (len(ordered) - 1)
    assert isinstance(distribution, FloatDistribution)
    low, high = distribution.low, distribution.high
    return math.log(value / low) / math.log(high / low) if distribution.log else (value - low) / (high - low)


def _ordered(distribution: CategoricalDistribution) -> list[float]:
    return sorted(cast(Sequence[float], distribution.choices))  # a dimension's choices are numbers


def at_quantile(distribution: BaseDistribution, u: float) -> Any:
    """Return the value below which a share u of the distribution lies, u in [0, 1)."""
    if isinstance(distribution, CategoricalDistribution):
        return _ordered(distribution)[int(u * len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        return min(high, max(low, low * (high / low) ** u))
    if distribution.step is not None:
        steps = round((high - low) / distribution.step) + 1
        return min(high, low + int(u * steps) * distribution.step)
    return low + u * (high - low)
