"""A clock for every task under way: what takes longer than its stage may is stopped by the driver."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
from ray.tune import Callback
from ray.tune.experiment import Trial

from emma_tune.plan import Task
from emma_tune.search.driver import StudyDriver
from emma_tune.stages import STAGES
from emma_tune.storage.store import Store
from emma_tune.study import Study


class Limit(NamedTuple):
    """How long a task may take.

    Attributes:
        seconds: from its worker's beginning it, or going on with it, to its end.
        place: where the study says so.
    """

    seconds: float
    place: str


class _Attempt(NamedTuple):
    trial: Trial
    task: Task
    since: float


class Timeouts(Callback):
    """Watches from outside: a worker that hangs cannot be trusted to stop itself.

    The first time the worker is killed and Tune starts the trial in a fresh process, which goes on from the last
    saved state; the second time the trial ends with the reason.

    Args:
        searcher: of the run.
        store: where failures are noted.
        run: identifies this run.
        limits: by the stage that a trial begins with; none for a stage that may take for ever.
    """

    def __init__(self, driver: StudyDriver, store: Store, run: str, limits: Mapping[str, Limit]) -> None:
        self._driver = driver
        self._store = store
        self._run = run
        self._limits = limits
        self._attempts: dict[str, _Attempt] = {}
        self._stopped: Counter[str] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nobody reads

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A worker begins with the tasks of a trial, or goes on with them."""
        tasks = self._driver.trials.get(trial.trial_id)
        if tasks and tasks[0].stage in self._limits:
            self._attempts[trial.trial_id] = _Attempt(trial, tasks[0], time.monotonic())

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A trial reports: it may have come to its next task, or wait for the storage, which is not its fault."""
        attempt = self._attempts.get(trial.trial_id)
        if attempt and result.get("task", attempt.task.key) != attempt.task.key:
            tasks = {task.key: task for task in self._driver.trials.get(trial.trial_id, ())}
            if result["task"] in tasks:
                self._begin(attempt, tasks[result["task"]])
        elif attempt and "waiting" in result and not result["busy"]:
            self._begin(attempt, attempt.task)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended."""
        self._attempts.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial ended badly."""
        self._attempts.pop(trial.trial_id, None)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A trial waits for another worker."""
        self._attempts.pop(trial.trial_id, None)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Stops what is late; Tune comes by ten times a second, whether or not anybody reports."""
        now = time.monotonic()
        for trial_id, attempt in list(self._attempts.items()):
            tasks = self._driver.trials.get(trial_id)
            if tasks and now - attempt.since > self._limits[tasks[0].stage].seconds:
                self._late(attempt, tasks)

    def _begin(self, attempt: _Attempt, task: Task) -> None:
        self._attempts[attempt.trial.trial_id] = _Attempt(attempt.trial, task, time.monotonic())

    def _late(self, attempt: _Attempt, tasks: list[Task]) -> None:
        task = next((task for task in tasks if not self._store.has(task.stage, task.key)), None)
        if task is None or task.key != attempt.task.key:  # done, but its report has not come yet
            self._begin(attempt, task or attempt.task)
            return
        del self._attempts[attempt.trial.trial_id]
        self._stopped[task.key] += 1
        twice = self._stopped[task.key] > 1
        limit = self._limits[tasks[0].stage]
        reason = (
            f"{task.stage}: expected to end within {limit.seconds:g} s ({limit.place}), still running; "
            f"stopped {'twice' if twice else 'once'}"
        )
        self._store.note_failure(task.key, run=self._run, reason=reason)
        if twice:
            self._driver.give_up(attempt.trial.trial_id, reason)
            attempt.trial.max_failures = 0  # its worker's death, now, is the trial's end
        else:
            self._driver.say(f"{reason}, and tried again")
        if attempt.trial.temporary_state.ray_actor is not None:
            ray.kill(attempt.trial.temporary_state.ray_actor)


def limits_of(study: Study) -> dict[str, Limit]:
    """How long the trials of each stage may take for each of their tasks, where the study says so."""
    limits = {}
    for stage in STAGES:
        named = study.shares_with(stage)
        seconds = study.share(named).timeout_seconds
        if seconds is not None:
            limits[stage] = Limit(seconds, f"resources.{named}.timeout_seconds")
    return limits
