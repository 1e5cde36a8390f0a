"""From a checked study to a finished run: its folder, its store, its materials, Ray, and an orderly end.

PyTorch and Ray Tune, which take seconds to import, are imported while Ray's processes start.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from emma_tune.plan import GIVEN, Planner
from emma_tune.results.folder import Started, StudyFolder
from emma_tune.storage import IMPATIENT, Patience, Place, passes
from emma_tune.storage.store import CorruptArtifactError, Store
from emma_tune.study.file import StudyError
from emma_tune.tuning.cluster.limits import (
    check_limits,
    check_shares,
    first_workers,
    local_capacity,
    usable_cpus,
    usable_gpus,
)
from emma_tune.tuning.display import decoding_shown
from emma_tune.tuning.driving import Drive, driving, looks_done
from emma_tune.tuning.interruption import InterruptedRunError, interruptible
from emma_tune.tuning.order import SAFE, RunOrder, RunResult, Session
from emma_tune.tuning.precision.remark import here, slow_bf16
from emma_tune.tuning.ray_patches import warnings_ignored
from emma_tune.tuning.ray_patches.connecting import is_connected
from emma_tune.tuning.workers.trainable import StageTrainable

if TYPE_CHECKING:
    from emma_tune.tuning.cluster.capacity import ClusterCapacity

BRIEFLY = 0.02
"""Seconds for which a signal may meet Ray's handler while Ray starts."""

STORAGE_TIMEOUT = 600.0
"""Seconds that a driver or worker waits for a storage: a full disk, a server or a mount that is gone."""


def run_study(order: RunOrder, console: Console, trainable: type[StageTrainable] = StageTrainable) -> RunResult:
    """Run a study until every point is settled, or until it is interrupted.

    Running again resumes: what the store has is not computed again.

    Raises:
        StudyError: if the folder is another study's, the study is already running, the cluster is too small, or
            one of its nodes sees another storage; or a plug-in cannot be used.
    """
    folder = StudyFolder(order.out)
    folder.check_belongs_to(order.study.use())
    if is_connected():
        from emma_tune.tuning.cluster.connection import check_own

        check_own(order.address)
    if order.study.plugged:
        from emma_tune.plan.materials.methods import execute_plugins

        execute_plugins(order.study, trusted=order.trusted)
    if order.study.victim.file:
        from emma_tune.plan.materials import check_given

        check_given(order.study)
    with (
        warnings_ignored(),
        interruptible(console, embedded=order.embedded) as interruption,
        folder.drive() as interruption.claim,
        closing(folder.log()) as log,
    ):
        folder.check_belongs_to(order.study)
        elapsed = round(time.monotonic() - order.began, 1)
        folder.write_progress({"tasks": [], "elapsed": elapsed})  # replaces the last run's
        log.write(f"run of {order.study.name}: process {os.getpid()} on {platform.node()}")

        def say(line: str) -> None:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
            log.write(line)

        patience = Patience(STORAGE_TIMEOUT, say, lambda: interruption.requested)
        store = open_store(order.store, patience)
        patient = StudyFolder(order.out, patience)  # the one above renews its claim, which must not wait
        try:
            return _run(Session(order, patient, store, interruption, console, log, say), trainable)
        except CorruptArtifactError as error:
            raise StudyError(f"{error}; run the same command again to recompute it") from error
        except InterruptedRunError:
            return RunResult(True, {}, interruption.signal)
        except OSError as error:
            if not passes(error):
                raise
            if interruption.requested:  # while it waited for the storage
                return RunResult(True, {}, interruption.signal)
            raise StudyError(f"{order.out}: the storage cannot be used: {error}; {SAFE}") from error


def _run(session: Session, trainable: type[StageTrainable]) -> RunResult:
    order = session.order
    own = is_connected()  # to a Ray that the program has started or joined itself
    joins = own or order.address is not None
    done = False
    if not joins:
        check_shares(order.study, local_capacity(order.study), [{"CPU": usable_cpus(), "GPU": usable_gpus()}])
        done = looks_done(session)
    with ExitStack() as stack:
        starting = None if done else stack.enter_context(_ray_starting(order, session.log.write))
        started, planner = _prepared(session)
        capacity = _capacity(session, starting, joins) if starting else None
        if session.interruption.requested:
            return RunResult(True, {}, session.interruption.signal)
        session.folder.write(started)
        with driving(session, planner, capacity or local_capacity(order.study)) as drive:
            if capacity is None:
                if drive.driver.needs_no_trial():
                    session.say("every task was done already")
                    return drive.end(now := time.monotonic(), now)
                capacity = _capacity_after_all(drive, stack, joins)
                if drive.session.interruption.requested:
                    return drive.end(now := time.monotonic(), now)
            from emma_tune.tuning.cluster.connection import head_watched
            from emma_tune.tuning.tuner import tune_study

            with head_watched(session.say) if order.address and not own else nullcontext():
                return tune_study(drive, capacity, trainable, shared=joins)


def _prepared(session: Session) -> tuple[Started, Planner]:
    """Prepare images and weights, and plan the study with them."""
    from emma_tune.plan.materials import prepare

    order = session.order
    with decoding_shown(session.console) as report:
        materials = prepare(order.study, session.store, session.interruption.watching(report))
    if order.study.victim.file and order.victim not in (None, materials.weights[GIVEN]):
        field, file = order.study.victim.file
        raise StudyError(
            f"victim.{field}: expected the content with which the study was run in {file}, found another; put it "
            "back, or run the study again first"
        )
    for remark in materials.remarks:
        session.say(remark)
    images = session.folder.with_earlier_images({**order.images, **materials.images})
    started = Started(order.study, images, order.store, materials.weights, order.given is not None)
    return started, Planner(order.study, images, materials.weights, until=order.until)


def _capacity(session: Session, starting: Future[None], joins: bool) -> ClusterCapacity:
    """Wait for Ray, which others may have started, and return what it has for trials.

    Raises:
        StudyError: if Ray does not start, the cluster is too small, or one of its nodes sees another storage.
    """
    from emma_tune.tuning.cluster.capacity import capacity_for, check_capacity
    from emma_tune.tuning.cluster.nodes import bf16_factors, check_storage

    order = session.order
    while not starting.done():  # Ray's C++ side installs a handler that would print a stack trace at SIGTERM
        wait([starting], timeout=BRIEFLY)
        session.interruption.listen()
    starting.result()
    session.interruption.listen()  # Ray may have replaced the handlers before the loop above
    capacity = capacity_for(order.study)
    check_capacity(order.study, capacity, session.say)
    if joins and not session.interruption.requested:
        check_storage(session.store)
    if session.interruption.requested:
        return capacity
    if slow := slow_bf16(order.study, capacity, bf16_factors if joins else here):
        session.say(slow.line)
    return capacity


def _capacity_after_all(drive: Drive, stack: ExitStack, joins: bool) -> ClusterCapacity:
    """Start or join Ray in a run that seemed to need none.

    Raises:
        StudyError: as `_capacity`; the run has ended then.
    """
    session = drive.session
    try:
        starting = stack.enter_context(_ray_starting(session.order, session.log.write))
        capacity = _capacity(session, starting, joins)
    except StudyError:
        now = time.monotonic()
        drive.end(now, now, broken=True)
        raise
    drive.driver.resize(capacity)
    return capacity


@contextmanager
def _ray_starting(order: RunOrder, hear: Callable[[str], None]) -> Iterator[Future[None]]:
    """Start or join Ray in a thread while images load here: in the main thread it would handle SIGTERM."""
    if order.address is None and not is_connected():
        check_limits()  # before threads decode images: it uses up for a moment what they need
    over = threading.Event()

    def start() -> None:
        from emma_tune.tuning.cluster.connection import connected

        cluster.enter_context(connected(order.address, hear, first_workers(order.study, order.until)))
        if over.is_set():  # the run was given up: it may have been interrupted while it waited
            cluster.close()

    # the thread outlives Ray, whose processes end with the thread that started them
    with ThreadPoolExecutor(1) as background, ExitStack() as cluster:
        starting = background.submit(start)
        try:
            yield starting
        finally:
            over.set()
            wait([starting])


def open_store(root: Place, patience: Patience = IMPATIENT) -> Store:
    """Open the store and bind it to the storage that is seen at its root now.

    Raises:
        StudyError: if it cannot be written to.
    """
    try:
        return replace(Store(root).identified(), patience=patience)
    except OSError as error:
        raise StudyError(f"{root}: expected a place that can be written to, found {error}") from error
