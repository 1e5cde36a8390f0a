"""A run that goes as far as a stage does that and no more, and the next one goes on from there."""

from __future__ import annotations

from collections import Counter

import pytest

from emma_tune.plan import Task
from emma_tune.results.ledger import read_ledger
from emma_tune.search.driver import OVER
from emma_tune.stages import STAGES

SPACE = {"lambda": {"choices": [0.1, 0.2]}, "lr_gamma": 0.3, "st_epoch": {"choices": [1]}}
TASKS = {
    "victim": 1,
    "posteriors": 1,
    "surrogate": 1,
    "misinformer": 0,
    "guidance": 0,
    "matrix": 2,
    "responses": 4,
    "attacker": 8,
    "evaluation": 8,
}
"""Two searched points and two baselines, two attackers, one seed."""


def run(desk, until: str | None) -> list[Task]:
    """Runs as far as that; the tasks that were done."""
    driver = desk.open(slots=8, until=until)
    done = []
    while some := list(desk.trials()):
        for trial, tasks in some:
            done += tasks
            desk.finish(trial, tasks)
    assert driver.suggest("last") == OVER
    return done


@pytest.mark.parametrize("until", ["victim", "surrogate", "matrix", "responses", "attacker"])
def test_everything_up_to_the_stage_is_done_and_nothing_behind_it(desk, until):
    last = list(STAGES).index(until)
    expected = Counter({stage: TASKS[stage] for stage in list(STAGES)[: last + 1]})
    assert Counter(task.stage for task in run(desk, until)) == expected
    ledger = read_ledger(desk.place.ledger)
    assert ledger.outcomes == {}, "nothing is concluded of a point that is not through"
    assert len(ledger.points) == (0 if until in ("victim", "surrogate") else 4)
    assert run(desk, until) == [], "and it is not done again"


def test_step_by_step_is_the_whole_way(desk):
    steps = [
        task.key
        for until in ("victim", "surrogate", "matrix", "responses", "attacker", None)
        for task in run(desk, until)
    ]
    assert (
        Counter(desk.store.root.glob("*/*/record.json")).total()
        == len(steps)
        == len(set(steps))
        == sum(TASKS.values())
    )
    outcomes = read_ledger(desk.place.ledger).outcomes
    assert sorted(outcomes) == [0, 1, 2, 3]
    assert all(outcome.figures or outcome.bounds for outcome in outcomes.values())


def test_every_st_epoch_of_the_space_gets_its_surrogate(desk):
    driver = desk.open(until="surrogate", surrogate={"epochs": 4}, defense={"epochs": 4}, search={
        "space": {**SPACE, "st_epoch": {"choices": [0, 1, 3]}},
    })  # fmt: skip
    untils = []
    while some := list(desk.trials()):
        for trial, tasks in some:
            untils += [task.config.until for task in tasks if task.stage == "surrogate"]
            desk.finish(trial, tasks)
    assert untils == [0, 1, 3]
    assert driver.suggest("last") == OVER


def test_a_victim_that_fails_is_told_and_nothing_waits_for_it(desk):
    driver = desk.open(until="surrogate")
    trial, _ = desk.suggest()
    driver.ended(trial, {"done": True, "reason": "victim: ValueError: no"})
    assert driver.suggest("last") == OVER
    assert desk.said == ["the groundwork failed: victim: ValueError: no"]
    assert list(driver.outcomes.failures.values()) == ["victim: ValueError: no"]
    assert read_ledger(desk.place.ledger).outcomes == {}
