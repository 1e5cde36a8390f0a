"""Fronts over seeds: each is chosen by its own validation figures and measured by its own test figures."""

from __future__ import annotations

import pytest

from emma_tune.plan import run_seed
from emma_tune.results.comparison import spread
from tests.results.desk import part

BOTH = {"soft": {}, "inverse": {}}


def hypervolumes(view, **of):
    return spread(view, **of)["hypervolume_by_seed"]


@pytest.fixture
def two_seeds(written):
    """Whom each seed prefers: 1 the first searched point, 2 the second; by test figures it would be otherwise."""
    desk = written(seeds=[1, 2], limits={"accuracy_drop": 0.02})
    desk.finished("none", (part(0.0, 0.9), part(0.0, 0.8)), (part(0.0, 0.9), part(0.0, 0.7)))
    desk.finished("emma", (part(1.0, 0.5), part(1.0, 0.6)), (part(1.0, 0.6), part(0.5, 0.1)))
    desk.finished("emma", (part(1.5, 0.7), part(0.5, 0.1)), (part(1.0, 0.5), part(1.5, 0.2)))
    return desk


def test_each_seed_has_the_volume_of_its_own_front(two_seeds):
    assert hypervolumes(two_seeds.view) == {
        1: pytest.approx(1.0 * 0.2 + 1.0 * 0.4),  # 0.8 from 0 to 1, then 0.6 up to 2
        2: pytest.approx(1.5 * 0.3 + 0.5 * 0.8),  # 0.7 from 0 to 1.5, then 0.2
    }


def test_neither_is_that_of_the_mean(two_seeds):
    # by the mean of validation 0.55 at 1.0 beats 0.6 at 1.25: the first searched point alone is on the front
    front = two_seeds.view.front()
    assert [point["point"] for point in front["points"]] == [0, 1]
    assert front["hypervolume"] == pytest.approx(0.75 * 0.25 + 1.25 * 0.65)


def test_limits_are_kept_seed_by_seed(written):
    desk = written(seeds=[1, 2], limits={"accuracy_drop": 0.02})
    desk.finished("none", (part(0.0, 0.8), part(0.0, 0.8)))
    desk.finished("emma", (part(1.0, 0.4, drop=0.01), part(1.0, 0.4)), (part(1.0, 0.4, drop=0.03), part(1.0, 0.4)))
    desk.finished("emma", (part(1.5, 0.2, drop=0.0), part(1.5, 0.2, drop=0.5)))  # test figures bar nobody
    assert hypervolumes(desk.view) == {
        1: pytest.approx(1.0 * 0.2 + 0.5 * 0.6 + 0.5 * 0.8),
        2: pytest.approx(1.5 * 0.2 + 0.5 * 0.8),
    }


def test_what_is_not_finished_counts_in_no_seed(two_seeds):
    before = hypervolumes(two_seeds.view)
    two_seeds.asked("emma")
    two_seeds.failed("emma")
    two_seeds.dominated("emma", by=1, validation=part(1.2, 0.6))
    assert hypervolumes(two_seeds.view) == before


def test_without_points_every_seed_has_none(written):
    assert hypervolumes(written(seeds=[1, 2]).view) == {1: 0.0, 2: 0.0}


def test_repeats_of_a_seed_are_averaged(written):
    desk = written(seeds=[1, 2], repeats=[0, 4])
    assert list(desk.planner.runs.items()) == [(1, 1), (2, 2), (run_seed(1, 4), 1), (run_seed(2, 4), 2)]
    accuracies = (0.9, 0.8, 0.5, 0.2)
    desk.finished("none", *((part(0.0, 0.5), part(0.0, accuracy)) for accuracy in accuracies))
    assert hypervolumes(desk.view) == {
        1: pytest.approx((2 * 0.1 + 2 * 0.5) / 2),
        2: pytest.approx((2 * 0.2 + 2 * 0.8) / 2),
    }


def test_against_one_thief_only_what_it_can_attack_counts_and_by_its_clones_alone(written):
    desk = written(seeds=[1], attackers=BOTH)
    desk.finished("none", (part(0.0, {"soft": 0.9}), part(0.0, {"soft": 0.9})))
    worst_is_inverse = part(1.0, {"soft": 0.3, "inverse": 0.6})
    worst_is_soft = part(1.5, {"soft": 0.5, "inverse": 0.2})
    desk.finished("emma", (worst_is_inverse, worst_is_inverse))
    desk.finished("emma", (worst_is_soft, worst_is_soft))
    view = desk.view
    assert hypervolumes(view) == {1: pytest.approx(1.0 * 0.1 + 0.5 * 0.4 + 0.5 * 0.5)}
    assert hypervolumes(view, attacker="inverse") == {1: pytest.approx(0.5 * 0.4 + 0.5 * 0.8)}
    assert hypervolumes(view, attacker="soft") == {1: pytest.approx(1.0 * 0.1 + 1.0 * 0.7)}


def test_of_some_defences_only_their_points_count(two_seeds):
    two_seeds.finished("argmax", (part(0.1, 0.1), part(0.1, 0.1)))  # beats whatever is searched
    view = two_seeds.view
    assert hypervolumes(view, defenses={"argmax"})[1] == pytest.approx(1.9 * 0.9)
    assert hypervolumes(view, defenses={"none", "argmax"})[1] == pytest.approx(0.1 * 0.2 + 1.9 * 0.9)
    assert hypervolumes(view, defenses={"emma"})[1] == pytest.approx(1.0 * 0.4)
    assert hypervolumes(view, defenses=set()) == {1: 0.0, 2: 0.0}


def test_the_spread_of_two_seeds_by_hand(two_seeds):
    found = spread(two_seeds.view)
    first, second = 0.6, 0.85
    half = abs(first - second) / 2
    assert found["hypervolume_by_seed"] == {1: pytest.approx(first), 2: pytest.approx(second)}
    assert found["mean"] == pytest.approx((first + second) / 2)
    assert found["deviation"] == pytest.approx(half * 2**0.5)  # of two values, n − 1
    assert (found["low"], found["high"]) == (None, None)  # of two values none is worth its name
    assert found["count"] == 2
    # fronts in test figures: (0, 0.8) (1, 0.6), and (0, 0.7) (1.5, 0.2)
    assert found["surfaces"] == {
        "best": [[0.0, 0.7], [1.0, 0.6], [1.5, 0.2]],
        "median": [[0.0, 0.7], [1.0, 0.6], [1.5, 0.2]],
        "worst": [[0.0, 0.8], [1.0, 0.7], [1.5, 0.6]],
    }


def test_surfaces_are_of_all_runs_and_the_interval_of_all_victims(written):
    desk = written(seeds=[1], repeats=[0, 4, 5])
    desk.finished("none", *((part(0.0, 0.5), part(0.0, accuracy)) for accuracy in (0.9, 0.2, 0.4)))
    found = spread(desk.view)
    assert found["surfaces"] == {"best": [[0.0, 0.2]], "median": [[0.0, 0.4]], "worst": [[0.0, 0.9]]}
    assert (found["count"], found["mean"]) == (1, pytest.approx(2 * 0.5))


def test_one_seed_has_a_mean_and_no_interval(written):
    desk = written(seeds=[1])
    desk.finished("none", (part(0.0, 0.9), part(0.0, 0.75)))
    found = spread(desk.view)
    assert found == {
        "hypervolume_by_seed": {1: 0.5},
        "mean": 0.5,
        "deviation": None,
        "low": None,
        "high": None,
        "count": 1,
        "surfaces": {name: [[0.0, 0.75]] for name in ("best", "median", "worst")},
    }


def test_spread_is_against_the_thief_and_of_the_defences_asked_for(written):
    desk = written(seeds=[1], attackers=BOTH)
    desk.finished("none", (part(0.0, 0.9), part(0.0, 0.9)))
    for l1, inverse in ((1.0, 0.6), (1.5, 0.2)):
        figures = part(l1, {"soft": 0.9, "inverse": inverse})
        desk.finished("emma", (figures, figures))
    found = spread(desk.view, attacker="inverse", defenses={"emma", "none"})
    assert found["surfaces"]["worst"] == [[1.0, 0.6], [1.5, 0.2]]
    assert found["mean"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.8)
    assert spread(desk.view, attacker="inverse", defenses={"none"})["surfaces"]["best"] == []


@pytest.mark.parametrize(
    ("objectives", "drawn"),
    [
        ({"attacker_accuracy": "min"}, False),
        ({"l1": "min", "victim_accuracy": "max"}, True),
        ({"l1": "min", "attacker_accuracy": "min", "accuracy_drop": "min"}, True),
        ({"l1": "min", "attacker_accuracy": "min", "accuracy_drop": "min", "flip_rate": "min"}, False),
    ],
    ids=["one", "two", "three", "four"],
)
def test_surfaces_are_drawn_of_two_or_three_objectives(written, objectives, drawn):
    desk = written(seeds=[1], objectives=objectives)
    desk.finished("none", (part(0.0, 0.9), part(0.0, 0.9)))
    corner = {"l1": 0.0, "attacker_accuracy": 0.9, "accuracy_drop": 0.0, "victim_accuracy": 0.9, "flip_rate": 0.0}
    expected = [[corner[name] for name in objectives]]
    assert spread(desk.view)["surfaces"] == (dict.fromkeys(("best", "median", "worst"), expected) if drawn else {})
