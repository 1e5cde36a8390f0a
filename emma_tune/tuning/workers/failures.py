"""Why workers die, and which deaths are not a task's fault."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from emma_tune.search.driver import StudyDriver
from emma_tune.tuning import ray_patches

MAX_WORKER_DEATHS = 5
"""How often the worker of one trial may die before its point fails; each time the trial continues."""

MAX_LOST_NODES = 50
"""How often a node may be lost under one trial before that counts as well: a task may be what kills its node."""

STOP_MARGIN = 1.5
"""Multiple of the longest step so far that a worker has to finish its own when it is told to stop."""

MEMORY = re.compile(r"Memory on the node \(IP: ([^,)]+).*?was ([\d.]+ ?\w+) used / ([\d.]+ ?\w+) limit", re.DOTALL)
NODE = re.compile(r"node has died|node was (?:terminated|preempted|drained)|is unavailable:|placement group")
EXIT = re.compile(r"Worker exit type: (\w+) Worker exit detail: (.*?\.)(?:\s|$)", re.DOTALL)


class FailureScheduler(ray_patches.NeverPickled, FIFOScheduler):
    """First in, first out; and what Tune reports only to a scheduler: that a worker died.

    Args:
        driver: of the run.
    """

    def __init__(self, driver: StudyDriver) -> None:
        super().__init__()
        self._driver = driver
        self._lost_nodes: Counter[str] = Counter()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Leave a worker that is told to stop the time to finish an epoch and save it."""
        ray_patches.extend_stop_timeout(tune_controller, STOP_MARGIN * result["time_this_iter_s"])
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Tell the driver why a worker died; that it was the trial's end, if so, the driver hears after this."""
        text = ray_patches.last_failure(trial)
        self._driver.explain(trial.trial_id, death_reason(text))
        ray_patches.forget_first_result(trial)
        if NODE.search(text):
            self._lost_nodes[trial.trial_id] += 1
            if self._lost_nodes[trial.trial_id] <= MAX_LOST_NODES:
                ray_patches.forgive_failure(trial)


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
