"""Workers that die, and which deaths are not a task's fault; and workers that hang, which the driver stops."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from emma_tune.plan import Task
from emma_tune.search.driver import StudyDriver
from emma_tune.stages import STAGES
from emma_tune.storage.store import Store
from emma_tune.study import Study
from emma_tune.tuning.ray_patches import NeverPickled
from emma_tune.tuning.ray_patches.trials import (
    extend_stop_timeout,
    forget_first_result,
    forgive_failure,
    kill_worker,
    last_failure,
)

MAX_WORKER_DEATHS = 5
"""How often the worker of one trial may die before its point fails; each time the trial continues."""

MAX_LOST_NODES = 50
"""How often a node may be lost under one trial before that counts as well: a task may be what kills its node."""

STOP_MARGIN = 1.5
"""Multiple of the longest step so far that a worker gets to finish its own after a request to stop."""

MEMORY = re.compile(r"Memory on the node \(IP: ([^,)]+).*?was ([\d.]+ ?\w+) used / ([\d.]+ ?\w+) limit", re.DOTALL)
NODE = re.compile(r"node has died|node was (?:terminated|preempted|drained)|is unavailable:|placement group")
EXIT = re.compile(r"Worker exit type: (\w+) Worker exit detail: (.*?\.)(?:\s|$)", re.DOTALL)


class FailureScheduler(NeverPickled, FIFOScheduler):
    """First in, first out; and what Tune reports only to a scheduler: that a worker died."""

    def __init__(self, driver: StudyDriver) -> None:
        super().__init__()
        self._driver = driver
        self._lost_nodes: Counter[str] = Counter()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Give a worker time to finish and save its epoch after a request to stop."""
        extend_stop_timeout(tune_controller, STOP_MARGIN * result["time_this_iter_s"])
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Tell the driver why a worker died; that it was the trial's end, if so, the driver hears after this."""
        text = last_failure(trial)
        self._driver.explain(trial.trial_id, death_reason(text))
        forget_first_result(trial)
        if NODE.search(text):
            self._lost_nodes[trial.trial_id] += 1
            if self._lost_nodes[trial.trial_id] <= MAX_LOST_NODES:
                forgive_failure(trial)


def death_reason(text: str) -> str:
    """Return one line for people from what Ray says of a worker's end."""
    if memory := MEMORY.search(text):
        node, used, limit = memory.groups()
        return f"node {node} ran out of memory ({used} of {limit} used), and Ray killed it"
    if NODE.search(text):
        return "its node was lost"
    if detail := EXIT.search(text):
        return f"its process ended unexpectedly ({detail.group(1)}: {detail.group(2)})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "cause unknown"


# --- time limits: a worker that hangs cannot be trusted to stop itself -----------------------------------


class Limit(NamedTuple):
    """How long a task may take."""

    seconds: float  # from when its worker begins or continues it to its end
    place: str  # where the study says so


class _Attempt(NamedTuple):
    trial: Trial
    task: Task
    since: float


class Timeouts(NeverPickled, Callback):
    """Stops workers whose task is late.

    The first time the worker is killed and Tune starts the trial in a fresh process, which continues from the last
    saved state; the second time the trial ends with the reason. The limits are those of the stage that a trial
    begins with.
    """

    def __init__(self, driver: StudyDriver, store: Store, run: str, limits: Mapping[str, Limit]) -> None:
        self._driver = driver
        self._store = store
        self._run = run
        self._limits = limits
        self._attempts: dict[str, _Attempt] = {}
        self._stopped: Counter[str] = Counter()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Start the clock of a trial's first task."""
        tasks = self._driver.trials.get(trial.trial_id)
        if tasks and tasks[0].stage in self._limits:
            self._start_clock(trial, tasks[0])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Restart the clock for a trial's next task, and while it only waits for the storage."""
        attempt = self._attempts.get(trial.trial_id)
        if attempt and result.get("task", attempt.task.key) != attempt.task.key:
            tasks = {task.key: task for task in self._driver.trials.get(trial.trial_id, ())}
            if result["task"] in tasks:
                self._start_clock(trial, tasks[result["task"]])
        elif attempt and "waiting" in result and not result["busy"]:
            self._start_clock(trial, attempt.task)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Forget the clock of a trial that has no worker any more."""
        self._attempts.pop(trial.trial_id, None)

    on_trial_error = on_trial_recover = on_trial_complete

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Stop what is late; Tune calls ten times a second, whether or not any trial reports."""
        now = time.monotonic()
        for trial_id, attempt in list(self._attempts.items()):
            tasks = self._driver.trials.get(trial_id)
            if tasks and now - attempt.since > self._limits[tasks[0].stage].seconds:
                self._check_late(attempt, tasks)

    def _start_clock(self, trial: Trial, task: Task) -> None:
        self._attempts[trial.trial_id] = _Attempt(trial, task, time.monotonic())

    def _check_late(self, attempt: _Attempt, tasks: list[Task]) -> None:
        task = next((task for task in tasks if not self._store.has(task.stage, task.key)), None)
        if task is None or task.key != attempt.task.key:  # done, but its report has not come yet
            self._start_clock(attempt.trial, task or attempt.task)
            return
        del self._attempts[attempt.trial.trial_id]
        self._stopped[task.key] += 1
        last = self._stopped[task.key] > 1
        limit = self._limits[tasks[0].stage]
        reason = (
            f"{task.stage}: expected to end within {limit.seconds:g} s ({limit.place}), still running; "
            f"stopped {'twice' if last else 'once'}"
        )
        self._store.note_failure(task.key, run=self._run, reason=reason)
        if last:
            self._driver.give_up(attempt.trial.trial_id, reason)
        else:
            self._driver.say(f"{reason}, and tried again")
        kill_worker(attempt.trial, last=last)


def limits_of(study: Study) -> dict[str, Limit]:
    """Return how long the trials of each stage may take for each of their tasks, where the study says so."""
    limits = {}
    for stage in STAGES:
        named = study.shares_with(stage)
        seconds = study.share(named).timeout_seconds
        if seconds is not None:
            limits[stage] = Limit(seconds, f"resources.{named}.timeout_seconds")
    return limits
