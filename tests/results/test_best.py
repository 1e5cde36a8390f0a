"""The point to deploy: chosen by validation figures within bounds, and a word where test figures break them."""

from __future__ import annotations

import pytest

from emma_tune.results.best import best_point, excess
from tests.results.desk import part


def alike(figures):
    return figures, figures


@pytest.fixture
def desk(written):
    return written(seeds=[1], search={"stop": "joint"})


def chosen(desk, **bounds):
    return best_point(desk.view, bounds)


def test_the_least_clone_of_validation_wins_whatever_test_figures_say(desk):
    desk.finished("none", alike(part(0.0, 0.9)))
    desk.finished("emma", (part(1.0, 0.5), part(1.1, 0.65)))
    desk.finished("emma", (part(1.2, 0.6), part(0.9, 0.1)))
    found = chosen(desk)
    assert found["point"] == {
        "point": 1,
        "defense": "emma",
        "params": {"lambda": 0.02, "lr_gamma": 0.3, "st_epoch": 1},
        "l1": 1.1,
        "l1_queries": 0.55,
        "victim_accuracy": 0.9,
        "accuracy_drop": 0.0,
        "flip_rate": 0.0,
        "attacker_accuracy": 0.65,
        "attackers": {"soft": 0.65},
        "validation": {
            "l1": 1.0,
            "l1_queries": 0.5,
            "victim_accuracy": 0.9,
            "accuracy_drop": 0.0,
            "flip_rate": 0.0,
            "attacker_accuracy": 0.5,
            "attackers": {"soft": 0.5},
        },
        "intervals": {},  # no answers are there, which would tell how many images were asked
        "excess": {},
        "broken": {},
    }
    assert (found["nearest"], found["stopped"], found["bounds"]) == (None, [], {})
    assert (found["candidates"], found["finished"], found["study"]) == (3, 3, "tiny")


def test_the_worst_thief_counts_not_the_mean_one(written):
    desk = written(seeds=[1], attackers={"soft": {}, "hard": {}})
    desk.finished("emma", alike(part(1.0, {"soft": 0.1, "hard": 0.6})))
    desk.finished("emma", alike(part(1.0, {"soft": 0.5, "hard": 0.5})))
    assert chosen(desk)["point"]["point"] == 1


def test_over_seeds_it_is_the_mean_of_each_seeds_worst_case(written):
    desk = written(seeds=[1, 2], attackers={"soft": {}, "hard": {}})
    one, other = {"soft": 0.6, "hard": 0.2}, {"soft": 0.2, "hard": 0.6}
    desk.finished(
        "emma", alike(part(1.0, one)), alike(part(1.0, other))
    )  # 0.6, though each thief has 0.4 in the mean
    desk.finished("emma", alike(part(1.0, {"soft": 0.5, "hard": 0.5})))
    assert chosen(desk)["point"]["point"] == 1


def test_of_equal_clones_the_cheaper_wins_and_of_equal_ones_the_first(desk):
    for l1 in (1.5, 0.5, 0.5):
        desk.finished("emma", (part(l1, 0.5), part(0.5, 0.5)))
    assert chosen(desk)["point"]["point"] == 1


def test_bounds_are_kept_with_equality_and_by_validation(desk):
    desk.finished("none", alike(part(0.0, 0.9)))
    desk.finished("emma", alike(part(0.5, 0.75, drop=0.25)))
    desk.finished("emma", alike(part(1.0, 0.5, drop=0.25)))
    desk.finished("emma", alike(part(1.25, 0.25, drop=0.0)))
    desk.finished("emma", (part(1.5, 0.0, drop=0.5), part(0.0, 0.0)))
    for bounds, number, candidates in (
        ({}, 4, 5),
        ({"accuracy_drop": 0.5}, 4, 5),
        ({"accuracy_drop": 0.25}, 3, 4),
        ({"l1": 1.25}, 3, 4),
        ({"l1": 1.0}, 2, 3),
        ({"l1": 1.0, "accuracy_drop": 0.25}, 2, 3),
        ({"l1": 1.0, "accuracy_drop": 0.0}, 0, 1),
    ):
        found = chosen(desk, **bounds)
        assert (found["point"]["point"], found["candidates"], found["finished"]) == (number, candidates, 5), bounds
        assert found["bounds"] == bounds


def test_bounds_that_the_test_figures_break_are_told(desk):
    desk.finished("emma", (part(1.0, 0.5, drop=0.125), part(1.25, 0.5, drop=0.0)))
    desk.finished("emma", (part(0.5, 0.75), part(0.5, 0.75)))
    found = chosen(desk, l1=1.0, accuracy_drop=0.125)["point"]
    assert (found["point"], found["broken"], found["excess"]) == (0, {"l1": 0.25}, {})


def test_where_none_keeps_the_bounds_the_nearest_is_by_the_largest_share_of_a_range(desk):
    desk.finished("emma", alike(part(0.75, 0.1, drop=0.0)))  # 0.25 of 2 beyond: 1/8
    desk.finished("emma", alike(part(0.0, 0.9, drop=0.375)))  # 0.375 of 2 (a drop lies in −1 … 1): 3/16
    desk.finished("emma", alike(part(0.625, 0.1, drop=0.125)))  # 1/16 and 1/16: more in all, less at most
    found = chosen(desk, l1=0.5, accuracy_drop=0.0)
    assert (found["point"], found["candidates"], found["finished"]) == (None, 0, 3)
    assert found["nearest"]["point"] == 2
    assert found["nearest"]["excess"] == {"l1": 0.125, "accuracy_drop": 0.125}
    assert chosen(desk, l1=0.5, accuracy_drop=-0.5)["nearest"]["point"] == 0  # 1/4 each but 7/16 and 5/16
    assert chosen(desk, l1=-0.125)["nearest"]["point"] == 1


def test_equally_near_is_the_first(desk):
    for _ in range(2):
        desk.finished("emma", alike(part(1.0, 0.5)))
    assert chosen(desk, l1=0.5)["nearest"]["point"] == 0


def test_excess_is_of_what_is_not_kept():
    assert excess({"l1": 1.0, "accuracy_drop": 0.5}, {"l1": 1.0, "accuracy_drop": 0.25}) == {"accuracy_drop": 0.25}
    assert excess({"l1": 1.0}, {}) == {}


def test_where_nothing_is_finished_nothing_is_named(desk):
    desk.asked("emma")
    desk.failed("emma")
    found = chosen(desk, l1=1.0)
    assert (found["point"], found["nearest"], found["candidates"], found["finished"]) == (None, None, 0, 0)
    assert found["counts"] == {
        "asked": 2,
        "finished": 0,
        "infeasible": 0,
        "stopped": 0,
        "dominated": 0,
        "excluded": 0,
        "failed": 1,
    }


# --- points that were stopped -----------------------------------------------------------------------------


@pytest.fixture
def stopped(desk):
    """A point beats another that is cheaper for the victim, which was stopped with a clone of 0.5."""
    rival = desk.finished("emma", alike(part(1.0, 0.25, drop=0.5)))
    desk.finished("none", alike(part(0.0, 0.75)))
    desk.dominated("emma", by=rival, validation=part(1.25, 0.5, drop=0.0))
    return desk


def test_a_stopped_point_that_could_be_the_best_within_the_bounds_is_told(stopped):
    found = chosen(stopped, accuracy_drop=0.25)
    assert (found["point"]["point"], found["stopped"]) == (1, [2])


def test_none_is_told_where_what_beat_it_keeps_the_bounds(stopped):
    found = chosen(stopped, accuracy_drop=0.5)
    assert (found["point"]["point"], found["stopped"]) == (0, [])


def test_nor_where_it_breaks_the_bounds_itself(stopped):
    assert chosen(stopped, accuracy_drop=0.25, l1=1.0)["stopped"] == []


def test_nor_where_another_point_within_the_bounds_is_as_good_as_it_can_become(stopped):
    better = stopped.finished("argmax", alike(part(1.25, 0.5)))
    found = chosen(stopped, accuracy_drop=0.25)
    assert (found["point"]["point"], found["stopped"]) == (better, [])


def test_it_is_told_where_no_finished_point_keeps_the_bounds(stopped):
    stopped.dominated("emma", by=0, validation=part(1.0, 0.5, drop=-0.25))
    found = chosen(stopped, accuracy_drop=-0.25)
    assert (found["point"], found["nearest"]["point"], found["stopped"]) == (None, 1, [3])


def test_one_whose_costs_are_not_known_yet_may_still_keep_them(stopped):
    stopped.dominated("emma", by=0, validation=part(1.0, 0.5, drop=0.0), costs=False)
    assert chosen(stopped, accuracy_drop=0.25)["stopped"] == [2, 3]


def test_where_clones_are_no_objective_being_beaten_says_nothing_of_them(written):
    desk = written(seeds=[1], objectives={"l1": "min"}, search={"stop": "joint"})
    rival = desk.finished("emma", alike(part(0.5, 0.75)))
    desk.dominated("emma", by=rival, validation=part(1.0, 0.25))
    assert chosen(desk)["stopped"] == [1]


def test_a_stopped_point_is_never_chosen(stopped):
    stopped.dominated("emma", by=0, validation=part(1.0, 0.25, drop=0.75))
    assert chosen(stopped)["point"]["point"] == 0
    assert chosen(stopped)["finished"] == 2
