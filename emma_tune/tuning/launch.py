"""From a checked study to a finished run: Ray, one Tuner, and an orderly end however it comes."""

from __future__ import annotations

import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray import tune
from ray.tune.stopper import Stopper
from rich.console import Console

from emma_tune.plan import Planner, Point
from emma_tune.plan.materials import prepare
from emma_tune.results.folder import JOURNAL, RunLog, Started, StudyFolder
from emma_tune.results.ledger import Ended, Ledger, LedgerWriter, read_ledger
from emma_tune.search.driver import new_driver
from emma_tune.search.outcomes import SearchContext
from emma_tune.search.paces import SEVERAL
from emma_tune.search.proposals import new_proposers
from emma_tune.stages import OWN_TRIAL_STAGES
from emma_tune.storage import Patience, Place, passes
from emma_tune.storage.store import CorruptArtifactError, Record, Store
from emma_tune.study import Study
from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.connection import start_or_join
from emma_tune.tuning.cluster.lookout import SAFE, head_watched
from emma_tune.tuning.cluster.nodes import prove_storage
from emma_tune.tuning.cluster.room import Nodes, Room, check_room, room_of
from emma_tune.tuning.interruption import InterruptedRunError, Interruption, interruptible
from emma_tune.tuning.progress import Progress, shown_decoding
from emma_tune.tuning.searcher import DriverSearcher
from emma_tune.tuning.workers.deaths import WORKER_DEATHS, Deaths, let_tune_hear_every_death
from emma_tune.tuning.workers.timeouts import Timeouts, limits_of
from emma_tune.tuning.workers.trainable import StageTrainable

STORAGE_PATIENCE = 600.0
"""Seconds that a driver or worker waits for a storage: a full disk, a server or a mount that is gone."""

MANY = 100_000
"""More trials than any cluster runs at once."""


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        interrupted: by SIGINT or SIGTERM, with unfinished state saved.
        failures: points that failed, with the reason.
    """

    interrupted: bool
    failures: Mapping[int, str]


def run_study(
    study: Study,
    out: Place,
    store: Place,
    *,
    address: str | None,
    console: Console,
    until: str | None = None,
    given: Sequence[Point] | None = None,
    began: float | None = None,
    trainable: type[StageTrainable] = StageTrainable,
) -> Ending:
    """Runs a study until every point is settled, or until it is interrupted.

    Running again resumes: what the store has is not computed again.

    Args:
        study: checked.
        out: the study's folder; made if it does not exist.
        store: where artifacts are, shared with other studies.
        address: of a Ray cluster; a local one is started if None.
        console: where to show progress.
        until: the last stage to run; all if None.
        given: points to run beside those of the ledger, proposing none; None to propose as the study says.
        began: when the command was given, by `time.monotonic()`; now if None.
        trainable: what workers are made of.

    Raises:
        StudyError: if the folder is another study's, somebody else drives it, the cluster is too small, or
            one of its nodes sees another storage.
    """
    began = time.monotonic() if began is None else began
    folder = StudyFolder(out)
    folder.check_belongs_to(study)
    with interruptible(console) as interruption, folder.drive() as claim, closing(folder.log()) as log:
        folder.check_belongs_to(study)
        interruption.claim = claim
        folder.write_progress({"tasks": [], "elapsed": round(time.monotonic() - began, 1)})  # not the last run's
        log.write(f"run of {study.name}: process {os.getpid()} on {platform.node()}")
        say = _sayer(console, log)
        patience = Patience(STORAGE_PATIENCE, say, lambda: interruption.requested)
        artifacts = _within_reach(store, patience)
        folder = StudyFolder(out, patience)  # from here on; the claim's signs of life must not wait
        with ThreadPoolExecutor(1) as background:
            # Ray starts in a thread while images load here: in the main thread it would take SIGTERM for itself
            starting = background.submit(start_or_join, address)
            try:
                with shown_decoding(console) as report:
                    materials = prepare(study, artifacts, interruption.watching(report))
                for remark in materials.remarks:
                    say(remark)
                started = Started(study, materials.images, store, materials.weights, given is not None)
                starting.result()
                interruption.listen()  # Ray's C++ side would print a stack trace at SIGTERM
                room = room_of(study)
                check_room(study, room, say)
                if interruption.requested:
                    return Ending(interrupted=True, failures={})
                if address is not None:
                    prove_storage(artifacts)
                folder.write(started)
                plan = Planner(study, materials.images, materials.weights, until=until)
                with head_watched(say) if address else nullcontext():
                    return _tune(
                        _Run(
                            planner=plan,
                            given=given,
                            folder=folder,
                            store=artifacts,
                            room=room,
                            interruption=interruption,
                            console=console,
                            say=say,
                            log=log,
                            began=began,
                            trainable=trainable,
                        )
                    )
            except CorruptArtifactError as error:
                raise StudyError(f"{error}; run the same command again to recompute it") from error
            except InterruptedRunError:
                return Ending(interrupted=True, failures={})
            except OSError as error:
                if not passes(error):
                    raise
                if interruption.requested:  # while the storage was waited for
                    return Ending(interrupted=True, failures={})
                raise StudyError(
                    f"{out}: expected a storage that can be read and written, found {error}; {SAFE}"
                ) from error
            finally:
                wait([starting])
                ray.shutdown()


@dataclass(frozen=True)
class _Run:
    """One run of a study.

    Attributes:
        planner: of the study.
        given: points to run, proposing none; None to propose as the study says.
        folder: of the study.
        store: of artifacts.
        room: what the cluster has for trials.
        interruption: tells when to stop.
        console: where to show progress.
        say: tells the user something worth a line.
        log: takes every message.
        began: when the command was given, by `time.monotonic()`.
        trainable: what workers are made of.
    """

    planner: Planner
    given: Sequence[Point] | None
    folder: StudyFolder
    store: Store
    room: Room
    interruption: Interruption
    console: Console
    say: Callable[[str], None]
    log: RunLog
    began: float
    trainable: type[StageTrainable]


def _tune(order: _Run) -> Ending:
    planner, folder, store, room, say = order.planner, order.folder, order.store, order.room, order.say
    ledger = read_ledger(folder.ledger)
    for problem in ledger.problems:
        say(problem)
    store.storage.sweep()
    run = uuid.uuid4().hex[:12]
    writer = LedgerWriter(folder.ledger, store.patience)
    # Tune copies its files to where it is told, which nobody reads: not to a storage that may be full or gone
    with closing(writer), folder.nearby() as near, TemporaryDirectory(prefix="emma-tune-") as tunes_own:
        writer.run(run)
        _take_given(order.given or (), ledger, writer)
        proposers = new_proposers(planner.study, near / JOURNAL, store.patience) if order.given is None else {}
        context = SearchContext(planner, ledger, writer, proposers)
        driver = new_driver(context, store, room, run=run, say=say)
        driver.recall_paces(_some_records(store))
        searcher = DriverSearcher(driver)
        nodes = Nodes(planner.study, driver, room, say)
        progress = Progress(driver, nodes, folder, order.log, order.interruption, order.console, order.began)
        let_tune_hear_every_death()
        try:
            tune.Tuner(
                order.trainable,
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=Deaths(driver),
                    num_samples=-1,
                    max_concurrent_trials=MANY,  # the driver says how many: nodes come and go
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: str(trial.trial_id),
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=tunes_own,
                    stop=_Stops(order.interruption, searcher),
                    failure_config=tune.FailureConfig(max_failures=WORKER_DEATHS),
                    # the store keeps unfinished state; Tune would ask for a pickle after every trial
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    callbacks=[
                        progress,
                        nodes,
                        Timeouts(driver, store, run, limits_of(planner.study)),
                    ],
                    verbose=0,
                ),
            ).fit()
        finally:
            progress.close()
        if searcher.broken is not None:
            raise searcher.broken
        driver.tidy()
        first, last = progress.span
        writer.ended(
            Ended(
                run,
                startup=round(first - order.began, 3),
                span=round(last - first, 3),
                slots=driver.most_slots,
                busy=round(driver.busy, 3),
            )
        )
        return Ending(order.interruption.requested, driver.outcomes.failures)


def _sayer(console: Console, log: RunLog) -> Callable[[str], None]:
    """Says a line as it is, whatever stands in it, and notes it in the log."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
        log.write(line)

    return say


def _within_reach(root: Place, patience: Patience) -> Store:
    """The store, bound to what is seen at its root now.

    Raises:
        StudyError: if it cannot be written to.
    """
    try:
        return replace(Store(root).identified(), patience=patience)
    except OSError as error:
        raise StudyError(f"store: expected {root} to be a place that can be written to, found {error}") from error


def _some_records(store: Store) -> Iterator[tuple[str, Record]]:
    """A few records of each stage with a trial of its own, whichever study they are of."""
    for stage in OWN_TRIAL_STAGES:
        with suppress(OSError):
            for key in store.storage.names(stage)[:SEVERAL]:
                with suppress(CorruptArtifactError):
                    if record := store.record(stage, key):
                        yield stage, record


def _take_given(points: Sequence[Point], ledger: Ledger, writer: LedgerWriter) -> None:
    """Points that are given stand in the ledger before anything is done for them, as proposed ones do."""
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


class _Stops(Stopper):
    """What Tune asks at every report: whether to stop that trial, and whether to stop altogether."""

    def __init__(self, interruption: Interruption, searcher: DriverSearcher) -> None:
        self._interruption = interruption
        self._searcher = searcher

    def __getstate__(self) -> dict[str, Any]:
        return {}  # pickled by Tune into a file that nobody reads

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return self._searcher.hear(trial_id, result)

    def stop_all(self) -> bool:
        """After a signal: Tune then ends every worker, which saves where it is.

        Raises:
            Exception: what the searcher has met, where Tune would have swallowed it.
        """
        if self._searcher.broken is not None:
            raise self._searcher.broken
        return self._interruption.requested
