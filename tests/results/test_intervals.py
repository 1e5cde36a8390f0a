"""Intervals against published numbers, and how few values say nothing."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emma_tune.results.intervals import MIN_PAIRS, Interval, interval, overlap, wilson

SLEEP = (1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4)
"""Student, The probable error of a mean, Biometrika 6 (1908): hours of sleep gained by the second drug over the
first, ten patients. R's `t.test(extra ~ group, data = sleep, paired = TRUE)` gives t = −4.0621, df = 9, and the
95 % interval −2.4598858 … −0.7001142 for first − second."""

T_TABLE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 10: 2.262, 21: 2.086}
"""Of n values: the 0.975 quantile of Student's distribution with n − 1 degrees of freedom, as in every t table."""

VALUES = st.floats(-100, 100).map(lambda value: round(value, 3))


def test_the_interval_of_students_own_example():
    found = interval(SLEEP)
    assert found.count == 10
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == (pytest.approx(0.7001142, abs=5e-8), pytest.approx(2.4598858, abs=5e-8))
    assert found.mean / (found.deviation / math.sqrt(10)) == pytest.approx(4.0621, abs=5e-5)


@pytest.mark.parametrize(("n", "quantile"), [(n, of) for n, of in T_TABLE.items() if n > 2])
def test_its_reach_is_that_of_the_t_table(n, quantile):
    values = [math.sin(i) for i in range(n)]
    deviation = math.sqrt(sum((value - sum(values) / n) ** 2 for value in values) / (n - 1))
    found = interval(values)
    assert found.deviation == pytest.approx(deviation)
    assert (found.high - found.mean) * math.sqrt(n) / deviation == pytest.approx(quantile, abs=5e-4)
    assert (found.mean - found.low) * math.sqrt(n) / deviation == pytest.approx(quantile, abs=5e-4)


def test_a_single_value_has_no_interval():
    assert interval([0.25]) == Interval(0.25, deviation=None, low=None, high=None, count=1)


def test_two_values_have_a_deviation_and_no_interval():
    found = interval([0.25, 0.75])
    assert found == Interval(0.5, deviation=pytest.approx(math.sqrt(0.125)), low=None, high=None, count=2)


@pytest.mark.parametrize("n", [3, 5, 9])
def test_equal_values_have_one_of_no_width(n):
    assert interval([0.3] * n) == Interval(0.3, deviation=0.0, low=0.3, high=0.3, count=n)


def test_no_values_have_no_mean():
    with pytest.raises(statistics.StatisticsError):
        interval([])


@given(st.lists(VALUES, min_size=3, max_size=8), st.sampled_from([-3.0, -0.5, 2.0]), st.integers(-5, 5))
def test_it_moves_and_stretches_with_the_values_whatever_their_order(values, scale, shift):
    found, other = interval(values), interval([scale * value + shift for value in reversed(values)])
    ends = sorted(scale * end + shift for end in (found.low, found.high))
    assert [other.low, other.high] == pytest.approx(ends, abs=1e-9)
    assert other.mean == pytest.approx(scale * found.mean + shift, abs=1e-9)
    assert other.deviation == pytest.approx(abs(scale) * found.deviation, abs=1e-9)


def test_by_name_it_is_what_it_has():
    assert asdict(interval([1.0, 3.0])).keys() == {"mean", "deviation", "low", "high", "count"}
    assert asdict(interval([1.0])) == {"mean": 1.0, "deviation": None, "low": None, "high": None, "count": 1}


def test_enough_is_where_the_exact_test_of_signs_first_reaches_five_percent():
    def least_p(pairs: int) -> float:
        """Of all ways that signs can fall, the share of those that are as one-sided as can be."""
        falls = list(itertools.product((-1, 1), repeat=pairs))
        return sum(abs(sum(fall)) == pairs for fall in falls) / len(falls)

    assert next(pairs for pairs in range(1, 10) if least_p(pairs) <= 0.05) == MIN_PAIRS


# --- a share of images ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "count", "low", "high"),
    [  # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0 / 20, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_is_that_of_newcombes_table(share, count, low, high):
    assert wilson(share, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilsons_interval_solves_his_equation_and_stays_within_the_shares(count, share):
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-12
    assert share - 1e-12 <= high <= 1
    for end in (low, high):  # |share − end| = z √(end (1 − end) / n)
        assert abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count), abs=1e-6)


def test_intervals_that_touch_overlap():
    assert overlap((0.1, 0.2), (0.2, 0.3))
    assert overlap((0.1, 0.9), (0.4, 0.5))
    assert not overlap((0.1, 0.2), (0.21, 0.3))


def test_an_interval_is_cut_to_what_a_measure_can_be():
    found = interval([0.9, 1.0, 1.0]).within(0.0, 1.0)
    assert found.high == 1.0
    assert found.low == interval([0.9, 1.0, 1.0]).low
    assert interval([1.0]).within(0.0, 1.0).low is None
