"""What clones will come to, before they begin: a linear model of the finished points of the same defense.

It knows what a matrix costs (l1), when its optimization began (`st_epoch`), and the validation accuracy of the
surrogate that it was optimized against, which has trained on its answers. The samplers learn from its expectation
where a point is stopped before any clone of it has begun, and `search.screen` stops points by its lower bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ENOUGH = 10
"""Finished points from which on there are lower bounds."""

SHRINKAGE = 1.0
"""Weight, in points, of the assumption that nothing makes a difference."""

Known = tuple[float | None, ...]
"""What is known of a point before its clones begin; None where that is missing."""


class _Fit(NamedTuple):
    """A prediction for one point, and by how much models that are fitted to the others miss each finished one."""

    expected: NDArray[np.float64]  # (Q,)
    residuals: NDArray[np.float64]  # (N, Q)


class ClonePrediction:
    """Predicts measures of clones, accuracies in [0, 1], by their names."""

    def __init__(self) -> None:
        # by defense, a row a finished point
        self._known: dict[str, list[Known]] = {}
        self._came_to: dict[str, list[Mapping[str, float]]] = {}

    def add(self, defense: str, known: Known, came_to: Mapping[str, float]) -> None:
        """Learn from a finished point."""
        self._known.setdefault(defense, []).append(known)
        self._came_to.setdefault(defense, []).append(came_to)

    def expected(self, defense: str, known: Known, names: Iterable[str]) -> dict[str, float] | None:
        """Return what clones of a point will probably come to; None if no point of the defense is finished."""
        names = list(names)
        if not self._known.get(defense):
            return None
        return self._by_name(names, self._fit(defense, known, names).expected)

    def least(self, defense: str, known: Known, names: Iterable[str], risk: float) -> dict[str, float] | None:
        """Return lower bounds, wrong with a probability of about `risk`; None if too little is known.

        They are what is expected, plus a quantile of what the model missed finished points by, each predicted from
        the others (jackknife). That holds for points that are exchangeable; a search that converges makes them
        alike, but not exactly so.
        """
        names = list(names)
        count = len(self._known.get(defense, ()))
        place = math.floor((count + 1) * risk / len(names) + 1e-9) if names else 0  # 0.1 · 10 may be 0.9999…
        if count < ENOUGH or not place:
            return None
        fit = self._fit(defense, known, names)
        return self._by_name(names, fit.expected + np.sort(fit.residuals, axis=0)[place - 1])

    def _fit(self, defense: str, known: Known, names: list[str]) -> _Fit:
        """Fit ridge regressions of standardized features, an intercept among them that does not shrink."""
        columns = [
            place
            for place, value in enumerate(known)
            if value is not None and all(row[place] is not None for row in self._known[defense])
        ]
        rows = np.array([[row[place] for place in columns] for row in self._known[defense]], dtype=np.float64)
        own = np.array([known[place] for place in columns], dtype=np.float64)
        targets = np.array([[row[name] for name in names] for row in self._came_to[defense]])
        scale = np.where(rows.std(axis=0) > 0, rows.std(axis=0), np.inf)
        features = (rows - rows.mean(axis=0)) / scale
        mean = targets.mean(axis=0)
        inverse = np.linalg.inv(features.T @ features + SHRINKAGE * np.eye(len(columns)))
        weights = inverse @ features.T @ (targets - mean)
        leverage = 1 / len(rows) + np.einsum("ni,ij,nj->n", features, inverse, features)
        missed = targets - mean - features @ weights
        left_out = np.maximum(1 - leverage, np.finfo(np.float64).eps)
        return _Fit(mean + (own - rows.mean(axis=0)) / scale @ weights, missed / left_out[:, None])

    @staticmethod
    def _by_name(names: list[str], values: NDArray[np.float64]) -> dict[str, float]:
        return {name: float(value) for name, value in zip(names, np.clip(values, 0, 1), strict=True)}
