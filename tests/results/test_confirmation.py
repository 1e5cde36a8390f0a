"""What confirming asks for, and what repeats say of searched figures."""

from __future__ import annotations

import math

import pytest

from emma_tune.plan import Planner, run_seed
from emma_tune.results.confirmation import (
    confirmation_folder,
    confirmation_study,
    confirmed,
    points_to_confirm,
)
from emma_tune.study.file import StudyError
from emma_tune.study.measures import MEASURES
from tests.results.desk import IMAGES, Written, counts, part

T_OF_THREE = 4.302653  # 0.975 quantile, 2 degrees of freedom


def alike(figures):
    return figures, figures


def confirmation(desk, repeats=3, images=IMAGES):
    """The confirmation of a study, and no points in it yet."""
    study = confirmation_study(desk.view.study, repeats)
    return Written(confirmation_folder(desk.root), study, images)


@pytest.fixture
def desk(written):
    """Two seeds; points 0, 1 and 2 are on the front."""
    desk = written(seeds=[1, 2], attackers={"soft": {}, "hard": {}}, limits={"accuracy_drop": 0.02})
    desk.finished("none", alike(part(0.0, {"soft": 0.9, "hard": 0.8})))
    desk.finished("emma", alike(part(1.0, {"soft": 0.5, "hard": 0.4})))
    desk.finished("emma", alike(part(1.5, {"soft": 0.3, "hard": 0.3})))
    desk.finished("emma", alike(part(1.6, {"soft": 0.6, "hard": 0.6})))
    desk.asked("emma")
    desk.failed("emma")
    return desk


# --- the study that confirms ------------------------------------------------------------------------------


def test_only_what_follows_the_victim_has_fresh_seeds(desk):
    searched, again = desk.planner, confirmation(desk, 3).planner
    assert list(again.runs.values()) == [1, 2] * 3
    assert not again.runs.keys() & searched.runs.keys()
    point = desk.view.ledger.points[1]
    before, after = searched.point(point), again.point(point)
    for seed in (1, 2):
        assert again.foundation(seed) == searched.foundation(seed)
    shared = {task.stage for key, task in after.tasks.items() if key in before.tasks}
    assert shared == {"victim", "posteriors"}
    anew = [task.stage for key, task in after.tasks.items() if key not in before.tasks]
    assert {stage: anew.count(stage) for stage in anew} == {
        "surrogate": 12, "matrix": 6, "responses": 6, "attacker": 12, "evaluation": 12,
    }  # fmt: skip


@pytest.mark.parametrize("repeats", [[0], [0, 1, 2], [3], [2, 0]], ids=str)
def test_seeds_are_fresh_even_where_the_search_had_repeats(written, repeats):
    desk = written(seeds=[1], repeats=repeats)
    again = Planner(confirmation_study(desk.view.study, 4), IMAGES)
    assert len(again.runs) == 4
    assert not again.runs.keys() & desk.planner.runs.keys()


def test_more_repeats_go_on_from_fewer(desk):
    few, more = (confirmation_study(desk.view.study, repeats).repeats for repeats in (2, 5))
    assert more[:2] == few
    assert len(more) == 5


def test_nothing_else_is_run_and_nothing_stopped(written):
    study = written(baselines=["none", "argmax"], search={"stop": "joint"}).view.study
    again = confirmation_study(study, 2)
    assert (again.baselines, again.search.stop, again.name) == ((), "none", study.name)
    kept = ("victim", "queries", "surrogate", "defense", "attackers", "seeds", "objectives", "limits", "resources")
    assert all(getattr(again, name) == getattr(study, name) for name in kept)


# --- which points -----------------------------------------------------------------------------------------


def test_the_front_is_confirmed_unless_points_are_named(desk):
    view = desk.view
    assert [point.number for point in points_to_confirm(view, None)] == [1, 2]  # of the searched defense
    named = points_to_confirm(view, [3, 1])
    assert named == [view.ledger.points[3], view.ledger.points[1]]


def test_what_cannot_be_confirmed_is_named(desk):
    view = desk.view
    for numbers, found in (
        ([99], "expected a point of the study, found no point 99"),
        ([1, 4], "expected a finished point, found point 4 unfinished"),
        ([5], "expected a finished point, found point 5 failed"),
    ):
        with pytest.raises(StudyError) as error:
            points_to_confirm(view, numbers)
        assert str(error.value) == f"{desk.root}: {found}"


def test_a_dominated_point_cannot_be_confirmed(written):
    desk = written(seeds=[1], search={"stop": "joint"})
    best = desk.finished("emma", alike(part(1.0, 0.5)))
    left = desk.dominated("emma", by=best, validation=part(1.5, 0.6))
    with pytest.raises(StudyError, match=rf"expected a finished point, found point {left} dominated$"):
        points_to_confirm(desk.view, [left])


def test_an_empty_front_cannot_be_confirmed(written):
    desk = written(seeds=[1], limits={"accuracy_drop": 0.0})
    desk.finished("emma", alike(part(1.0, 0.5, drop=0.5)))
    with pytest.raises(StudyError) as error:
        points_to_confirm(desk.view, None)
    assert str(error.value) == f"{desk.root}: expected points on a front to confirm, found none"


# --- what comes out ---------------------------------------------------------------------------------------


def of_runs(again, figures):
    """Pairs in order of the plan's runs, from figures by repeat and seed."""
    runs = {run_seed(seed, repeat): alike(of) for (repeat, seed), of in figures.items()}
    return [runs[run] for run in again.planner.runs]


def test_each_repeat_is_a_mean_over_seeds_and_the_interval_is_over_repeats(desk):
    again = confirmation(desk, 3)
    soft = {(1, 1): 0.2, (1, 2): 0.4, (2, 1): 0.5, (2, 2): 0.5, (3, 1): 0.1, (3, 2): 0.7}
    hard = {(1, 1): 0.6, (1, 2): 0.2, (2, 1): 0.3, (2, 2): 0.3, (3, 1): 0.2, (3, 2): 0.2}
    figures = {
        place: part(place[0] / 4, {"soft": soft[place], "hard": hard[place]}, drop=0.02 * (place[1] - 1))
        for place in soft
    }
    desk_point = desk.view.ledger.points[1]
    again.finished("emma", *of_runs(again, figures), number=1, **desk_point.params)
    content = confirmed(desk.view, again.view)
    assert (content["study"], content["repeats"]) == ("tiny", 3)
    assert content["counts"] == counts(asked=1, finished=1)
    (point,) = content["points"]
    assert (point["point"], point["defense"], point["state"]) == (1, "emma", "finished")
    assert point["params"] == desk_point.params
    measures = point["measures"]
    assert list(measures) == [
        "l1", "attacker_accuracy", "accuracy_drop", "victim_accuracy", "l1_queries", "flip_rate",
        "attackers.soft", "attackers.hard",
    ]  # fmt: skip
    by_hand = {  # searched, and the mean of two seeds in each repeat
        "l1": (1.0, (0.25, 0.5, 0.75)),
        "victim_accuracy": (0.9, (0.89, 0.89, 0.89)),
        "accuracy_drop": (0.0, (0.01, 0.01, 0.01)),
        "attacker_accuracy": (0.5, (0.5, 0.5, 0.45)),  # the worst thief of each run: 0.6 and 0.4, 0.5, 0.2 and 0.7
        "attackers.soft": (0.5, (0.3, 0.5, 0.4)),
        "attackers.hard": (0.4, (0.4, 0.3, 0.2)),
    }
    for name, (searched, repeats) in by_hand.items():
        middle = sum(repeats) / 3
        deviation = math.sqrt(sum((value - middle) ** 2 for value in repeats) / 2)
        reach = T_OF_THREE * deviation / math.sqrt(3)
        expected = {
            "searched": searched, "mean": middle, "deviation": deviation,
            "low": max(0.0, middle - reach), "high": middle + reach, "count": 3,
        }  # fmt: skip
        assert measures[name] == pytest.approx(expected, abs=1e-6), name


def test_test_figures_are_told_and_validation_figures_decide_who_stays(desk):
    again = confirmation(desk, 2)
    again.finished("none", (part(0.0, {"soft": 0.9, "hard": 0.8}), part(0.5, {"soft": 0.75, "hard": 0.75})))
    bad = part(2.0, {"soft": 1.0, "hard": 1.0}, drop=0.5)
    again.finished("emma", (part(1.0, {"soft": 0.5, "hard": 0.4}), bad), **desk.view.ledger.points[1].params)
    none, emma = confirmed(desk.view, again.view)["points"]
    assert none["measures"]["l1"]["mean"] == 0.5
    assert none["measures"]["l1"]["searched"] == 0.0
    assert emma["measures"]["attacker_accuracy"]["mean"] == 1.0
    assert emma["on_front"]
    assert emma["still_on_front"]
    assert "why" not in emma


@pytest.fixture
def repeated(desk):
    """What the three points of the front came to: 1 is beaten by 2, and one more that never was on the front."""

    def write(one, two, three=None):
        again = confirmation(desk, 2)
        points = desk.view.ledger.points
        again.finished("none", alike(part(0.0, {"soft": 0.9, "hard": 0.8})))
        again.finished("emma", *one, **points[1].params)
        again.finished("emma", *two, **points[2].params)
        if three:
            again.finished("emma", *three, **points[3].params)
        return {point["point"]: point for point in confirmed(desk.view, again.view)["points"]}

    return write


GOOD = alike(part(1.0, {"soft": 0.5, "hard": 0.5}))
BETTER = alike(part(0.9, {"soft": 0.4, "hard": 0.4}))


def test_points_that_nothing_beats_stay(repeated):
    points = repeated([GOOD], [alike(part(1.5, {"soft": 0.3, "hard": 0.3}))])
    assert all(point["on_front"] and point["still_on_front"] and "why" not in point for point in points.values())


def test_a_point_that_another_beats_leaves_and_is_told_which(repeated):
    points = repeated([GOOD], [BETTER])
    assert (points[1]["on_front"], points[1]["still_on_front"]) == (True, False)
    assert points[1]["why"] == "beaten by point 2"
    assert points[2]["still_on_front"]


def test_all_that_beat_it_are_told_by_their_numbers(repeated):
    points = repeated([GOOD], [BETTER], [alike(part(0.8, {"soft": 0.45, "hard": 0.45}))])
    assert points[1]["why"] == "beaten by point 2, point 3"


def test_a_point_beyond_the_limits_leaves(repeated):
    beyond = part(1.0, {"soft": 0.5, "hard": 0.5}, drop=0.025)
    points = repeated([alike(beyond)], [alike(part(1.5, {"soft": 0.3, "hard": 0.3}))])
    assert (points[1]["still_on_front"], points[1]["why"]) == (False, "beyond the limits")


def test_limits_and_front_are_of_the_mean_over_all_runs(repeated):
    beyond, within = (part(1.0, {"soft": 0.5, "hard": 0.5}, drop=drop) for drop in (0.05, 0.0))
    far = alike(part(1.5, {"soft": 0.3, "hard": 0.3}))
    assert repeated([alike(beyond), *[alike(within)] * 3], [far])[1]["still_on_front"]


def test_a_point_that_was_not_on_the_front_says_so_and_gives_no_reason(repeated):
    points = repeated([GOOD], [BETTER], [alike(part(1.6, {"soft": 0.6, "hard": 0.6}))])
    assert (points[3]["on_front"], points[3]["still_on_front"]) == (False, False)
    assert "why" not in points[3]
    assert points[3]["measures"]["l1"]["searched"] == 1.6


def test_such_a_point_may_come_to_the_front_of_the_confirmed_ones(repeated):
    points = repeated([GOOD], [GOOD], [BETTER])
    assert (points[3]["on_front"], points[3]["still_on_front"]) == (False, True)


def test_points_that_are_not_through_have_a_state_and_nothing_else(desk):
    again = confirmation(desk, 2)
    again.failed("none")
    again.asked("emma", **desk.view.ledger.points[1].params)
    content = confirmed(desk.view, again.view)
    assert [(point["point"], point["state"]) for point in content["points"]] == [(0, "failed"), (1, "unfinished")]
    assert all(set(point) == {"point", "defense", "params", "state"} for point in content["points"])
    assert content["counts"]["failed"] == 1


def test_points_are_told_in_order_of_their_numbers_whenever_they_were_asked_for(desk):
    again = confirmation(desk, 2)
    for number in (2, 1):
        again.asked("emma", number=number, **desk.view.ledger.points[number].params)
    again.asked("none", number=0)
    assert [point["point"] for point in confirmed(desk.view, again.view)["points"]] == [0, 1, 2]


def test_images_that_a_confirmation_does_not_use_are_none_of_its_business(desk):
    again = confirmation(desk, 2)
    images = {**IMAGES, "exposure:letters": "ef01"}
    known = Written(desk.root.parent / "exposed" / "study", desk.view.study, images)
    assert confirmed(known.view, again.view)["points"] == []


@pytest.mark.parametrize("name", ["victim", "queries"])
def test_other_images_are_refused(desk, name):
    again = confirmation(desk, 2, {**IMAGES, name: "other"})
    with pytest.raises(StudyError) as error:
        confirmed(desk.view, again.view)
    assert str(error.value) == (
        f"{again.root}: expected the images that {desk.root} was run with, found others; run the study again first"
    )


@pytest.mark.parametrize(
    "edit",
    [
        {"attackers": {"soft": {}, "hard": {}, "inverse": {}}},
        {"attackers": {"soft": {"epochs": 60}, "hard": {}}},
        {"surrogate": {"epochs": 9}},
        {"limits": {"accuracy_drop": 0.5}},
    ],
    ids=["another thief", "a thief's epochs", "the surrogate", "the limits"],
)
def test_a_confirmation_from_before_an_edit_is_refused(desk, written, edit):
    again = confirmation(desk, 2)
    as_it_was = {"attackers": {"soft": {}, "hard": {}}, "limits": {"accuracy_drop": 0.02}}
    edited = written(name="edited", seeds=[1, 2], **{**as_it_was, **edit})
    with pytest.raises(
        StudyError, match="expected a confirmation of the study as it is now, found one of an earlier"
    ):
        confirmed(edited.view, again.view)
    more = written(name="more", seeds=[1, 2], search={"points": 50}, **as_it_was)
    assert confirmed(more.view, again.view)["points"] == []


def test_a_new_measure_is_confirmed_like_the_others(desk, monkeypatch):
    monkeypatch.setitem(MEASURES, "entropy", MEASURES["l1"])
    again = confirmation(desk)
    for place, number in ((desk, 6), (again, 6)):
        known = part(1.2, {"soft": 0.4, "hard": 0.3}) | {"entropy": 0.25}
        place.finished("emma", (known, known), number=number)
    (point,) = confirmed(desk.view, again.view)["points"]
    assert point["measures"]["entropy"]["searched"] == point["measures"]["entropy"]["mean"] == 0.25
