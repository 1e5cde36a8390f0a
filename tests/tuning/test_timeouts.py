"""The driver's clocks: the task that is late is the one that is named, and a trial that only waits is not."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

from emma_tune.study.file import load_study
from emma_tune.tuning.workers import failures
from emma_tune.tuning.workers.failures import Limit, Timeouts, limits_of
from tests.search.desk import FIRST

AT_ONCE = {"attacker": Limit(0.0, "resources.attacker.timeout_seconds")}
LATE = "evaluation: expected to end within 0 s (resources.attacker.timeout_seconds), still running; stopped"


def as_tune_has_it(trial_id: str) -> SimpleNamespace:
    return SimpleNamespace(trial_id=trial_id, max_failures=5, temporary_state=SimpleNamespace(ray_actor=None))


def test_the_task_behind_a_finished_one_is_late_and_named_twice(desk):
    driver = desk.open()
    trial_id, tasks = desk.finish_all_but(FIRST)[FIRST, "soft"]
    trial = as_tune_has_it(trial_id)
    clocks = Timeouts(driver, desk.store, "a-run", AT_ONCE)
    clocks.on_step_end(0, [])
    assert desk.said == []  # it waits for a worker

    clocks.on_trial_start(0, [], trial)
    desk.make(tasks[:1])
    clocks.on_step_end(0, [])
    assert desk.said == []  # the attacker is done: the clock starts anew for what is behind it
    clocks.on_step_end(0, [])
    assert desk.said == [f"{LATE} once, and tried again"]
    assert trial.max_failures == 5
    clocks.on_step_end(0, [])
    assert len(desk.said) == 1  # stopped, and not begun again yet

    clocks.on_trial_recover(0, [], trial)
    clocks.on_trial_start(0, [], trial)
    clocks.on_trial_result(0, [], trial, {"task": tasks[1].key})
    clocks.on_step_end(0, [])
    assert trial.max_failures == 0
    driver.ended(trial_id, None)
    assert driver.outcomes.failures == {FIRST: f"{LATE} twice"}


def test_waiting_for_the_storage_is_not_the_tasks_time(desk, monkeypatch):
    driver = desk.open()
    trial_id, tasks = desk.finish_all_but(FIRST)[FIRST, "soft"]
    trial = as_tune_has_it(trial_id)
    seconds = itertools.count()
    monkeypatch.setattr(failures.time, "monotonic", lambda: next(seconds))
    clocks = Timeouts(driver, desk.store, "a-run", {"attacker": Limit(10, "resources.attacker.timeout_seconds")})
    clocks.on_trial_start(0, [], trial)
    waits = {"task": tasks[0].key, "busy": 0.0, "waiting": "no answer"}
    for _ in range(60):
        clocks.on_trial_result(0, [], trial, waits)
        clocks.on_step_end(0, [])
    assert desk.said == []
    unsaved = {**waits, "busy": 1.0}  # it works, and cannot save its state meanwhile
    for _ in range(15):
        clocks.on_trial_result(0, [], trial, unsaved)
        clocks.on_step_end(0, [])
    (line,) = desk.said
    assert "attacker: expected to end within 10 s" in line


def test_a_trial_that_has_ended_has_no_clock(desk):
    driver = desk.open()
    trial_id, tasks = desk.finish_all_but(FIRST)[FIRST, "soft"]
    trial = as_tune_has_it(trial_id)
    clocks = Timeouts(driver, desk.store, "a-run", AT_ONCE)
    clocks.on_trial_start(0, [], trial)
    desk.finish(trial_id, tasks)
    clocks.on_trial_complete(0, [], trial)
    clocks.on_step_end(0, [])
    assert desk.said == []


def test_limits_are_named_by_the_place_they_stand_in(study_file):
    study = load_study(study_file(resources={"victim": {"timeout_seconds": 60}, "attacker": {"cpu": 2}}))
    limit = Limit(60, "resources.victim.timeout_seconds")
    assert limits_of(study) == {"victim": limit, "misinformer": limit}
