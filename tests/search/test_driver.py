"""The driver stops points that are dominated, whatever still runs for them, and trials that no point needs."""

from __future__ import annotations

import pytest
import torch

from emma_tune.results.ledger import read_ledger
from emma_tune.search.driver import OVER
from emma_tune.storage.artifact import State
from tests.search.desk import ARGMAX, EPOCHS, FIRST, NONE, SECOND


def test_other_studies_in_the_store_tell_how_long_tasks_take(desk):
    driver = desk.open()
    assert driver.remaining(lambda stage: 1.0, 0.0) is None
    tasks = [task for number in (NONE, ARGMAX) for task in desk.plan(number).tasks.values()]
    elsewhere = [task for task in tasks if task.stage in ("victim", "attacker")]
    desk.make(elsewhere)
    records = [(task.stage, desk.store.record(task.stage, task.key)) for task in elsewhere]
    fresh = desk.open(seeds=[7], search={"points": 1})  # other keys, the same kinds
    fresh.recall_paces([(stage, record) for stage, record in records if stage == "victim"])
    assert fresh.remaining(lambda stage: 1.0, 0.0) is None
    fresh.recall_paces(records)
    # a victim, two clones of each of three points, and by the clones' pace an epoch of a surrogate and of a matrix
    epoch = 2.0 / EPOCHS
    assert fresh.remaining(lambda stage: 1.0, 0.0) == pytest.approx(2.0 + 3 * 2 * 2.0 + epoch + epoch * 10 / 3)


def test_a_point_is_left_as_soon_as_its_clone_is_as_good_as_that_of_a_cheaper_point(desk):
    driver = desk.open()
    running = desk.finish_all_but(FIRST)
    trial, tasks = running[FIRST, "soft"]
    desk.store.save_state(tasks[0].key, State(3, {"w": torch.zeros(1)}, []), seconds=1.0)
    assert not desk.report(trial, tasks, epoch=3, best=0.49)
    assert desk.events("dominated") == []
    assert desk.report(trial, tasks, epoch=4, best=0.5)  # argmax: l1 0.25 < 1, accuracy 0.5 = 0.5

    (event,) = desk.events("dominated")
    plan = desk.plan(FIRST)
    assert (event["point"], event["plan"], event["by"]) == (FIRST, desk.planner.digest, ARGMAX)
    assert event["left_out"] == (EPOCHS - 4) + EPOCHS
    costs = {"l1": 1.0, "l1_queries": 1.0, "accuracy_drop": 0.0, "victim_accuracy": 1.0, "flip_rate": 0.0}
    clones = {"attacker_accuracy": 0.5, "attackers": {"soft": 0.5, "hard": 0.0}}
    assert event["bounds"] == {"validation": {**costs, **clones}, "test": costs}
    done = {key for key, task in plan.tasks.items() if task.stage not in ("attacker", "evaluation")}
    assert set(event["tasks"]) == done
    assert event["tasks"][plan.responses[3407].key] == ["responses", "a-run", 2.0, 0]

    driver.ended(trial, {"done": False})  # Tune has stopped it
    assert desk.store.load_state(tasks[0].key) is None
    # its worker saves where it is when it has no other trial to go on with
    desk.store.save_state(tasks[0].key, State(4, {"w": torch.zeros(1)}, []), seconds=1.0)
    driver.tidy()
    assert desk.store.load_state(tasks[0].key) is None
    other, others = running[FIRST, "hard"]
    assert desk.report(other, others, epoch=1, best=0.0)
    driver.ended(other, {"done": False})
    assert driver.suggest("last") == OVER
    assert (
        driver.outcomes.finished,
        driver.outcomes.stopped["dominated"],
        driver.outcomes.failures,
        driver.outcomes.ended,
    ) == (3, 1, {}, 4)
    assert desk.events("failed") == []
    assert len(desk.events("dominated")) == 1


def test_optuna_is_told_what_a_stopped_point_would_probably_have_come_to(left):
    trial = left.journal()[FIRST]
    # 0.5 after 4 epochs of 10; its own defense's finished clone went from 0.25 · 0.4 on to 0.25
    assert (trial.state.name, trial.values) == ("COMPLETE", [1.0, pytest.approx(0.5 + 0.25 * 0.6)])
    assert trial.user_attrs["stopped"] is True
    assert trial.params == {"lambda": 0.1}
    assert left.journal()[SECOND].user_attrs["stopped"] is False
    assert left.journal()[SECOND].values == [1.5, 0.25]
    (event,) = left.events("dominated")
    assert event["estimate"]["attackers"] == pytest.approx({"soft": 0.65, "hard": 0.65})


def test_a_point_is_left_when_a_rival_finishes_though_its_own_clones_say_nothing_new(desk):
    desk.open()
    running = desk.finish_all_but(FIRST, ARGMAX)
    assert not desk.report(*running[FIRST, "hard"], epoch=8, best=0.6)
    desk.finish(*running[ARGMAX, "soft"])
    assert desk.events("dominated") == []
    desk.finish(*running[ARGMAX, "hard"])
    (event,) = desk.events("dominated")
    assert (event["point"], event["by"], event["left_out"]) == (FIRST, ARGMAX, EPOCHS + 2)
    # a report that says nothing about a clone is enough to hear that the trial is not wanted
    assert desk.driver.hear(running[FIRST, "soft"][0], {"busy": 1.0, "epoch": 0, "epochs": 0})


def test_a_clone_that_is_evaluated_counts_though_it_was_never_reported(desk):
    desk.open()
    running = desk.finish_all_but(FIRST)
    desk.finish(*running[FIRST, "hard"])  # 0.75 in the end, no report on the way
    (event,) = desk.events("dominated")
    assert event["bounds"]["validation"]["attackers"] == {"soft": 0.0, "hard": 0.75}
    assert event["left_out"] == EPOCHS
    assert event["tasks"][desk.plan(FIRST).attackers[3407, "hard"].key] == ["attacker", "a-run", 2.0, EPOCHS]


def test_a_trial_that_ends_all_the_same_after_its_point_was_left_does_no_harm(desk):
    desk.open()
    running = desk.finish_all_but(FIRST)
    assert desk.report(*running[FIRST, "soft"], epoch=9, best=0.75)
    desk.finish(*running[FIRST, "soft"])  # it was faster than Tune
    desk.driver.ended(running[FIRST, "hard"][0], None)  # and this one's worker had died
    assert (
        desk.driver.outcomes.finished,
        desk.driver.outcomes.stopped["dominated"],
        desk.driver.outcomes.failures,
    ) == (3, 1, {})
    assert desk.driver.suggest("last") == OVER


def test_baselines_are_never_left(desk):
    desk.open()
    running = desk.finish_all_but(ARGMAX)
    assert not desk.report(*running[ARGMAX, "soft"], epoch=4, best=1.0)  # none: l1 0 and accuracy 0.9
    assert desk.events("dominated") == []
    desk.finish(*running[ARGMAX, "soft"])
    desk.finish(*running[ARGMAX, "hard"])
    assert {event["point"] for event in desk.events("finished")} >= {NONE, ARGMAX}


def test_with_stop_none_every_point_runs_to_its_end(desk):
    desk.open(search={"stop": "none"})
    running = desk.finish_all_but(FIRST)
    assert not desk.report(*running[FIRST, "soft"], epoch=4, best=1.0)
    for trial in running.values():
        desk.finish(*trial)
    assert desk.events("dominated") == []
    assert desk.driver.outcomes.finished == 4


def test_a_place_that_a_left_point_frees_is_given_to_the_next_one(desk):
    driver = desk.open(slots=1)
    while set(read_ledger(desk.place.ledger).points) != {NONE, ARGMAX, FIRST}:
        desk.finish(*desk.suggest())
    running = desk.finish_all_but(FIRST)
    assert SECOND not in read_ledger(desk.place.ledger).points  # one slot: asked only once it can be used
    assert driver.suggest("none yet") is None
    assert desk.report(*running[FIRST, "soft"], epoch=1, best=0.6)
    _, (task, *_) = desk.suggest()  # its other clone was held: this trial may wait for the slot
    assert task.key in desk.plan(SECOND).tasks
    assert driver.suggest("no room yet") is None  # two trials run, one more than there are slots
    driver.ended(running[FIRST, "soft"][0], {"done": False})


def test_how_much_of_its_clones_a_point_needs_is_known_to_the_next_run(desk):
    desk.open(slots=1)
    running = desk.finish_all_but(FIRST)
    trial, tasks = running[FIRST, "soft"]
    assert desk.report(trial, tasks, epoch=1, best=0.6)
    desk.driver.ended(trial, {"done": False})
    trained, spared = 4 * EPOCHS + 1, 2 * EPOCHS - 1  # none, argmax, and an epoch of the first searched point
    for driver in (desk.driver, desk.open(slots=1)):
        share = driver.agenda.workload.trained_share("attacker")
        assert share == (trained + EPOCHS) / (trained + EPOCHS + spared)


def test_what_another_open_point_needs_is_not_stopped(desk):
    """Two seeds: the first beats a point while the surrogate of the second, which both need, still trains."""
    desk.open(slots=8, seeds=[1, 2])
    surrogate, attackers = None, {}
    while some := list(desk.trials()):
        for trial, tasks in some:
            if tasks[0].stage == "surrogate" and tasks[0].config.seed == 2:
                surrogate = trial, tasks
            elif tasks[0].stage == "attacker" and desk.point_of(tasks[0]) in (FIRST, SECOND):
                attackers[desk.point_of(tasks[0])] = trial, tasks
            else:
                desk.finish(trial, tasks)
    assert surrogate[1][0].key in desk.plan(FIRST).tasks.keys() & desk.plan(SECOND).tasks.keys()
    heard = {"busy": 1.0, "task": surrogate[1][0].key, "epoch": 1, "epochs": 1, "metrics": {"loss": 1.0}}

    assert desk.report(*attackers[FIRST], epoch=2, best=1.0)  # (1.0 + 0) / 2 reaches argmax
    assert [event["point"] for event in desk.events("dominated")] == [FIRST]
    assert desk.events("dominated")[0]["bounds"]["test"] == {}  # the costs of the second seed are not known
    assert not desk.driver.hear(surrogate[0], heard)
    assert not desk.report(*attackers[SECOND], epoch=2, best=0.99)
    assert not desk.driver.hear(surrogate[0], heard)
    assert desk.report(*attackers[SECOND], epoch=3, best=1.0)
    assert [event["point"] for event in desk.events("dominated")] == [FIRST, SECOND]
    assert desk.driver.hear(surrogate[0], heard)  # now no open point needs it


def test_a_failed_point_is_not_dominated_and_its_other_clones_train_on_for_when_it_is_tried_again(desk):
    desk.open()
    running = desk.finish_all_but(FIRST)
    desk.driver.ended(running[FIRST, "soft"][0], {"done": True, "reason": "attacker: it broke"})
    assert desk.driver.outcomes.failures == {FIRST: "attacker: it broke"}
    assert not desk.report(*running[FIRST, "hard"], epoch=9, best=1.0)
    desk.finish(*running[FIRST, "hard"])
    assert desk.events("dominated") == []
    outcomes = desk.driver.outcomes
    assert (outcomes.finished, outcomes.stopped["dominated"], len(outcomes.failures)) == (3, 0, 1)
    assert desk.journal()[FIRST].state.name == "FAIL"
