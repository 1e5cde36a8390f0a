"""Why workers die, told to Tune and to the searcher; and which deaths are not a task's fault."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from ray.air.execution._internal import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from emma_tune.search.driver import StudyDriver

WORKER_DEATHS = 5
"""How often the worker of one trial may die before its point is given up; each time the trial goes on."""

NODE_DEATHS = 50
"""How often a node may be lost under one trial before that counts as well: a task may be what kills its node."""

LONGER = 1.5
"""Times the longest step so far that a worker has to end its own when it is told to stop; ten seconds at least."""

MEMORY = re.compile(r"Memory on the node \(IP: ([^,)]+).*?was ([\d.]+ ?\w+) used / ([\d.]+ ?\w+) limit", re.DOTALL)
NODE = re.compile(r"node has died|node was (?:terminated|preempted|drained)|is unavailable:|placement group")


class _ActorManager(RayActorManager):
    """Tune's, which ends the run with RuntimeError when it hears of a worker that Ray itself has killed.

    Seen of Ray 2.60 with its memory monitor: `ray.exceptions.OutOfMemoryError` is no `RayActorError`.

    And which tells a trial twice when the worker that it is given has died while it was idle: once as of a worker,
    upon which the trial is to begin again, and once as of its reset, upon which Tune would give it up.
    """

    def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=str(exception))
        if isinstance(exception, RayActorError):
            _forget_reset(tracked_actor_task)
        super()._actor_task_failed(tracked_actor_task, exception)


def _forget_reset(task: Any) -> None:
    """If this is the reset of a worker for its next trial, that trial is not told of it."""
    worker = task._tracked_actor
    controller = getattr(worker._on_error, "__self__", None)
    if controller is None:
        return
    trial = controller._actor_to_trial.get(worker)
    if trial in controller._resetting_trials:
        controller._resetting_trials.discard(trial)
        task._on_error = None


def let_tune_hear_every_death() -> None:
    """Puts the manager above in the place of Tune's own."""
    tune_controller.RayActorManager = _ActorManager


class Deaths(FIFOScheduler):
    """First in, first out; and what Tune tells no searcher and no callback: why the worker of a trial died.

    And how long one that is to stop may take to end its epoch.

    Args:
        searcher: of the run.
    """

    def __init__(self, driver: StudyDriver) -> None:
        super().__init__()
        self._driver = driver
        self._lost_nodes: Counter[str] = Counter()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nobody reads

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Tune kills a worker that has not stopped in ten seconds, in the middle of an epoch that takes longer."""
        controller = tune_controller.stop_trial.__self__  # what a scheduler is given is a wrapper
        patience = max(controller._actor_force_cleanup_timeout, LONGER * result["time_this_iter_s"])
        controller._actor_force_cleanup_timeout = patience
        return str(super().on_trial_result(tune_controller, trial, result))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """A worker died; the searcher hears of the trial's end, if it is that, after this."""
        text = _last_failure(trial)
        self._driver.explain(trial.trial_id, why(text))
        # Tune asks the worker of a trial that has not reported, dead as it is, and takes its error for a bug too
        trial._default_result_or_future = None
        if NODE.search(text):
            self._lost_nodes[trial.trial_id] += 1
            if self._lost_nodes[trial.trial_id] <= NODE_DEATHS:
                trial.run_metadata.num_failures -= 1


def why(text: str) -> str:
    """One line for people out of what Ray says of a worker's end."""
    if memory := MEMORY.search(text):
        node, used, limit = memory.groups()
        return f"node {node} ran out of memory ({used} of {limit} used), and Ray killed it"
    if NODE.search(text):
        return "its node was lost"
    if detail := re.search(r"Worker exit type: (\w+) Worker exit detail: (.*?\.)(?:\s|$)", text, re.DOTALL):
        return f"its process ended unexpectedly ({detail.group(1)}: {detail.group(2)})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "nobody knows why"


def _last_failure(trial: Trial) -> str:
    """What Tune has written of the last failure of a trial: text, by this process."""
    if trial.error_file is None:
        return ""
    try:
        text = Path(trial.error_file).read_text()
    except OSError:
        return ""
    return text.rpartition("Failure # ")[2].partition("\n")[2]
