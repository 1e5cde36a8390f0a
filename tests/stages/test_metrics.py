"""Measures compared with closed forms and plain loops."""

import math

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.stages.metrics import accuracy, agreement, all_finite, ece, flip_rate, l1, nll, spectrum

UNTIMED = settings(deadline=None)

P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.5, 0.25, 0.25]])
Q = np.array([[0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.5, 0.25, 0.25]])
LABELS = np.array([0, 1, 0, 2])


@st.composite
def distributions(draw: st.DrawFn, shape: tuple[int, int]) -> np.ndarray:
    weights = draw(arrays.arrays(np.float64, shape, elements=st.floats(0, 1)))
    weights[np.arange(shape[0]), draw(st.integers(0, shape[1] - 1))] += 0.01
    return weights / weights.sum(axis=1, keepdims=True)


@st.composite
def two_answers_and_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 8), st.integers(2, 5)))
    labels = draw(arrays.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    return draw(distributions(shape)), draw(distributions(shape)), labels


def top(answer: list[float]) -> int:
    return answer.index(max(answer))


def test_known_values():
    assert accuracy(P, LABELS) == 0.5
    assert agreement(P, Q) == 0.5
    assert flip_rate(P, Q) == 0.5
    assert l1(P, Q) == pytest.approx((1.0 + 0 + 0.2 + 0) / 4)
    assert nll(P, LABELS) == pytest.approx(-(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.25)) / 4)


@UNTIMED
@given(two_answers_and_labels())
def test_every_measure_is_its_plain_loop(drawn):
    p, q, labels = drawn
    count = len(p)
    rows = list(zip(p.tolist(), q.tolist(), labels.tolist(), strict=True))
    assert accuracy(p, labels) == pytest.approx(sum(top(a) == y for a, _, y in rows) / count)
    assert agreement(p, q) == pytest.approx(sum(top(a) == top(b) for a, b, _ in rows) / count)
    assert flip_rate(p, q) == pytest.approx(sum(top(a) != top(b) for a, b, _ in rows) / count)
    assert l1(p, q) == pytest.approx(
        sum(abs(x - y) for a, b, _ in rows for x, y in zip(a, b, strict=True)) / count
    )
    assert nll(p, labels) == pytest.approx(-sum(math.log(max(a[y], 1e-12)) for a, _, y in rows) / count)


@UNTIMED
@given(two_answers_and_labels())
def test_the_budget_lies_between_0_and_2(drawn):
    p, q, _ = drawn
    assert 0 <= l1(p, q) <= 2 + 1e-12
    assert l1(p, q) == l1(q, p)
    assert l1(p, p) == 0


def test_the_budget_is_2_where_nothing_is_shared():
    assert l1(np.eye(4), np.roll(np.eye(4), 1, axis=1)) == 2


def test_the_budget_is_summed_in_double_precision():
    clean = np.full((1000, 1000), 1e-3, np.float32)
    released = clean.copy()
    released[:, 0] += np.float32(1e-4)
    exact = abs(float(released[0, 0]) - float(clean[0, 0]))
    assert l1(released, clean) == pytest.approx(exact, rel=1e-12)


@UNTIMED
@given(two_answers_and_labels())
def test_agreement_and_flips_add_to_one(drawn):
    p, q, _ = drawn
    assert agreement(p, q) + flip_rate(p, q) == pytest.approx(1)


def test_a_label_without_any_probability_costs_12_decades():
    assert nll(np.array([[1.0, 0.0]], np.float32), np.array([1])) == pytest.approx(12 * math.log(10))
    assert nll(np.array([[1.0, 0.0]], np.float32), np.array([0])) == 0


@pytest.mark.parametrize("classes", [2, 10])
def test_uniform_answers_cost_the_logarithm_of_the_classes(classes):
    answers = np.full((5, classes), 1 / classes)
    assert nll(answers, np.zeros(5, int)) == pytest.approx(math.log(classes))


# --- calibration ------------------------------------------------------------------------------------------


def plain_ece(answers: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Σ over bins of |B|/N · |accuracy(B) − confidence(B)|."""
    total = 0.0
    for b in range(bins):
        inside = [
            (max(answer), top(answer) == label)
            for answer, label in zip(answers.tolist(), labels.tolist(), strict=True)
            if min(int(max(answer) * bins), bins - 1) == b
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            right = sum(r for _, r in inside) / len(inside)
            total += len(inside) / len(labels) * abs(right - confidence)
    return total


@UNTIMED
@given(two_answers_and_labels(), st.sampled_from([1, 2, 5, 15]))
def test_calibration_error_is_the_sum_over_bins(drawn, bins):
    p, _, labels = drawn
    assert ece(p, labels, bins) == pytest.approx(plain_ece(p, labels, bins), abs=1e-12)
    assert 0 <= ece(p, labels, bins) <= 1


@pytest.mark.parametrize(
    ("confidence", "right", "error"),
    [(1.0, 10, 0.0), (1.0, 0, 1.0), (0.8, 8, 0.0), (0.8, 5, 0.3), (0.6, 9, 0.3)],
)
def test_calibration_error_of_one_confidence_is_its_distance_from_the_accuracy(confidence, right, error):
    answers = np.tile([confidence, 1 - confidence], (10, 1))
    labels = np.array([0] * right + [1] * (10 - right))
    assert ece(answers, labels) == pytest.approx(error, abs=1e-12)


def test_errors_of_different_bins_do_not_cancel():
    answers = np.array([[0.6, 0.4], [0.9, 0.1]])
    assert ece(answers, np.array([0, 1])) == pytest.approx((0.4 + 0.9) / 2)
    assert ece(answers, np.array([0, 1]), bins=1) == pytest.approx(0.25)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_are_refused_as_soon_as_one_of_them_is_not_finite(value):
    figures = {"l1": 0.5, "nll": value, "ece": 0.0}
    with pytest.raises(FloatingPointError, match=f"^responses: expected a finite nll, found {value}$"):
        all_finite("responses", figures)
    del figures["nll"]
    assert all_finite("responses", figures) == {"l1": 0.5, "ece": 0.0}


@pytest.mark.parametrize("K", [2, 10, 100])
def test_the_rank_counts_what_single_precision_can_tell_from_zero_in_a_matrix_of_its_size(K):
    for share, rank in ((0.9, 1), (1.1, K)):
        values = np.full(K, share * K * np.finfo(np.float32).eps)
        values[0] = 1.0
        assert spectrum(values)["rank"] == rank == np.linalg.matrix_rank(np.diag(values), tol=K * 2.0**-23)
