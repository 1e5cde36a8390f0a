"""Attackers with `when: front` attack references and the points of each front, once these are certain."""

from __future__ import annotations

import math
import random

import pytest

from emma_tune.results import StudyView
from emma_tune.results.ledger import read_ledger
from emma_tune.results.status import status_of
from emma_tune.search.driver import OVER
from tests.search.desk import ARGMAX, CLONES, COSTS, EPOCHS, FIRST, NONE, SECOND, Desk

ATTACKERS = {"soft": {"epochs": EPOCHS}, "inverse": {"epochs": EPOCHS, "when": "front"}}
STUDY = {"attackers": ATTACKERS, "search": {"stop": "own"}}
"""Both searched points are on the front of emma: l1 1.0 and 75 %, l1 1.5 and 25 %."""


@pytest.fixture
def desk(tmp_path, study_file):
    return Desk(tmp_path, study_file)


def finish_search(desk: Desk) -> list[tuple[str, list]]:
    """Run all trials but those of `inverse`, which are returned."""
    waiting = []
    while some := list(desk.trials()):
        for trial, tasks in some:
            if tasks[0].stage == "attacker" and tasks[0].config.kind == "inverse":
                waiting.append((trial, tasks))
            else:
                desk.finish(trial, tasks)
    return waiting


def attacked(desk: Desk) -> list[int]:
    return [event["point"] for event in desk.events("attacked")]


def test_they_attack_the_members_of_the_fronts(desk):
    driver = desk.open(**STUDY)
    waiting = finish_search(desk)
    assert sorted(desk.point_of(tasks[0]) for _, tasks in waiting) == [FIRST, SECOND]  # the others have no matrix
    assert driver.outcomes.finished == driver.outcomes.ended == 4
    assert (
        status_of(StudyView(desk.place.root))["state"] == "interrupted"
    )  # it is not running, and this is left to do
    for trial in waiting:
        desk.finish(*trial)
    assert attacked(desk) == [FIRST, SECOND]
    assert driver.suggest("last") == OVER
    assert driver.outcomes.finished == driver.outcomes.ended == 4
    status = status_of(StudyView(desk.place.root))
    assert status["state"] == "finished"
    assert status["tasks"]["attacker"]["done"] == 4 + 2


def test_beside_the_last_points_they_attack_what_no_open_one_can_beat(desk):
    desk.open(slots=2, **STUDY)
    running = desk.finish_all_but(FIRST, SECOND)
    assert desk.suggest() is None
    desk.finish(*running[SECOND, "soft"])  # l1 1.5 and 25 %: the first one, at l1 1.0, may become better still
    assert desk.suggest() is None
    assert not desk.report(*running[FIRST, "soft"], epoch=4, best=0.5)  # but not any more
    trial, tasks = desk.suggest()
    assert (tasks[0].stage, tasks[0].config.kind, desk.point_of(tasks[0])) == ("attacker", "inverse", SECOND)
    assert desk.suggest() is None, "nothing else is certain"
    desk.finish(trial, tasks)
    assert attacked(desk) == [SECOND]
    desk.finish(*running[FIRST, "soft"])
    (left,) = finish_search(desk)
    desk.finish(*left)
    assert attacked(desk) == [SECOND, FIRST]
    assert desk.driver.suggest("last") == OVER


@pytest.mark.parametrize("stop", ["own", "none", "joint"])
@pytest.mark.parametrize("seed", range(3))
def test_in_whatever_order_trials_end_they_attack_the_members_and_no_others(desk, seed, stop, monkeypatch):
    """With `stop: joint` the joint front is the only whole one."""
    chance = random.Random(seed)
    values = [0.0, 0.25, 0.5, 0.75, 1.0]
    for number in range(FIRST, FIRST + 8):
        monkeypatch.setitem(COSTS, number, (2 * chance.choice(values), 0.0))
        monkeypatch.setitem(CLONES, number, chance.choice(values))
    space = {"lambda": {"choices": [n / 10 for n in range(1, 9)]}, "lr_gamma": 0.3, "st_epoch": 1}
    search = {"stop": stop, "points": 8, "space": space}
    driver, under_way = desk.open(slots=3, **{**STUDY, "search": search}), []
    while under_way := [*under_way, *desk.trials()]:
        trial, tasks = under_way.pop(chance.randrange(len(under_way)))
        if tasks[0].stage == "attacker" and chance.random() < 0.5:
            best = CLONES[desk.point_of(tasks[0])] * 0.5
            if desk.report(trial, tasks, epoch=4, best=best):
                driver.ended(trial, {"done": False})
                continue
        desk.finish(trial, tasks)
    assert driver.suggest("last") == OVER
    view = StudyView(desk.place.root)
    content = view.front()
    front = content["points"] if stop == "joint" else content["fronts"]["emma"]["points"]
    assert sorted(attacked(desk)) == sorted(point["point"] for point in front if point["defense"] == "emma")


@pytest.mark.parametrize(("stop", "members"), [("own", 2), ("joint", 1)])
def test_how_many_points_they_will_attack_is_estimated_from_the_front_so_far(desk, stop, members):
    """A front grows as the logarithm of its points; argmax dominates the first one of emma, which costs more."""
    driver = desk.open(**{**STUDY, "search": {"stop": stop}})
    points = {"none": 1, "argmax": 1, "emma": 2}
    assert driver.outcomes.expected_targets(points) == {**points, "emma": pytest.approx(1 + math.log(2))}
    for trial in finish_search(desk):
        desk.finish(*trial)
    assert driver.outcomes.expected_targets(points) == {**points, "emma": members}
    later = driver.outcomes.expected_targets({**points, "emma": 20})
    assert later == {**points, "emma": pytest.approx(members * (1 + math.log(10)))}


def test_they_count_for_nothing_but_their_own_column(desk, monkeypatch):
    desk.open(**STUDY)
    waiting = finish_search(desk)
    monkeypatch.setitem(CLONES, FIRST, 0.875)
    monkeypatch.setitem(CLONES, SECOND, 0.5)
    for trial in waiting:
        desk.finish(*trial)
    view = StudyView(desk.place.root)
    content = view.front()
    emma = content["fronts"]["emma"]
    assert [point["attacker_accuracy"] for point in emma["points"]] == [0.75, 0.25]
    assert [point["attackers"]["inverse"] for point in emma["points"]] == [0.875, 0.5]
    assert emma["reached"] == {"inverse": {"low": 0.5, "high": 0.875, "points": 2}}
    assert all("inverse" not in point["attackers"] for point in content["references"])
    table = view.points().set_index("point")
    assert table.loc[FIRST, "attackers.inverse"] == 0.875
    assert table.loc[FIRST, "attacker_accuracy"] == 0.75
    against = view.front(attacker="inverse")["fronts"]["emma"]["points"]
    assert [(point["point"], point["attacker_accuracy"]) for point in against] == [(FIRST, 0.875), (SECOND, 0.5)]


def test_a_point_that_is_beaten_by_its_own_defense_is_not_attacked_and_a_reference_with_a_matrix_is(desk):
    search = {**STUDY["search"], "space": {"lambda": {"choices": [0.1, 0.2]}, "lr_gamma": 0.3, "st_epoch": 1}}
    desk.open(**{**STUDY, "search": search, "baselines": ["none", {"kind": "uniform", "a": 0.5}]})
    waiting = finish_search(desk)
    assert sorted(desk.point_of(tasks[0]) for _, tasks in waiting) == [1, FIRST, SECOND]


def test_resumed_in_the_middle_only_what_is_missing_is_attacked(desk):
    desk.open(**STUDY)
    first, _ = finish_search(desk)
    desk.finish(*first)
    desk.open(**STUDY)
    (left,) = finish_search(desk)
    assert attacked(desk) == [FIRST]
    desk.finish(*left)
    assert attacked(desk) == [FIRST, SECOND]
    before = desk.place.ledger.read_bytes()
    assert desk.open(**STUDY).suggest("nothing is left") == OVER
    assert desk.place.ledger.read_bytes() == before


def test_added_to_a_finished_study_one_attacks_its_fronts_and_nothing_else_runs(desk):
    desk.open(**{**STUDY, "attackers": {"soft": {"epochs": EPOCHS}}})
    assert finish_search(desk) == []
    before = [event["plan"] for event in desk.events("finished")]
    desk.open(**STUDY)
    assert [desk.point_of(tasks[0]) for _, tasks in finish_search(desk)] == [FIRST, SECOND]
    assert [event["plan"] for event in desk.events("finished")] == before  # concluded as before, written once


def test_points_that_are_added_later_are_attacked_once_they_are_on_the_front(desk):
    desk.open(**{**STUDY, "search": {"stop": "own", "points": 1}})
    for trial in finish_search(desk):
        desk.finish(*trial)
    assert attacked(desk) == [FIRST]
    desk.open(**STUDY)
    for trial in finish_search(desk):
        desk.finish(*trial)
    assert attacked(desk) == [FIRST, SECOND]


def test_where_one_fails_the_point_stays_finished_and_it_is_tried_again(desk):
    driver = desk.open(**STUDY)
    (trial, tasks), other = finish_search(desk)
    driver.ended(trial, {"done": True, "reason": "attacker: ValueError: no inverse"})
    desk.finish(*other)
    assert driver.suggest("last") == OVER
    number = desk.point_of(tasks[0])
    reason = "attackers of the fronts: attacker: ValueError: no inverse"
    assert driver.outcomes.failures == {number: reason}
    assert driver.outcomes.failed == 0
    (event,) = desk.events("not attacked")
    assert (event["point"], event["task"]) == (number, tasks[0].key)
    view = StudyView(desk.place.root)
    assert view.state(view.ledger.points[number]) == "finished"
    assert status_of(view)["failures"] == [{"point": number, "reason": reason}]
    assert status_of(view)["tasks"]["attacker"]["failed"] == 1
    desk.open(**STUDY)
    (again,) = finish_search(desk)
    desk.finish(*again)
    assert status_of(StudyView(desk.place.root))["failures"] == []


def test_of_points_that_were_chosen_by_hand_all_are_attacked(desk):
    desk.open(**STUDY)
    for trial in finish_search(desk):
        desk.finish(*trial)
    driver = desk.open(**STUDY)
    desk.proposers.clear()  # as in a confirmation, which proposes nothing
    points = {NONE, ARGMAX, FIRST, SECOND}
    assert {point.number for point in driver.outcomes.targets()} == points


def test_a_run_as_far_as_a_stage_leaves_them_for_later(desk):
    driver = desk.open(until="attacker", **STUDY)
    assert finish_search(desk) == []
    assert driver.suggest("last") == OVER
    assert read_ledger(desk.place.ledger).front_attacks == {}
