"""What clones are predicted to come to, against plain restatements."""

from __future__ import annotations

import numpy as np
import pytest

from emma_tune.search.prediction import ENOUGH, SHRINKAGE, ClonePrediction

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


@pytest.mark.parametrize("risk", [0.1, 0.25, 0.5])
def test_the_bound_is_a_quantile_of_what_each_point_was_missed_by_when_it_was_left_out(risk):
    chance = np.random.default_rng(3)
    rows = chance.uniform(0.1, 2, size=(24, 3))
    targets = 0.6 - 0.2 * rows[:, 0] + 0.1 * chance.standard_normal(24) * rows[:, 2] / 2
    own = np.array([0.7, 1.0, 0.5])
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    standard, at = (rows - mean) / scale, (own - mean) / scale
    expected = plainly(standard, targets, at)
    missed = [
        targets[n] - plainly(np.delete(standard, n, axis=0), np.delete(targets, n), standard[n]) for n in range(24)
    ]
    prediction = learned(rows, targets)
    assert prediction.expected("emma", tuple(own), [CLONE]) == {CLONE: pytest.approx(expected)}
    least = prediction.least("emma", tuple(own), [CLONE], risk)
    assert least == {CLONE: pytest.approx(expected + sorted(missed)[int(25 * risk) - 1])}


def test_bounds_hold_as_often_as_they_promise():
    chance, wrong, tried = np.random.default_rng(0), 0, 400
    for _ in range(tried):
        rows = chance.uniform(0, 2, size=(20, 2))
        targets = 0.5 + 0.1 * rows[:, 0] + 0.05 * chance.standard_normal(20)
        least = learned(rows[:-1], targets[:-1]).least("emma", tuple(rows[-1]), [CLONE], 0.1)
        wrong += targets[-1] < least[CLONE]
    assert 0.04 < wrong / tried < 0.16  # 2 of 20; three standard deviations of the count are 0.045


def test_two_bounds_share_the_risk():
    rows, targets = np.random.default_rng(1).uniform(0, 1, size=(2, 20, 1))
    prediction, names = learned(rows, targets[:, 0]), [CLONE, "attackers.soft"]
    alone = prediction.least("emma", (0.5,), [CLONE], 0.1)
    assert prediction.least("emma", (0.5,), names, 0.2)[CLONE] == pytest.approx(alone[CLONE])
    assert prediction.least("emma", (0.5,), names, 0.08) is None  # 0.04 of 21 is less than one point


def test_there_are_no_bounds_before_there_are_enough_points():
    rows = np.random.default_rng(2).uniform(0, 1, size=(ENOUGH, 1))
    prediction = ClonePrediction()
    for number, (value,) in enumerate(rows):
        assert prediction.least("emma", (0.5,), [CLONE], 0.5) is None, number
        prediction.add("emma", (value,), {CLONE: value})
    assert prediction.least("emma", (0.5,), [CLONE], 0.5) is not None
    assert prediction.least("emma", (0.5,), [CLONE], 0.09) is None  # 0.09 · 11 < 1
    assert prediction.least("emma", (0.5,), [CLONE], 0.1) is not None
    assert prediction.least("mad", (0.5,), [CLONE], 0.5) is None


def test_what_is_missing_of_one_point_or_alike_in_all_does_not_count():
    rows = [(0.1, 5.0, 0.3), (0.2, 5.0, None), (0.9, 5.0, 0.2)]
    prediction = learned(rows, [0.5, 0.6, 0.9])
    assert prediction.expected("emma", (0.5, 7.0, 0.9), [CLONE]) == learned(
        [(row[0],) for row in rows], [0.5, 0.6, 0.9]
    ).expected("emma", (0.5,), [CLONE])
    assert learned([(1.0,)], [0.4]).expected("emma", (3.0,), [CLONE]) == {CLONE: pytest.approx(0.4)}
    assert prediction.expected("mad", (0.5,), [CLONE]) is None
