"""The shell between Ray Tune and the stages: one trial runs one task, then the cheap ones that it makes ready.

Imports no Ray: a worker that imported Tune, and with it Ray's data sets, pandas and Arrow, would start a second
later. And PyTorch only in functions, since the driver, which trains nothing, imports this module as well.
"""

from __future__ import annotations

import functools
import os
import platform
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import emma_tune
from emma_tune.data.images import ImageSet
from emma_tune.data.mirror import image_cache
from emma_tune.plan import Task
from emma_tune.plugins.known import know
from emma_tune.plugins.loading import load
from emma_tune.plugins.tables import register
from emma_tune.stages import STAGES
from emma_tune.storage import Patience, passes
from emma_tune.storage.artifact import Artifact, Progress, StageRun, State
from emma_tune.storage.store import Store
from emma_tune.storage.versions import versions_in

if TYPE_CHECKING:
    import torch

    from emma_tune.stages.runtime import Runtime
    from emma_tune.tuning.workers.memory import CudaMeter

SAVING_SHARE = 0.05
"""Share of a task's time that may go into saving its unfinished state."""

UNSAVED = 3.0
"""Seconds of work that are sooner done again than saved; a save takes 25 ms."""

TRACEBACK_LENGTH = 8000
"""Characters of the tail of a traceback that are sent to the driver."""


class StageTrainable:
    """Runs the tasks of one trial after another; Tune takes it for one of its trainables.

    A trial's configuration holds `tasks` (JSON, in order), `store` (JSON: where it is), `run` (its id), `share`
    (`cpu`, `gpu`) and `interval` (seconds between reports). A task that raises does so here once, so that Tune
    starts it again in a fresh process; the second time the trial ends with a reason and a traceback. While the
    storage fails the trial keeps reporting that it waits and for what: it may be stopped, and users must know.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.setup(config)

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a process with its first trial."""
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # `use_deterministic_algorithms` imports PyTorch's compiler, to tell it, too: learners that compile do so
        torch.set_deterministic_debug_mode("error")
        # a debugging aid that deterministic mode turns on: each new tensor is filled with NaN before it is written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        self.reset_config(config)

    def reset(self, config: dict[str, Any]) -> bool:
        """Continue with another trial when Tune asks for it."""
        return self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Continue a process with another trial."""
        import torch

        share = new_config["share"]
        torch.set_num_threads(max(1, int(share["cpu"])))
        on_gpu = share["gpu"] > 0 and torch.cuda.is_available()
        self._device = torch.device("cuda" if on_gpu else "cpu")
        self._meter = self.meter(self._device, share["gpu"])
        if self._meter:
            self._meter.limit(share["gpu"])  # the trial before may have had another share
        store = Store.from_json(new_config["store"])
        self._patience = store.patience.seconds
        self._store = replace(store, patience=Patience(min(self._patience, new_config["interval"])))
        self._waiting_since: float | None = None
        self._run, self._interval = new_config["run"], new_config["interval"]
        self._queue = [Task.from_json(text) for text in new_config["tasks"]]
        self._stage: StageRun | None = None
        self._progress: Progress | None = None
        self._unreported: list[dict[str, float]] = []
        self._finished: Artifact | None = None
        self._unsaved = ""
        self._seconds = self._busy = self._saved_at = self._saving_took = 0.0
        self._reports, self._took_in_all = 0, 0.0
        return True

    def meter(self, device: torch.device, gpu: float) -> CudaMeter | None:
        """Return the meter of the GPU's memory for a trial with this share; None without a GPU."""
        from emma_tune.tuning.workers.memory import CudaMeter

        return CudaMeter() if device.type == "cuda" else None

    def train(self) -> dict[str, Any]:
        """Run for an interval, or to the end of the trial; report how far it is and how long a stage ran.

        The names of the times and counts are those that Tune goes by.
        """
        began = time.monotonic()
        report = self._step()
        took = time.monotonic() - began
        self._reports += 1
        self._took_in_all += took
        times = {"time_this_iter_s": took, "time_total_s": self._took_in_all, "training_iteration": self._reports}
        return {**report, **times}

    def get_auto_filled_metrics(self, **which: Any) -> dict[str, Any]:
        """Return the report of a trial that has reported nothing yet: Tune asks each worker for it at first."""
        return {}

    def stop(self) -> None:
        """End the process in an orderly way."""
        self.cleanup()

    def _step(self) -> dict[str, Any]:
        until = time.monotonic() + self._interval
        self._busy = 0.0
        try:
            while self._queue:
                self._advance()
                self._waiting_since = None
                if time.monotonic() >= until:
                    break
            waiting = {"waiting": self._unsaved} if self._unsaved else {}
            return {"done": not self._queue, "busy": self._busy, **self._position(), **waiting}
        except Exception as error:
            task = self._queue[0]
            if self._meter and (sizes := self._meter.starved(error)):
                self._stage = self._progress = None  # its tensors go with it
                return {"done": True, "busy": self._busy, "task": task.key, "out_of_memory": sizes}
            reason = f"{task.stage}: {type(error).__name__}: {error}"
            if isinstance(error, OSError) and passes(error):
                if self._waits():
                    time.sleep(max(0.0, until - time.monotonic()))
                    return {"done": False, "busy": self._busy, **self._position(), "waiting": str(error)}
                # there is nowhere to note it; it may be this node alone that does not see the storage
                return {"done": True, "busy": self._busy, "reason": f"{reason} (on {platform.node()})"}
            if self._store.note_failure(task.key, run=self._run, reason=reason) < 2:
                raise
            text = traceback.format_exc()[-TRACEBACK_LENGTH:]
            return {"done": True, "busy": self._busy, "reason": reason, "traceback": text}

    def cleanup(self) -> None:
        """Save the state of a task under way, as the process ends."""
        if self._queue and self._progress is not None and self._stage is not None:
            self._save()

    # --- one task -----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Run one epoch of the current task, or begin or end it."""
        task = self._queue[0]
        if self._finished is not None:
            self._commit(task, self._finished)
            return
        if self._stage is None:
            if self._store.has(task.stage, task.key):  # by another study, or a leftover worker of the last run
                self._leave(task)
                return
            self._begin(task)
        assert self._stage is not None
        started = time.monotonic()
        try:
            self._progress = next(self._stage)
        except StopIteration as finished:
            self._took(time.monotonic() - started)
            self._finished = finished.value
            self._commit(task, finished.value)
            return
        except BaseException:
            self._stage = self._progress = None  # it cannot continue; another one begins at its saved state
            raise
        self._took(time.monotonic() - started)
        self._unreported.append(dict(self._progress.metrics))
        if time.monotonic() - self._saved_at > max(UNSAVED, self._interval, self._saving_took / SAVING_SHARE):
            self._save()

    def _commit(self, task: Task, artifact: Artifact) -> None:
        """Commit an artifact; may be retried, as what is there already stays."""
        provenance = {**self._provenance(), "timings": artifact.timings}
        self._store.commit(task.stage, task.key, artifact, recipe=task.recipe, provenance=provenance)
        self._leave(task)

    def _waits(self) -> bool:
        """Return whether to try again after the storage has failed."""
        now = time.monotonic()
        if self._waiting_since is None:
            self._waiting_since = now
        return now - self._waiting_since < self._patience

    def _took(self, seconds: float) -> None:
        self._seconds += seconds
        self._busy += seconds

    def _begin(self, task: Task) -> None:
        if self._meter:
            self._meter.begin()
        load_plugins(task, self._store)
        inputs = {stage: self._store.fetch(stage, key) for stage, key in task.inputs.items()}
        state, self._seconds = self._initial_state(task)
        self._stage = STAGES[task.stage].start(
            task.config, inputs=inputs, runtime=runtime_for(task, self._store, self._device), state=state
        )
        self._progress = None
        self._unreported = list(state.history) if state else []
        self._saved_at, self._saving_took = time.monotonic(), 0.0

    def _initial_state(self, task: Task) -> tuple[State | None, float]:
        """Return the saved state of the task; else the end of the leg before it; else nothing."""
        saved = self._store.load_state(task.key)
        if saved:
            return saved
        if task.continues:
            leg = self._store.fetch(task.stage, task.continues)
            return State(len(leg.history), leg.tensors, leg.history), 0.0
        return None, 0.0

    def _leave(self, task: Task) -> None:
        self._store.drop_state(task.key)
        self._queue.pop(0)
        self._stage = self._progress = self._finished = None
        self._unsaved = ""

    def _save(self) -> None:
        """Save the state, which only saves time: work continues if it cannot be saved."""
        assert self._progress is not None
        started = time.monotonic()
        try:
            self._store.save_state(self._queue[0].key, self._progress.state(), seconds=self._seconds)
            self._unsaved = ""
        except OSError as error:
            if not passes(error):
                raise
            self._unsaved = str(error)
        self._saved_at = time.monotonic()
        self._saving_took = self._saved_at - started

    def _provenance(self) -> dict[str, Any]:
        """Describe how this copy of the artifact came about, without anything that could be secret."""
        import torch

        return {
            "run": self._run,
            "seconds": round(self._seconds, 3),
            "finished_at": time.time(),
            "host": platform.node(),
            # of the GPU: the bytes that the task took at most, and those that there are
            **({"peak_memory": self._meter.peak, "memory_capacity": self._meter.capacity} if self._meter else {}),
            "device": torch.cuda.get_device_name() if self._device.type == "cuda" else platform.machine(),
            "threads": torch.get_num_threads(),
            "versions": {
                "emma_tune": emma_tune.__version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
            },
        }

    def _position(self) -> dict[str, Any]:
        if not self._queue or self._progress is None:
            return {"epoch": 0, "epochs": 0, **({"task": self._queue[0].key} if self._queue else {})}
        history, self._unreported = self._unreported, []
        return {
            "task": self._queue[0].key,
            "epoch": self._progress.epoch,
            "epochs": self._progress.epochs,
            "metrics": dict(self._progress.metrics),
            "history": history,
        }


def load_plugins(task: Task, store: Store) -> None:
    """Execute the plug-ins that a task's settings name, from the store."""
    for name, digest in versions_in(task.recipe["config"]):
        plugin = know(store.plugin(digest), f"{store.root}/plugins/{digest}.py")
        register(plugin, network=None if name in plugin.declarations else name)
        load(plugin)


def runtime_for(task: Task, store: Store, device: torch.device) -> Runtime:
    """Return the images that a task reads, and the device to compute on."""
    from emma_tune.stages.runtime import Runtime

    images = {**task.implied, **task.images}
    return Runtime(
        device,
        victim=_parts(store, images.get("victim")),
        queries=_parts(store, images.get("queries")).get("queries"),
        weights=store.weights,
        exposure=_parts(store, images.get("exposure")).get("queries"),
    )


@functools.lru_cache(maxsize=4)
def _parts(store: Store, fingerprint: str | None) -> dict[str, ImageSet]:
    """Return the parts of a set of images, memory-mapped; none for a stage that reads none."""
    if fingerprint is None:
        return {}

    def load() -> dict[str, ImageSet]:
        try:
            return image_cache(store.root).load(fingerprint)
        except FileNotFoundError:
            store.storage.check_sight()
            raise

    return store.patience(load)
