"""What clones will come to, before they begin: a linear model of the finished points of the same defense.

It knows what a matrix costs (l1), when its optimization began (`st_epoch`), and the validation accuracy of the
surrogate that it was optimized against, which has trained on its answers. The samplers learn from its expectation
where a point is stopped before any clone of it has begun.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

SHRINKAGE = 1.0
"""Weight, in points, of the assumption that nothing makes a difference."""

Known = tuple[float | None, ...]
"""What is known of a point before its clones begin; None where that is missing."""


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
        """Return what clones of a point will probably come to; None if no point of the defense is finished.

        It is a ridge regression of standardized features, with an intercept that does not shrink.
        """
        if not self._known.get(defense):
            return None
        names = list(names)
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
        values = mean + (own - rows.mean(axis=0)) / scale @ weights
        return {name: float(value) for name, value in zip(names, np.clip(values, 0, 1), strict=True)}
