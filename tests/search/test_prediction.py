"""What clones are predicted to come to, against plain restatements."""

from __future__ import annotations

import numpy as np
import pytest

from emma_tune.search.prediction import SHRINKAGE, ClonePrediction

CLONE = "attacker_accuracy"


def learned(rows, targets) -> ClonePrediction:
    prediction = ClonePrediction()
    for known, target in zip(rows, targets, strict=True):
        prediction.add("emma", tuple(known), {CLONE: target, "attackers.soft": target / 2})
    return prediction


def plainly(rows: np.ndarray, targets: np.ndarray, own: np.ndarray) -> float:
    """Ridge regression of features that all `rows` have standardized, with an intercept that does not shrink."""
    design = np.hstack([np.ones((len(rows), 1)), rows])
    penalty = SHRINKAGE * np.diag([0.0, *np.ones(rows.shape[1])])
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ targets)
    return float(np.array([1.0, *own]) @ weights)


def test_it_is_a_ridge_regression_of_standardized_features():
    chance = np.random.default_rng(3)
    rows = chance.uniform(0.1, 2, size=(24, 3))
    targets = 0.6 - 0.2 * rows[:, 0] + 0.1 * chance.standard_normal(24) * rows[:, 2] / 2
    own = np.array([0.7, 1.0, 0.5])
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    expected = plainly((rows - mean) / scale, targets, (own - mean) / scale)
    found = learned(rows, targets).expected("emma", tuple(own), [CLONE, "attackers.soft"])
    assert found == {CLONE: pytest.approx(expected), "attackers.soft": pytest.approx(expected / 2)}


def test_what_is_missing_of_one_point_or_alike_in_all_does_not_count():
    rows = [(0.1, 5.0, 0.3), (0.2, 5.0, None), (0.9, 5.0, 0.2)]
    prediction = learned(rows, [0.5, 0.6, 0.9])
    assert prediction.expected("emma", (0.5, 7.0, 0.9), [CLONE]) == learned(
        [(row[0],) for row in rows], [0.5, 0.6, 0.9]
    ).expected("emma", (0.5,), [CLONE])
    assert learned([(1.0,)], [0.4]).expected("emma", (3.0,), [CLONE]) == {CLONE: pytest.approx(0.4)}
    assert prediction.expected("mad", (0.5,), [CLONE]) is None
