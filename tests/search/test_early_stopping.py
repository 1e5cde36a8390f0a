"""The forecast of a stopped clone, by hand."""

from __future__ import annotations

import pytest

from emma_tune.search.early_stopping import Curves

SLOW, FAST, LATE = (0.1, 0.2, 0.4), (0.5, 0.6, 0.6), (0.1, 0.1, 0.9)


@pytest.fixture
def curves() -> Curves:
    curves = Curves()
    for curve in (SLOW, FAST, LATE):
        curves.add("emma", "soft", curve)
    curves.add("none", "hard", (0.3, 0.8))
    return curves


@pytest.mark.parametrize(("epochs", "gain"), [(1, 0.3), (2, 0.2), (3, 0.0)])
def test_it_gains_what_the_median_of_finished_clones_gained_after_as_many_epochs(curves, epochs, gain):
    assert curves.forecast("emma", "soft", 0.25, epochs) == pytest.approx(0.25 + gain)


def test_without_finished_clones_of_its_defense_those_of_any_defense_count(curves):
    assert curves.forecast("emma", "hard", 0.25, 1) == pytest.approx(0.75)


def test_without_any_it_stays_where_it_is_and_it_never_exceeds_one(curves):
    assert curves.forecast("emma", "inverse", 0.25, 1) == 0.25
    assert curves.forecast("emma", "soft", 0.25, 4) == 0.25
    assert curves.forecast("emma", "soft", 0.95, 1) == 1.0
