"""Trials and their workers, as Tune has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


@contextmanager
def _replaced(place: Any, name: str, value: object) -> Iterator[None]:
    """Let a name of Ray's mean something else for as long as this lasts."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def workers_managed(worker: type) -> AbstractContextManager[None]:
    """Replace Tune's actor manager by one that starts plain workers, and takes any death for that of a worker.

    - A trial is run by an actor of the class `worker`, which need not import Tune. It gets its trial's
      configuration alone, without what Tune adds: unpickling that would import Tune. And it gets no runtime
      environment: such a worker would be started afresh, though others are waiting, and AWS credentials, which
      Tune passes on there, would stand in Ray's logs (ray-project/ray#28276). Workers inherit them, those of a
      cluster from their node.
    - Ray's memory monitor kills with `OutOfMemoryError`, which is no `RayActorError` (ray-project/ray#29736); Tune
      ends the run with a RuntimeError.
    - Tune reports twice that a worker died while it was idle and then given a trial: as the worker's death, after
      which the trial starts again, and as the failure of its reset, after which Tune would give the trial up.
    """
    import ray
    from ray.air.execution._internal import RayActorManager
    from ray.exceptions import RayActorError, RayError, RayTaskError
    from ray.tune.execution import tune_controller

    actor = ray.remote(worker)

    class ActorManager(RayActorManager):
        def add_actor(self, cls: Any, kwargs: dict[str, Any], *args: Any, **more: Any) -> Any:
            return super().add_actor(actor, {"config": _own(kwargs["config"])}, *args, **more)

        def schedule_actor_task(self, tracked_actor: Any, method_name: str, *args: Any, **more: Any) -> Any:
            if method_name == "reset":
                more |= {"args": (_own(more["args"][0]),), "kwargs": {}}
            return super().schedule_actor_task(tracked_actor, method_name, *args, **more)

        def _actor_task_failed(self, tracked_actor_task: Any, exception: Exception) -> None:
            if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
                exception = RayActorError(error_msg=str(exception))
            if isinstance(exception, RayActorError):
                _forget_reset(tracked_actor_task)
            super()._actor_task_failed(tracked_actor_task, exception)

    return _replaced(tune_controller, "RayActorManager", ActorManager)


def idle_workers_kept() -> AbstractContextManager[None]:
    """Keep every worker whose trial has ended until another one comes or the search is over.

    Tune keeps one, and ends the others that have no trial waiting at that moment: a second later it starts new
    ones, which import PyTorch again. They are ended if a trial waits that takes other resources.
    """
    from ray.tune.execution import tune_controller
    from ray.tune.utils.object_cache import _ObjectCache

    class Cache(_ObjectCache):
        def cache_object(self, key: Any, obj: Any) -> bool:
            if self._others_wait(key):
                return bool(super().cache_object(key, obj))
            self._cached_objects[key].append(obj)
            self._num_cached_objects += 1
            return True

        def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
            if force_all or any(
                objects and self._others_wait(key) for key, objects in self._cached_objects.items()
            ):
                yield from super().flush_cached_objects(force_all)

        def _others_wait(self, key: Any) -> bool:
            return any(count > 0 for other, count in self._max_num_objects.items() if other != key)

    return _replaced(tune_controller, "_ObjectCache", Cache)


def workers_let_start() -> AbstractContextManager[None]:
    """Let the worker of a trial start, once it has a process, though another one is free by now.

    Tune would end it and give its trial to the other; where trials are short it does so for ever, and one worker
    does all the work of a machine.
    """
    from ray.tune import tune
    from ray.tune.execution.tune_controller import TuneController

    class Controller(TuneController):
        def _maybe_reuse_cached_actor(self, trial: Trial) -> bool:
            own = self._trial_to_actor.get(trial)
            if (
                own is not None
                and trial not in self._resetting_trials
                and self._actor_manager.is_actor_started(own)
            ):
                return False
            return bool(super()._maybe_reuse_cached_actor(trial))

    return _replaced(tune, "TuneController", Controller)


def callbacks_not_reported() -> AbstractContextManager[None]:
    """Stop Tune from looking which trackers its callbacks belong to: it imports MLflow and others for that."""
    from ray.air._internal import usage

    return _replaced(usage, "tag_callbacks", lambda callbacks: False)


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """Return a trial's configuration without what Tune adds to it."""
    return {name: value for name, value in config.items() if not name.startswith("__")}


def _forget_reset(task: Any) -> None:
    """Drop the error handler of a task that resets a worker for its next trial."""
    worker = task._tracked_actor
    controller = getattr(worker._on_error, "__self__", None)
    if controller is None:
        return
    trial = controller._actor_to_trial.get(worker)
    if trial in controller._resetting_trials:
        controller._resetting_trials.discard(trial)
        task._on_error = None


def extend_stop_timeout(controller: Any, seconds: float) -> None:
    """Give stopped workers at least this many seconds before Tune kills them; its own limit is a fixed ten."""
    wrapped = controller.stop_trial.__self__  # a scheduler gets a wrapper of Tune's controller
    wrapped._actor_force_cleanup_timeout = max(wrapped._actor_force_cleanup_timeout, seconds)


def last_failure(trial: Trial) -> str:
    """Return what Tune has written of the last failure of a trial; its objects carry no reason."""
    if trial.error_file is None:
        return ""
    try:
        text = Path(trial.error_file).read_text()
    except OSError:
        return ""
    return text.rpartition("Failure # ")[2].partition("\n")[2]


def forget_first_result(trial: Trial) -> None:
    """Stop Tune from asking a dead worker for the result of a trial that has not reported yet.

    It would take the answer for an error of its own (the request came with ray-project/ray#19144).
    """
    trial._default_result_or_future = None


def forgive_failure(trial: Trial) -> None:
    """Take back a failure that Tune has just counted; it forgives none but announced preemptions by itself."""
    trial.run_metadata.num_failures -= 1


def kill_worker(trial: Trial, *, last: bool) -> None:
    """Kill the worker of a trial, from outside; Tune's own way would ask the worker, which hangs.

    The `last` time the trial ends with it; else Tune starts the trial again in a fresh process.
    """
    import ray

    if last:
        trial.max_failures = 0
    if trial.temporary_state.ray_actor is not None:
        ray.kill(trial.temporary_state.ray_actor)
