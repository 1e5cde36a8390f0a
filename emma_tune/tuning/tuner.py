"""One run of Tune: the study's driver in Tune's terms, and what watches it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from emma_tune.search.driver import OVER, StudyDriver
from emma_tune.tuning.cluster.capacity import CapacityWatcher, ClusterCapacity
from emma_tune.tuning.driving import Drive
from emma_tune.tuning.interruption import Interruption
from emma_tune.tuning.order import RunResult
from emma_tune.tuning.progress import RunMonitor
from emma_tune.tuning.ray_patches import NeverPickled
from emma_tune.tuning.ray_patches.trials import (
    callbacks_not_reported,
    idle_workers_kept,
    workers_let_start,
    workers_managed,
)
from emma_tune.tuning.workers.failures import MAX_WORKER_DEATHS, FailureScheduler, Timeouts, limits_of
from emma_tune.tuning.workers.trainable import StageTrainable

UNLIMITED = 100_000
"""More trials than any cluster runs at once: the driver limits them, as nodes come and go."""


def tune_study(
    drive: Drive, capacity: ClusterCapacity, trainable: type[StageTrainable], *, shared: bool
) -> RunResult:
    """Let Tune run what the driver of a study hands out, until it is over or interrupted.

    On a cluster that is `shared`, workers without a trial are ended: others may want their place.
    """
    session, driver = drive.session, drive.driver
    study = driver.planner.study
    watcher = CapacityWatcher(study, driver, capacity, session.say)
    monitor = RunMonitor(driver, watcher, session)
    timeouts = Timeouts(driver, session.store, drive.run, limits_of(study))
    try:
        with nullcontext() if shared else idle_workers_kept():
            _fit(trainable, driver, session.interruption, [monitor, watcher, timeouts])
    finally:
        monitor.close()
    return drive.end(*monitor.span, idle=monitor.idle)


def _fit(
    trainable: type[StageTrainable],
    driver: StudyDriver,
    interruption: Interruption,
    callbacks: list[tune.Callback],
) -> None:
    """Run Tune's loop.

    Raises:
        Exception: what the driver has raised, where Tune would have swallowed it.
    """
    searcher = DriverSearcher(driver)
    with (
        callbacks_not_reported(),
        workers_let_start(),
        workers_managed(trainable),
        TemporaryDirectory(prefix="emma-tune-") as unread,  # Tune's own files, away from a storage that may fail
    ):
        tune.Tuner(
            _Trial,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=FailureScheduler(driver),
                num_samples=-1,
                max_concurrent_trials=UNLIMITED,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=unread,
                stop=_Stops(interruption, searcher),
                failure_config=tune.FailureConfig(max_failures=MAX_WORKER_DEATHS),
                # the store keeps unfinished state; Tune would ask for a pickle after every trial
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                callbacks=callbacks,
                progress_reporter=tune.CLIReporter(),  # that of a notebook clears its output
                verbose=0,
            ),
        ).fit()
    if searcher.broken is not None:
        raise searcher.broken


class DriverSearcher(NeverPickled, Searcher):
    """Hand Tune's questions to the driver of a study."""

    def __init__(self, driver: StudyDriver) -> None:
        super().__init__()
        self.driver = driver
        self.broken: Exception | None = None  # the first of the driver's, which Tune would not pass on

    def save(self, checkpoint_path: str) -> None:
        """Save nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Configure the next trial; None while nothing is ready, `FINISHED` when every point is settled."""
        answer = self.driver.suggest(trial_id)
        return str(Searcher.FINISHED) if answer == OVER else answer

    def hear(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        """Report a trial's progress; True if the trial can be stopped, as no open point needs its tasks."""
        try:
            return self.driver.hear(trial_id, result)
        except Exception as error:
            self.broken = self.broken or error
            return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Report the end of a trial; with `error`, that its worker died too often."""
        try:
            self.driver.ended(trial_id, result if not error else None)
        except Exception as broken:  # Tune would print it, and run the trial once more
            self.broken = self.broken or broken


class _Trial(tune.Trainable):
    """What Tune sees of a trial; `workers_managed` says who runs it."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return what the trial takes of a node."""
        share = config["share"]
        return tune.PlacementGroupFactory([{"CPU": share["cpu"], "GPU": share["gpu"]}])


class _Stops(NeverPickled, Stopper):
    """Answers Tune at every report whether to stop that trial, and whether to stop all of them."""

    def __init__(self, interruption: Interruption, searcher: DriverSearcher) -> None:
        self._interruption = interruption
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._searcher.hear(trial_id, result)

    def stop_all(self) -> bool:
        """Stop every worker after a signal; each saves its unfinished state.

        Raises:
            Exception: what the driver has raised, where Tune would have swallowed it.
        """
        if self._searcher.broken is not None:
            raise self._searcher.broken
        return self._interruption.requested
