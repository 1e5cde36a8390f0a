"""One run of Tune: the study's driver, what watches it, and how it is summed up."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from tempfile import TemporaryDirectory
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from emma_tune.plan import GROUNDWORK, Planner, Point
from emma_tune.results.folder import JOURNAL
from emma_tune.results.ledger import Ledger, LedgerWriter, RunSummary, read_ledger
from emma_tune.search.driver import OVER, StudyDriver, new_driver
from emma_tune.search.outcomes import SearchContext
from emma_tune.search.paces import SEVERAL
from emma_tune.search.proposals import new_proposers
from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.storage.store import CorruptArtifactError, Record, Store
from emma_tune.study.file import StudyError
from emma_tune.tuning import ray_patches
from emma_tune.tuning.cluster.capacity import CapacityWatcher, ClusterCapacity
from emma_tune.tuning.interruption import Interruption
from emma_tune.tuning.order import RunResult, Session
from emma_tune.tuning.progress import RunMonitor
from emma_tune.tuning.workers.failures import MAX_WORKER_DEATHS, FailureScheduler, Timeouts, limits_of
from emma_tune.tuning.workers.trainable import StageTrainable

UNLIMITED = 100_000
"""More trials than any cluster runs at once: the driver limits them, as nodes come and go."""


def tune_study(
    session: Session, planner: Planner, capacity: ClusterCapacity, trainable: type[StageTrainable]
) -> RunResult:
    """Let Tune run what the driver of a study hands out, until it is over or interrupted."""
    folder, store, given = session.folder, session.store, session.order.given
    ledger = read_ledger(folder.ledger)
    for problem in ledger.problems:
        session.say(problem)
    store.storage.sweep()
    run = uuid.uuid4().hex[:12]
    writer = LedgerWriter(folder.ledger, store.patience)
    with closing(writer), folder.nearby() as near:
        writer.run(run)
        _record_given(given or (), ledger, writer)
        proposers = new_proposers(planner.study, near / JOURNAL, store.patience) if given is None else {}
        context = SearchContext(planner, ledger, writer, proposers)
        driver = new_driver(context, store, capacity, run=run, say=session.say)
        driver.recall_paces(_some_records(store))
        watcher = CapacityWatcher(planner.study, driver, capacity, session.say)
        monitor = RunMonitor(driver, watcher, session)
        timeouts = Timeouts(driver, store, run, limits_of(planner.study))
        try:
            # on a cluster others may want its nodes
            with ray_patches.idle_workers_kept() if session.order.address is None else nullcontext():
                _fit(trainable, driver, session.interruption, [monitor, watcher, timeouts])
        finally:
            monitor.close()
        driver.tidy()
        first, last = monitor.span
        startup, span = round(first - session.order.began, 3), round(last - first, 3)
        interrupted, failures = session.interruption.requested, driver.outcomes.failures
        until = None if interrupted or GROUNDWORK.number in failures else planner.until
        writer.ended(RunSummary(run, startup, span, driver.most_slots, round(driver.busy, 3), until))
        return RunResult(interrupted, failures, session.interruption.signal)


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
        ray_patches.callbacks_not_reported(),
        ray_patches.workers_let_start(),
        ray_patches.workers_managed(trainable),
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


def _some_records(store: Store) -> Iterator[tuple[str, Record]]:
    """Yield a few records of each stage that has trials of its own, of whichever study."""
    for stage in OWN_TRIAL_STAGES:
        with suppress(OSError):
            for key in store.storage.names(stage)[:SEVERAL]:
                with suppress(CorruptArtifactError):
                    if record := store.record(stage, key):
                        yield stage, record


def _record_given(points: Sequence[Point], ledger: Ledger, writer: LedgerWriter) -> None:
    """Record given points in the ledger before anything is done for them, as proposed ones are."""
    for point in points:
        known = ledger.points.get(point.number)
        if known is None:
            writer.asked(point, {})
            ledger.points[point.number] = point
        elif known != point:
            raise StudyError(
                f"point {point.number}: expected {known.defense} {dict(known.params)}, as the ledger has it, "
                f"found {point.defense} {dict(point.params)}"
            )


class DriverSearcher(ray_patches.NeverPickled, Searcher):
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


class _Stops(ray_patches.NeverPickled, Stopper):
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
