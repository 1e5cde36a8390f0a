"""Fronts and volumes held against brute force."""

from itertools import pairwise

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.pareto import WORST, as_losses, hypervolume, nondominated

UNTIMED = settings(deadline=None)

OBJECTIVES = [
    {"l1": "min", "attacker_accuracy": "min"},
    {"l1": "min", "victim_accuracy": "max"},
    {"victim_accuracy": "max", "flip_rate": "min"},
]
SIGN = {"min": 1, "max": -1}


@st.composite
def losses(draw: st.DrawFn) -> np.ndarray:
    """Coarse values, so that equal rows and equal coordinates are frequent."""
    shape = draw(st.tuples(st.integers(0, 12), st.integers(1, 3)))
    coarse = st.integers(-2, 3).map(float)
    return draw(arrays.arrays(np.float64, shape, elements=st.one_of(coarse, st.floats(-2, 3))))


@st.composite
def points(draw: st.DrawFn, objectives: dict[str, str]) -> list[dict[str, float]]:
    def measure(name: str) -> st.SearchStrategy[float]:
        most = 2.0 if name == "l1" else 1.0
        return st.one_of(st.integers(0, 4).map(lambda n: n / 4 * most), st.floats(0, most))

    return draw(st.lists(st.fixed_dictionaries({name: measure(name) for name in objectives}), max_size=8))


def dominates(a: list[float], b: list[float]) -> bool:
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def area(corners: list[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Adds up every cell of the grid through all coordinates that some corner reaches."""
    xs = sorted({min(x, reference[0]) for x, _ in corners} | {reference[0]})
    ys = sorted({min(y, reference[1]) for _, y in corners} | {reference[1]})
    return sum(
        (right - left) * (top - bottom)
        for left, right in pairwise(xs)
        for bottom, top in pairwise(ys)
        if any(x <= left and y <= bottom for x, y in corners)
    )


@UNTIMED
@given(losses())
def test_the_front_is_what_brute_force_finds(rows):
    given_rows = rows.tolist()
    expected = [not any(dominates(other, row) for other in given_rows) for row in given_rows]
    front = nondominated(rows)
    assert front.dtype == bool
    assert front.tolist() == expected


def test_equal_points_are_all_kept_and_a_tie_in_one_measure_is_dominated():
    rows = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 3.0], [2.0, 1.0], [2.0, 2.0]])
    assert nondominated(rows).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_no_points_have_no_front(dimensions):
    assert nondominated(np.zeros((0, dimensions))).shape == (0,)


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=str)
def test_no_points_have_no_volume_and_no_losses(objectives):
    assert hypervolume([], objectives) == 0
    assert as_losses([], objectives).shape == (0, 2)


def test_losses_turn_the_sign_of_what_is_to_be_large_and_keep_order_and_other_measures_out():
    given_points = [{"l1": 0.5, "victim_accuracy": 0.9, "flip_rate": 0.1}, {"victim_accuracy": 0.2, "l1": 1.5}]
    losses = as_losses(given_points, {"l1": "min", "victim_accuracy": "max"})
    assert losses.dtype == np.float64
    assert losses.tolist() == [[0.5, -0.9], [1.5, -0.2]]


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=str)
@UNTIMED
@given(data=st.data())
def test_the_volume_is_the_area_of_the_cells_that_some_point_reaches(objectives, data):
    drawn = data.draw(points(objectives))
    corners = [tuple(SIGN[way] * point[name] for name, way in objectives.items()) for point in drawn]
    reference = tuple(SIGN[way] * WORST[name] for name, way in objectives.items())
    assert hypervolume(drawn, objectives) == pytest.approx(area(corners, reference), abs=1e-12)


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=str)
@UNTIMED
@given(data=st.data())
def test_dominated_and_repeated_points_add_no_volume(objectives, data):
    drawn = data.draw(points(objectives))
    front = [point for point, keep in zip(drawn, nondominated(as_losses(drawn, objectives)), strict=True) if keep]
    whole = hypervolume(drawn, objectives)
    assert hypervolume(front, objectives) == pytest.approx(whole, abs=1e-12)
    assert hypervolume(drawn + drawn, objectives) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize(
    ("point", "volume"),
    [((0.0, 0.0), 2.0), ((2.0, 0.0), 0.0), ((0.0, 1.0), 0.0), ((1.0, 0.25), 0.75), ((2.0, 1.0), 0.0)],
)
def test_one_point_dominates_its_rectangle(point, volume):
    l1, accuracy = point
    assert hypervolume([{"l1": l1, "attacker_accuracy": accuracy}], OBJECTIVES[0]) == pytest.approx(volume)


@pytest.mark.parametrize(
    ("objectives", "volume"), [({"l1": "min"}, 1.5), ({"victim_accuracy": "max"}, 0.75)], ids=["min", "max"]
)
def test_one_objective_has_a_length(objectives, volume):
    given_points = [{"l1": 0.5, "victim_accuracy": 0.75}, {"l1": 1.0, "victim_accuracy": 0.5}]
    assert hypervolume(given_points, objectives) == pytest.approx(volume)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("measure", [as_losses, hypervolume])
def test_a_value_that_is_not_finite_is_refused_and_shown(measure, value):
    given_points = [{"l1": 0.5, "attacker_accuracy": 0.5}, {"l1": 1.0, "attacker_accuracy": value}]
    with pytest.raises(ValueError, match=rf"^expected finite objectives, found \[\[1\.0, {value}\]\]$"):
        measure(given_points, OBJECTIVES[0])
