"""Fronts and volumes, compared with brute force."""

from itertools import pairwise, product

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emma_tune.results.front import as_losses, attainment, dominating, hypervolume, nondominated
from emma_tune.study.measures import MEASURES

UNTIMED = settings(deadline=None)

OBJECTIVES = [
    {"l1": "min", "attacker_accuracy": "min"},
    {"l1": "min", "victim_accuracy": "max"},
    {"victim_accuracy": "max", "flip_rate": "min"},
]
THREE = [
    {"l1": "min", "attacker_accuracy": "min", "accuracy_drop": "min"},
    {"victim_accuracy": "max", "l1": "min", "flip_rate": "min"},
]
SIGN = {"min": 1, "max": -1}


@st.composite
def losses(draw: st.DrawFn) -> np.ndarray:
    """Coarse values, so that equal rows and equal coordinates are frequent."""
    shape = draw(st.tuples(st.integers(0, 12), st.integers(1, 3)))
    coarse = st.integers(-2, 3).map(float)
    return draw(arrays.arrays(np.float64, shape, elements=st.one_of(coarse, st.floats(-2, 3))))


@st.composite
def points(draw: st.DrawFn, objectives: dict[str, str], most: int = 8) -> list[dict[str, float]]:
    def measure(name: str) -> st.SearchStrategy[float]:
        most = 2.0 if name == "l1" else 1.0
        return st.one_of(st.integers(0, 4).map(lambda n: n / 4 * most), st.floats(0, most))

    return draw(st.lists(st.fixed_dictionaries({name: measure(name) for name in objectives}), max_size=most))


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
    reference = tuple(SIGN[way] * MEASURES[name].worst for name, way in objectives.items())
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


@pytest.mark.parametrize("objectives", THREE, ids=str)
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_the_volume_of_three_objectives_is_that_of_the_cells_that_some_point_reaches(objectives, data):
    drawn = data.draw(points(objectives, most=5))
    corners = [tuple(SIGN[way] * point[name] for name, way in objectives.items()) for point in drawn]
    reference = tuple(SIGN[way] * MEASURES[name].worst for name, way in objectives.items())
    axes = [sorted({min(corner[i], reference[i]) for corner in corners} | {reference[i]}) for i in range(3)]
    volume = sum(
        np.prod([high - low for low, high in cell])
        for cell in product(*(list(pairwise(axis)) for axis in axes))
        if any(all(x <= low for x, (low, _) in zip(corner, cell, strict=True)) for corner in corners)
    )
    assert hypervolume(drawn, objectives) == pytest.approx(volume, abs=1e-12)


@UNTIMED
@given(losses(), st.data())
def test_what_dominates_a_bound_is_what_brute_force_finds_for_one_bound_and_for_several(rows, data):
    bound = data.draw(arrays.arrays(np.float64, rows.shape[1], elements=st.integers(-2, 3).map(float)))
    expected = [dominates(row, bound.tolist()) for row in rows.tolist()]
    assert dominating(rows, bound).tolist() == expected
    assert dominating(rows, np.array([bound, bound])).tolist() == [expected, expected]


def test_a_row_equal_to_the_bound_does_not_dominate_and_one_tie_is_enough_otherwise():
    losses = np.array([[1.0, 2.0], [1.0, 1.5], [0.5, 2.0], [0.5, 2.5]])
    assert dominating(losses, np.array([1.0, 2.0])).tolist() == [False, True, True, False]


# --- what several fronts reach -----------------------------------------------------------------------------


def surface(fronts: list[list[tuple[float, ...]]], least: int) -> list[tuple[float, ...]]:
    """Goes through the whole grid of coordinates: the corners of what `least` of the fronts reach, in losses."""
    if not any(fronts):
        return []
    axes = [
        sorted({corner[i] for front in fronts for corner in front})
        for i in range(len(next(filter(None, fronts))[0]))
    ]

    def reached(place: tuple[float, ...]) -> int:
        return sum(
            any(all(x <= y for x, y in zip(corner, place, strict=True)) for corner in front) for front in fronts
        )

    inside = [place for place in product(*axes) if reached(place) >= least]
    return [place for place in inside if not any(dominates(other, place) for other in inside)]


@pytest.mark.parametrize("objectives", [*OBJECTIVES, *THREE], ids=str)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_surfaces_are_what_the_whole_grid_says(objectives, data):
    most = 5 if len(objectives) == 2 else 3
    fronts = data.draw(st.lists(points(objectives, most=most), min_size=1, max_size=5))
    signs = [SIGN[way] for way in objectives.values()]
    corners = [
        [tuple(sign * point[name] for sign, name in zip(signs, objectives, strict=True)) for point in front]
        for front in fronts
    ]
    # half of five fronts at least are three
    levels = {"best": 1, "median": {1: 1, 2: 1, 3: 2, 4: 2, 5: 3}[len(fronts)], "worst": len(fronts)}
    found = attainment(fronts, objectives)
    assert found.keys() == levels.keys()
    for name, least in levels.items():
        losses = sorted(
            tuple(sign * value for sign, value in zip(signs, corner, strict=True)) for corner in found[name]
        )
        assert losses == sorted(surface(corners, least)), name


def test_surfaces_of_three_staircases_drawn_by_hand():
    fronts = [
        [{"l1": 0.0, "victim_accuracy": 0.5}, {"l1": 1.0, "victim_accuracy": 0.8}],
        [{"l1": 0.5, "victim_accuracy": 0.9}],
        [{"l1": 0.25, "victim_accuracy": 0.4}, {"l1": 1.5, "victim_accuracy": 0.95}],
    ]
    assert attainment(fronts, {"l1": "min", "victim_accuracy": "max"}) == {
        "best": [[0.0, 0.5], [0.5, 0.9], [1.5, 0.95]],
        "median": [[0.25, 0.4], [0.5, 0.5], [1.0, 0.8], [1.5, 0.9]],
        "worst": [[0.5, 0.4], [1.5, 0.8]],
    }


def test_an_empty_front_reaches_nothing_and_takes_nothing_from_what_the_others_reach():
    front = [{"l1": 0.5, "attacker_accuracy": 0.5}]
    two = [[0.5, 0.5]]
    assert attainment([front, []], OBJECTIVES[0]) == {"best": two, "median": two, "worst": []}
    assert attainment([[], front, []], OBJECTIVES[0]) == {"best": two, "median": [], "worst": []}
    assert attainment([[], []], OBJECTIVES[0]) == {"best": [], "median": [], "worst": []}
    assert attainment([], OBJECTIVES[0]) == {"best": [], "median": [], "worst": []}


@pytest.mark.parametrize("runs", [*range(1, 31), 49, 55, 100])
def test_levels_are_counted_in_whole_fronts_however_many_there_are(runs):
    fronts = [[{"l1": 1.0, "attacker_accuracy": run / runs}] for run in range(runs)]
    levels = {"best": 0, "median": (runs + 1) // 2 - 1, "worst": runs - 1}
    expected = {name: [[1.0, run / runs]] for name, run in levels.items()}
    assert attainment(fronts, OBJECTIVES[0]) == expected


def test_figures_that_are_not_finite_are_on_no_surface():
    with pytest.raises(ValueError, match="expected finite objectives"):
        attainment([[{"l1": 0.5, "attacker_accuracy": float("nan")}]], OBJECTIVES[0])
