"""The agenda hands out tasks in an order that respects inputs, shares work, and settles every point."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from emma_tune.plan import Planner, Point, Task
from emma_tune.search.agenda import Agenda
from emma_tune.stages import STAGES
from emma_tune.study.file import load_study

IMAGES = {"victim": "v", "queries": "q"}


@pytest.fixture
def planner(study_file):
    return Planner(load_study(study_file(seeds=[1, 2])), IMAGES)


def emma_point(number: int, weight: float, st_epoch: int = 1) -> Point:
    return Point(number, "emma", {"lambda": weight, "lr_gamma": 0.3, "st_epoch": st_epoch})


def points() -> list[Point]:
    return [Point(0, "none"), Point(1, "argmax"), emma_point(2, 0.1), emma_point(3, 0.2, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_every_task_runs_once_after_all_it_needs(planner, seed):
    chance = random.Random(seed)
    agenda = Agenda(lambda task: False)
    plans = [planner.point(point) for point in points()]
    waiting, running, done, closed = list(plans), [], [], []
    while waiting or agenda.open:
        if waiting and chance.random() < 0.3:
            agenda.add(waiting.pop(0))
        trial = agenda.next() if len(running) < 3 else None
        if trial:
            for index, task in enumerate(trial):
                assert task.needs <= {*done, *(before.key for before in trial[:index])}
            running.append(trial)
        elif running:
            trial = running.pop(chance.randrange(len(running)))
            done += [task.key for task in trial]
            agenda.done(task.key for task in trial)
            closed += agenda.close_plans()
    assert sorted(done) == sorted({key for plan in plans for key in plan.tasks})
    assert [failure for _, failure in closed] == [None] * 4


def test_cheap_stages_ride_along_with_the_task_that_makes_them_ready(planner):
    agenda = Agenda(lambda task: False)
    agenda.add(planner.point(Point(0, "none")))
    trial = agenda.next()
    assert [task.stage for task in trial] == ["victim", "posteriors", "responses"]
    assert [STAGES[task.stage].own_trial for task in trial[1:]] == [False, False]


def test_earlier_points_go_first_and_later_stages_before_earlier_ones(planner):
    plans = [planner.point(point) for point in points()]
    done = {
        t.key for plan in plans for t in plan.tasks.values() if t.stage in ("victim", "posteriors", "surrogate")
    }
    agenda = Agenda(lambda task: task.key in done)
    for plan in plans:
        agenda.add(plan)
    order = [trial[0] for trial in iter(agenda.next, None)]
    of_none = plans[0].tasks
    assert all(task.key in of_none for task in order[:2])  # the responses of the two seeds
    assert [task.stage for task in order[4:]] == ["matrix"] * 4


def test_what_the_store_has_is_not_handed_out_again(planner):
    plan = planner.point(emma_point(0, 0.1))
    agenda = Agenda(lambda task: True)
    agenda.add(plan)
    assert agenda.next() is None
    assert agenda.close_plans() == [(plan, None)]


def test_a_failed_task_fails_the_points_that_need_it_and_no_other(planner):
    plans = [planner.point(emma_point(0, 0.1)), planner.point(emma_point(1, 0.2))]
    agenda = Agenda(lambda task: task.stage in ("victim", "posteriors", "surrogate"))
    for plan in plans:
        agenda.add(plan)
    trial = agenda.next()
    assert trial[0].key in plans[0].tasks
    assert trial[0].key not in plans[1].tasks
    agenda.failed(trial, trial[0].key, "matrix: it broke")
    ((closed, failure),) = agenda.close_plans()
    assert (closed.point.number, failure.task, failure.reason) == (0, trial[0], "matrix: it broke")
    while trial := agenda.next():
        assert all(task.key in plans[1].tasks for task in trial)  # nothing more is done for a failed point
        agenda.done(task.key for task in trial)
    assert [failure for _, failure in agenda.close_plans()] == [None]
    assert not agenda.open


def test_counts_add_up(planner, tmp_path: Path):
    agenda = Agenda(lambda task: task.stage == "victim")
    plan = planner.point(emma_point(0, 0.1))
    agenda.add(plan)
    agenda.next()
    counts = agenda.counts()
    assert sum(sum(row.values()) for row in counts.values()) == len(plan.tasks)
    assert counts["victim"] == {"done": 2, "running": 0, "failed": 0, "waiting": 0}
    assert counts["posteriors"]["running"] == 1


# --- points that are left ---------------------------------------------------------------------------------


def run_until(agenda: Agenda, stage: str) -> list[list[Task]]:
    """Hands out and finishes trials until only trials that begin with `stage` are left; gives those, running."""
    running, others = [], True
    while others:
        handed_out = list(iter(agenda.next, None))
        running += [trial for trial in handed_out if trial[0].stage == stage]
        others = [trial for trial in handed_out if trial[0].stage != stage]
        agenda.done(task.key for trial in others for task in trial)
    return running


def test_nothing_more_is_done_for_a_dropped_point_and_all_for_the_others(planner):
    dropped, kept = planner.point(emma_point(0, 0.1)), planner.point(emma_point(1, 0.2))
    agenda = Agenda(lambda task: False)
    agenda.add(dropped)
    agenda.add(kept)
    agenda.drop(dropped.point)
    assert tuple(agenda.open) == (kept,)
    assert not agenda.is_open(dropped.point)
    done = []
    while trial := agenda.next():
        agenda.done(task.key for task in trial)
        done += [task.key for task in trial]
    assert sorted(done) == sorted(kept.tasks)  # shared tasks among them
    assert [closed for closed, _ in agenda.close_plans()] == [kept]


def test_a_trial_is_wanted_as_long_as_an_open_point_needs_what_it_has_not_done(planner):
    first, second = planner.point(emma_point(0, 0.1)), planner.point(emma_point(1, 0.2))
    agenda = Agenda(lambda task: task.stage in ("victim", "posteriors"))
    agenda.add(first)
    agenda.add(second)
    surrogate = agenda.next()
    assert surrogate[0].stage == "surrogate"
    assert surrogate[0].key in second.tasks  # shared
    agenda.drop(first.point)
    assert agenda.wants(surrogate)
    agenda.drop(second.point)
    assert not agenda.wants(surrogate)
    agenda.add(second)
    assert agenda.wants(surrogate)
    agenda.done(task.key for task in surrogate)
    assert not agenda.wants(surrogate)  # nothing of it is left to do


def test_a_trial_whose_wanted_part_is_done_is_not_wanted_for_the_rest(planner):
    none, argmax = planner.point(Point(0, "none")), planner.point(Point(1, "argmax"))
    agenda = Agenda(lambda task: False)
    agenda.add(none)
    trial = agenda.next()
    assert [task.stage for task in trial] == ["victim", "posteriors", "responses"]
    agenda.add(argmax)
    agenda.drop(none.point)
    assert agenda.wants(trial)  # argmax needs the victim and the posteriors
    agenda.done(task.key for task in trial[:2])
    assert not agenda.wants(trial)  # and not the responses of none


def test_what_a_stopped_trial_had_not_done_waits_until_an_open_point_needs_it(planner):
    plan = planner.point(emma_point(0, 0.1))
    agenda = Agenda(lambda task: False)
    agenda.add(plan)
    trials = run_until(agenda, "attacker")
    assert sorted(trial[0].key for trial in trials) == sorted(task.key for task in plan.attackers.values())
    stopped, running = trials[0], trials[1:]
    agenda.drop(plan.point)
    agenda.release(stopped)
    assert agenda.next() is None
    assert agenda.counts()["attacker"] == {"done": 0, "running": len(running), "failed": 0, "waiting": 0}
    agenda.add(plan)
    assert agenda.next() == stopped  # again, with the evaluation behind it; the others still run
    assert agenda.next() is None


def test_a_dropped_point_is_neither_settled_nor_failed(planner):
    plan = planner.point(emma_point(0, 0.1))
    agenda = Agenda(lambda task: False)
    agenda.add(plan)
    trial = agenda.next()
    agenda.drop(plan.point)
    agenda.done(plan.tasks)
    agenda.failed(trial, trial[0].key, "too late")
    assert agenda.close_plans() == []
