"""A conclusion of an earlier run is taken over as long as it holds; otherwise its point is open again."""

from __future__ import annotations

import pytest

from emma_tune.results import StudyView
from emma_tune.results.status import status_of
from emma_tune.search.driver import OVER
from tests.search.desk import ARGMAX, EPOCHS, FIRST


def test_the_next_run_takes_the_conclusion_over_without_planning_the_point(left):
    before = left.place.ledger.read_bytes()
    trials = {number: (trial.state, trial.values) for number, trial in left.journal().items()}
    driver = left.open()
    assert (
        driver.outcomes.finished,
        driver.outcomes.stopped["dominated"],
        driver.points.wanted,
        driver.outcomes.ended,
    ) == (3, 1, 4, 4)
    assert FIRST not in {plan.point.number for plan in driver.agenda.open}
    counts = driver.agenda.counts()
    assert counts["matrix"] == {"done": 1, "running": 0, "failed": 0, "waiting": 0}  # of the second point alone
    assert driver.suggest("nothing is left to do") == OVER
    assert left.place.ledger.read_bytes() == before
    assert {n: (trial.state, trial.values) for n, trial in left.journal().items()} == trials
    assert left.journal()[FIRST].user_attrs["stopped"] is True


NO_LONGER = [{"limits": {"accuracy_drop": 0.04}}, {"search": {"stop": "none"}}]


@pytest.mark.parametrize("changes", NO_LONGER, ids=["its dominator is beyond the limit", "none is to be left"])
def test_a_point_is_open_again_when_the_conclusion_no_longer_holds(left, changes):
    driver = left.open(**changes)
    assert FIRST not in StudyView(left.place.root).outcomes
    assert [plan.point.number for plan in driver.agenda.open] == [FIRST]
    assert (driver.outcomes.finished, driver.outcomes.stopped["dominated"]) == (3, 0)
    assert left.journal()[FIRST].state.name == "RUNNING"
    assert left.journal()[FIRST].params == {"lambda": 0.1}
    for trial, tasks in left.trials():  # the clones alone: all before them is there
        assert tasks[0].stage == "attacker"
        left.finish(trial, tasks)
    assert driver.suggest("last") == OVER
    assert driver.outcomes.finished == 4
    assert left.events("finished")[-1]["figures"]["validation"]["attacker_accuracy"] == 0.75
    assert (left.journal()[FIRST].state.name, left.journal()[FIRST].values) == ("COMPLETE", [1.0, 0.75])
    assert left.journal()[FIRST].user_attrs["stopped"] is False

    # finished is finished: what holds again later changes nothing
    assert left.open().outcomes.finished == 4
    assert status_of(StudyView(left.place.root))["points"]["dominated"] == 0


@pytest.mark.parametrize("changes", NO_LONGER, ids=["its dominator is beyond the limit", "none is to be left"])
def test_a_point_that_is_open_again_is_concluded_at_once_if_another_study_has_done_its_tasks(left, changes):
    left.make(list(left.plan(FIRST).tasks.values()))
    driver = left.open(**changes)
    assert driver.suggest("nothing is left to do") == OVER
    assert (driver.outcomes.finished, driver.outcomes.stopped["dominated"]) == (4, 0)
    assert left.journal()[FIRST].values == [1.0, 0.75]


def test_a_conclusion_holds_if_another_point_dominates_though_the_one_that_did_is_beyond_the_limit(left):
    left.open(objectives={"attacker_accuracy": "min"}, limits={"accuracy_drop": 0.04})
    assert (left.driver.outcomes.stopped["dominated"], left.driver.outcomes.finished) == (
        1,
        3,
    )  # the second point: 0.25 < 0.5


def test_after_an_edit_of_what_is_planned_no_conclusion_holds(left):
    left.open(attackers={"soft": {"epochs": EPOCHS}})  # without the hard one: the others are finished again
    assert [plan.point.number for plan in left.driver.agenda.open] == [FIRST]
    assert (left.driver.outcomes.finished, left.driver.outcomes.stopped["dominated"]) == (3, 0)


def test_a_point_under_way_at_the_end_of_a_run_is_left_at_the_start_of_the_next_if_that_is_known_then(desk):
    desk.open(search={"stop": "none"})
    running = desk.finish_all_but(FIRST)
    desk.finish(*running[FIRST, "hard"])
    desk.open()
    (event,) = desk.events("dominated")
    assert (event["point"], event["by"], event["left_out"]) == (FIRST, ARGMAX, EPOCHS)
    assert (desk.driver.outcomes.finished, desk.driver.outcomes.stopped["dominated"]) == (3, 1)
    assert desk.driver.suggest("nothing is left to do") == OVER
    assert desk.journal()[FIRST].values == [1.0, 0.75]
